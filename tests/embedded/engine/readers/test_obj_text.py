import numpy as np
import pytest

from shared.embedded.engine.readers import obj_text
from shared.embedded.engine.readers.obj_text import State, parse
from shared.problems import Problem

TRIANGLE = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def _faces(data: bytes) -> list[list[int]]:
    model = parse(TRIANGLE * 4 + b"vt 0 0\nvn 0 0 1\n" * 4 + data)
    return [list(map(int, corner)) for corner in model.elements["triangles"].corners]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_as_any_system_ends_them(end: bytes) -> None:
    text = b"\xef\xbb\xbf# made by\n\n" + TRIANGLE + b"  \n\t f\t1  2 3 "
    model = parse(text.replace(b"\n", end))
    assert model.positions.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert model.elements["triangles"].corners[:, 0].tolist() == [1, 2, 3]


def test_a_text_of_two_bytes_a_letter_is_read_too() -> None:
    model = parse(("o Käse\n" + TRIANGLE.decode() + "f 1 2 3\n").encode("utf-16"))
    assert (model.objects, len(model.positions)) == (["Käse"], 3)


def test_names_are_whole_lines_in_utf_8_or_latin_1() -> None:
    for encoding in ("utf-8", "latin-1"):
        text = "o Große Tür\ng left side\nusemtl rot  glänzend \nf 1 2 3\n".encode(encoding)
        model = parse(TRIANGLE + text)
        (state,) = (model.states[index] for index in model.elements["triangles"].states)
        assert state == State("Große Tür", "left side", "rot  glänzend")


def test_an_object_ends_the_group_before_it_but_not_the_material() -> None:
    text = b"usemtl red\no a\ng one\nf 1 2 3\no b\nf 1 2 3\ng two\nf 1 2 3\ng\nf 1 2 3\n"
    model = parse(TRIANGLE + text)
    states = [model.states[index] for index in model.elements["triangles"].states]
    assert states == [State("a", "one", "red"), *(State("b", one, "red") for one in ("", "two", ""))]


@pytest.mark.parametrize("block", [64, 2**20])
def test_states_hold_from_one_block_to_the_next(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obj_text, "_BLOCK", block)
    text = TRIANGLE + b"".join(b"g %d\nusemtl m%d\n" % (n, n % 3) + b"f -3 -2 -1\n" * n for n in range(20))
    model = parse(text)
    found = model.elements["triangles"]
    groups = [int(model.states[index].group) for index in found.states]
    assert groups == [n for n in range(20) for _ in range(n)]
    assert (found.corners[:, 0].reshape(-1, 3) == [1, 2, 3]).all()


def test_corners_of_every_kind_may_be_mixed() -> None:
    assert _faces(b"f 1/2/3 4//2 5/3 6\n") == [[1, 2, 3], [4, 0, 2], [5, 3, 0], [6, 0, 0]]
    for text in (b"f 1//2 2//3 3//1\n", b"f 1/2 2/3 3/1\n", b"f 1/2/3 2/3/1 3/1/2\n"):
        # Alike, and beside a line that is not.
        assert _faces(text * 3) == _faces(text + b"f 1 2 3 4\n" + text + text)[:3] * 3


def test_lines_that_differ_only_in_their_slashes_are_told_apart() -> None:
    assert _faces(b"f 1/2 3//4 5\nf 1//2 3/4 5\n") == [
        [1, 2, 0], [3, 0, 4], [5, 0, 0], [1, 0, 2], [3, 4, 0], [5, 0, 0],
    ]  # fmt: skip


def test_a_slash_without_a_number_after_it_means_none() -> None:
    assert _faces(b"f 1/2/ 3/4/\nf 1//2 3//4\n") == [[1, 2, 0], [3, 4, 0], [1, 0, 2], [3, 0, 4]]


def test_negative_numbers_count_back_from_their_line() -> None:
    model = parse(TRIANGLE + b"f -3 -2 -1\n" + TRIANGLE + b"vt 0 0\nf -3/-1 -2/-1 -1/-1\nf 1 2 3\n")
    assert model.elements["triangles"].corners.tolist() == [
        [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 1, 0], [5, 1, 0], [6, 1, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0],
    ]  # fmt: skip


def test_faces_may_come_before_their_vertices() -> None:
    assert len(parse(b"f 1 2 3\n" + TRIANGLE).elements["triangles"].corners) == 3


def test_a_continued_line_is_one_but_a_comment_never_is() -> None:
    model = parse(b"# from C:\\models\\\nv 0 0 \\\n 7\nv 1 0 0\nv 0 1 0\nf 1 \\ \r\n2 \\\n3\n")
    assert model.positions[0].tolist() == [0, 0, 7]
    assert model.elements["triangles"].counts.tolist() == [3]


def test_what_follows_a_hash_is_a_comment_but_not_within_a_name() -> None:
    model = parse(b"v 0 0 0 # 1 2\nv 1 0 0\nv 0 1 0\ng Part#2 #3\nf 1 2 3 # 4\n")
    assert model.positions.shape == (3, 3)
    assert model.states[-1].group == "Part#2 #3"
    assert model.elements["triangles"].counts.tolist() == [3]


