"""A zip is known by its last bytes, and a hostile one is refused with a reason."""

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.archives import SMALLEST_TAIL, ZipEntry, model_in_zip, zip_entries
from shared.problems import Code, Problem

READS = frozenset({".obj", ".stl", ".zip"})


def packed(*names: str, content: bytes = b"abc", comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            # A ZipInfo keeps the name as it is, where writestr(name) would tidy it.
            archive.writestr(
                zipfile.ZipInfo(name), b"" if name.endswith("/") else content, zipfile.ZIP_DEFLATED
            )
        archive.comment = comment
    return buffer.getvalue()


def entries(*names: str, encrypted: bool = False) -> list[ZipEntry]:
    return [ZipEntry(name, name, 3, 3, encrypted) for name in names]


def refused(data: bytes, size: int | None = None) -> Problem:
    with pytest.raises(Problem) as caught:
        zip_entries(data, len(data) if size is None else size)
    return caught.value


def test_entries_have_names_and_sizes_and_folders_are_left_out() -> None:
    data = packed("parts/", "parts/Räder.obj", "wood.png", content=b"x" * 500)
    found = zip_entries(data, len(data))
    assert [(entry.name, entry.size, entry.encrypted) for entry in found] == [
        ("parts/Räder.obj", 500, False),
        ("wood.png", 500, False),
    ]
    assert all(0 < entry.compressed_size < 500 for entry in found)


def test_the_end_of_a_large_zip_is_enough_even_with_the_longest_comment() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("big.stl", b"\0" * 300_000)
        archive.writestr("car.obj", b"abc")
        archive.comment = b"c" * 0xFFFF
    data = buffer.getvalue()
    found = zip_entries(data[-SMALLEST_TAIL:], len(data))
    assert [(entry.name, entry.size) for entry in found] == [("big.stl", 300_000), ("car.obj", 3)]


def test_a_zip64_is_read() -> None:
    # The directory of a zip whose one entry is 5 GB, as a 64-bit archiver writes it.
    size = 5 * 2**30
    extra = struct.pack("<HHQQQ", 1, 24, size, size, 0)
    lengths, behind = (7, len(extra), 0, 0, 0, 0), 0xFFFFFFFF
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 0, 0, behind, behind, *lengths, behind)
    directory = entry + b"big.stl" + extra
    start = 30 + 7 + size
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(directory), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), 0xFFFFFFFF, 0)
    tail = b"\0" * 100 + directory + end64 + locator + end
    (found,) = zip_entries(tail, start + len(directory) + len(end64 + locator + end))
    assert (found.name, found.size) == ("big.stl", size)


def test_encrypted_entries_are_flagged() -> None:
    data = bytearray(packed("car.obj"))
    data[data.index(b"PK\1\2") + 8] |= 1
    (entry,) = zip_entries(bytes(data), len(data))
    assert entry.encrypted


def test_shadows_of_macos_are_left_out() -> None:
    data = packed("car.obj", "__MACOSX/._car.obj", "parts/._car.obj")
    assert [entry.name for entry in zip_entries(data, len(data))] == ["car.obj"]


def test_backslashes_of_old_archivers_are_folders() -> None:
    data = packed("parts/wood.png").replace(b"parts/wood", b"parts\\wood")
    (entry,) = zip_entries(data, len(data))
    assert entry.name == "parts/wood.png"
    assert zipfile.ZipFile(io.BytesIO(data)).read(entry.stored) == b"abc"


@pytest.mark.parametrize(
    "name", ["../car.obj", "a/../../car.obj", "/etc/car.obj", "C:/car.obj", "..\\car.obj", "a\nb"]
)
def test_a_name_that_leads_outside_is_refused(name: str) -> None:
    problem = refused(packed(name))
    assert problem.code is Code.CORRUPT_MODEL
    assert repr(name) in problem.message


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all" * 50, packed("car.obj")[:-10]])
def test_what_is_no_zip_is_corrupt(data: bytes) -> None:
    assert refused(data).code is Code.CORRUPT_MODEL


def test_a_directory_that_begins_before_the_part_that_was_read_is_over_the_limit() -> None:
    data = packed(*(f"{number}.stl" for number in range(3000)))
    assert refused(data[-SMALLEST_TAIL:], len(data)).code is Code.LIMIT_EXCEEDED


def test_too_many_entries_are_over_the_limit() -> None:
    problem = refused(packed(*(f"{number}.stl" for number in range(10_001)), content=b""))
    assert problem.code is Code.LIMIT_EXCEEDED
    assert "10,001" in problem.message


@given(data=st.binary(max_size=300), at=st.integers(0, 400), size=st.integers(0, 2**40))
def test_damage_raises_nothing_but_problems(data: bytes, at: int, size: int) -> None:
    original = packed("car.obj", "wood.png")
    for damaged in (data, original[:at] + data[:3] + original[at + 3 :], original + data):
        for claimed in (len(damaged), max(size, len(damaged))):
            try:
                zip_entries(damaged, claimed)
            except Problem as problem:
                assert problem.message


def test_the_only_model_is_the_one_to_convert() -> None:
    assert model_in_zip(entries("car.mtl", "a/CAR.OBJ", "inner.zip"), None, READS).name == "a/CAR.OBJ"


@pytest.mark.parametrize("root", ["a/car.obj", "./a/car.obj", "a\\car.obj", "A/Car.obj"])
def test_root_filename_chooses_among_models(root: str) -> None:
    assert model_in_zip(entries("a/car.obj", "b.obj"), root, READS).name == "a/car.obj"


@pytest.mark.parametrize(
    ("names", "root", "code", "says"),
    [
        (["a.obj", "b.stl", "c.png"], None, Code.INVALID_SETTINGS, "'a.obj', 'b.stl'"),
        (["a.obj", "b.stl", "c.png"], "d.obj", Code.INVALID_SETTINGS, "'a.obj', 'b.stl'"),
        (["c.png"], None, Code.UNSUPPORTED_FORMAT, "'c.png'"),
        ([], None, Code.UNSUPPORTED_FORMAT, "nothing"),
    ],
)
def test_an_unclear_choice_lists_the_candidates(
    names: list[str], root: str | None, code: Code, says: str
) -> None:
    with pytest.raises(Problem, match=says) as caught:
        model_in_zip(entries(*names), root, READS)
    assert caught.value.code is code


def test_an_encrypted_model_is_refused() -> None:
    with pytest.raises(Problem, match="encrypted"):
        model_in_zip(entries("car.obj", encrypted=True), None, READS)


def test_a_long_list_of_candidates_is_cut() -> None:
    with pytest.raises(Problem, match="and 980 more"):
        model_in_zip(entries(*(f"{number}.obj" for number in range(1000))), None, READS)