def test_vertices_have_colours_where_they_say_so_and_a_weight_is_none() -> None:
    model = parse(b"v 0 0 0 1 0.5 0\nv 1 0 0\nv 2 0 0 0.25\nv 3 0 0 0 0 1 0.5\n")
    assert model.colors is not None
    assert model.colors.tolist() == [[1, 0.5, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 0.5]]
    assert model.positions[:, 0].tolist() == [0, 1, 2, 3]
    assert parse(b"v 0 0 0 1\n").colors is None
    as_bytes = parse(b"v 0 0 0 255 0 51\n").colors
    assert as_bytes is not None and as_bytes[0].tolist() == pytest.approx([1, 0, 0.2, 1])


def test_texture_coordinates_may_have_one_or_three_numbers() -> None:
    model = parse(b"vt 0.5\nvt 0.25 0.5\nvt 1 2 3\nvt nan inf\n")
    assert model.texcoords.tolist() == [[0.5, 0], [0.25, 0.5], [1, 2], [0, 0]]
    assert parse(b"vt 1.#QNAN 1\nvt -1.#IND00 1\n").texcoords.tolist() == [[0, 1], [0, 1]]


def test_lines_and_points_are_elements_of_their_own() -> None:
    model = parse(TRIANGLE + b"l 1 2 3\nl 1/1 2/1\np 1 2\nvt 0 0\n")
    assert model.elements["lines"].counts.tolist() == [3, 2]
    assert model.elements["points"].corners[:, 0].tolist() == [1, 2]
    assert "triangles" not in model.elements


def test_free_form_surfaces_are_noticed_and_other_words_are_not() -> None:
    assert parse(b"cstype bezier\ncurv 0 1 1 2 3\nend\n").free_form
    assert not parse(b"call /etc/passwd\ncsh rm\nvp 0 0\ns 1\nshadow_obj a\n").free_form


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\n# a\nv 0 0\n", "line 3 of the OBJ, a vertex, has fewer than 3 numbers"),
        (b"v 0 0 0\r\nv 0 0 zero\r\n", "line 2 of the OBJ, a vertex, has 'zero' for a number"),
        (b"v 0 \\\n 0 0\nvn 0 0 1,5\n", "line 3 of the OBJ, a normal, has '1,5' for a number"),
        (b"vt\n", "line 1 of the OBJ, a texture coordinate, has fewer than 1 numbers"),
        (TRIANGLE + b"f 1 2 three\n", "line 4 of the OBJ, a face, has 'three' for an index"),
        (TRIANGLE + b"f 1 2 3\nf 1 2 3.5\n", "line 5 of the OBJ, a face, has '3.5' for an index"),
        (TRIANGLE + b"f 1 2 3/1/1/1\n", "line 4 of the OBJ, a face, has '1' for an index"),
        (TRIANGLE + b"f 1 2 3\nf 1 2 4\n", "face 2 of the OBJ uses a vertex that it does not have"),
        (TRIANGLE + b"f 1 2 0\n", "face 1 of the OBJ uses a vertex"),
        (TRIANGLE + b"f 1 2 -4\n", "face 1 of the OBJ uses a vertex"),
        (TRIANGLE + b"f 1 2 /1\nvt 0 0\n", "face 1 of the OBJ uses a vertex"),
        (TRIANGLE + b"f 1 2 99999999999999999999\n", "face 1 of the OBJ uses a vertex"),
        (TRIANGLE + b"f 1/1 2/1 3/2\nvt 0 0\n", "face 1 of the OBJ uses a texture coordinate"),
        (TRIANGLE + b"f 1//1 2//1 3//-2\nvn 0 0 0\n", "face 1 of the OBJ uses a normal"),
        (TRIANGLE + b"l 1 2\nl 1 2 3 4\n", "line 2 of the OBJ uses a vertex"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line_or_element(text: bytes, message: str) -> None:
    with pytest.raises(Problem) as found:
        parse(text)
    assert message in found.value.message


@pytest.mark.parametrize("block", [64, 2**20])
def test_the_line_is_counted_through_all_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obj_text, "_BLOCK", block)
    with pytest.raises(Problem, match="line 601 "):
        parse(b"v 0 0 0\nv \\\n0 0 0\n" * 200 + b"v 0 0 x\n")


def test_a_line_that_no_model_has_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(Problem, match="line 4 of the OBJ is longer than 8 MB"):
        parse(TRIANGLE + b"f" + b" 1" * 5_000_000)


def test_a_polygon_of_two_hundred_thousand_corners_is_one_line() -> None:
    around = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    text = "".join(f"v {x:.6f} {y:.6f} 0\n" for x, y in zip(np.cos(around), np.sin(around), strict=True))
    text += "f " + " ".join(map(str, range(1, 200_001)))
    assert parse(text.encode()).elements["triangles"].counts.tolist() == [200_000]
