"""Blob names: whatever a model is called, what is written stays in its place and within limits."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import paths
from shared.problems import Code, Problem

ID = "0123456789abcdef" * 2
PARTS = st.one_of(
    st.sampled_from(
        ["..", ".", "", "a", "~long", "\\", "#", "%2e", "a.", " ", "é", "🚗", ID, "manifest.json"]
    ),
    st.text(max_size=40),
    st.text(alphabet="x", min_size=200, max_size=1100),
)
PATHS = st.lists(PARTS, min_size=1, max_size=300).map("/".join)


def units(name: str) -> int:
    return len(name.encode("utf-16-le", "surrogatepass")) // 2


@given(PATHS, st.text(alphabet="n", max_size=255))
@example("n" * 700, "x" * 255)
@example("n" * 701, "x" * 255)
@example("/" * 300, "x")
@example("..", "x")
def test_every_name_is_within_the_limits_and_in_its_folder(path: str, file: str) -> None:
    for name in (paths.manifest(path), f"{paths.outputs(path, ID)}/{file}", paths.record(path)):
        assert units(name) <= paths.LONGEST_NAME
        assert name.count("/") < paths.MOST_SEGMENTS
        segments = name.split("/")[:-1]
        assert not any(segment in ("", ".", "..") or segment.endswith(".") for segment in segments)
        assert "\\" not in name
        name.encode()
    assert paths.manifest(path).startswith(f"{paths.folder(path)}/")
    assert paths.outputs(path, ID).startswith(f"{paths.folder(path)}/")
    assert re.fullmatch(r"[0-9a-f]{32}\.json", paths.record(path))


@given(PATHS, PATHS)
@example("~long/" + "0" * 64, "a//b")
@example("a", "a/")
def test_two_models_never_share_a_folder_or_a_record(one: str, other: str) -> None:
    if one != other:
        assert paths.folder(one) != paths.folder(other)
        assert paths.record(one) != paths.record(other)


@given(PATHS)
def test_the_owner_of_an_output_is_its_model(path: str) -> None:
    assert paths.owner_of_output(f"{paths.outputs(path, ID)}/car.glb") == (paths.folder(path), ID)


@given(PATHS)
def test_the_folder_of_a_model_tells_its_record(path: str) -> None:
    assert paths.record_of_folder(paths.folder(path)) == paths.record(path)


@pytest.mark.parametrize(
    "name", ["manifest.json", "car.glb", f"{ID}", f"{ID}/car.glb", "car.stl/manifest.json"]
)
def test_what_is_no_output_has_no_owner(name: str) -> None:
    assert paths.owner_of_output(name) is None


@given(st.text())
def test_metadata_hold_any_text_in_ascii(text: str) -> None:
    value = paths.to_metadata(text)
    assert value.isascii()
    assert value.isprintable()
    assert " " not in value
    assert paths.from_metadata(value) == text


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("/a.obj", "starts with a slash"),
        ("../a.obj", "'..' segment"),
        ("a/../b.obj", "'..' segment"),
        ("a/./b.obj", "'.' or"),
        ("..\\a.obj", "'..' segment"),
        ("a\\b.obj", "backslash"),
        ("a\nb.obj", "control character"),
        ("a\x00b.obj", "control character"),
        ("a\ud800.obj", "control character"),
        ("n" * 1021 + ".obj", "longer than 1024"),
        ("🚗" * 511 + ".obj", "longer than 1024"),
        ("d/" * 254 + "a.obj", "254 segments"),
    ],
)
def test_an_unsafe_path_is_refused_and_the_reason_told(path: str, why: str) -> None:
    with pytest.raises(Problem) as caught:
        paths.check(path)
    assert caught.value.code is Code.INVALID_NAME
    assert why in caught.value.message
    assert caught.value.message.endswith("Rename it and upload it again.")
    assert len(caught.value.message) < 1500
    assert caught.value.message.isprintable()


@given(PATHS)
def test_a_path_that_passes_is_returned_as_it_is(path: str) -> None:
    try:
        assert paths.check(path) == path
    except Problem as problem:
        assert problem.code is Code.INVALID_NAME


@pytest.mark.parametrize("conversion_id", ["", "x", ID.upper(), ID + "/..", "../" + ID, ID[:-1]])
def test_an_id_of_another_shape_makes_no_folder(conversion_id: str) -> None:
    with pytest.raises(ValueError, match="32 hexadecimal"):
        paths.outputs("a.obj", conversion_id)


def test_names_of_accounts_and_containers() -> None:
    assert all(paths.is_account_name(name) for name in ("abc", "a1b2", "devstoreaccount1", "x" * 24))
    assert not any(
        paths.is_account_name(name) for name in ("ab", "x" * 25, "A12", "a-b", "abc\n", "", "a.b", "é12")
    )
    assert all(paths.is_container_name(name) for name in ("abc", "a-b-c", "x" * 63, "in-flight"))
    bad = ("ab", "x" * 64, "A12", "a--b", "-ab", "ab-", "a_b", "abc\n", "$web", "../abc", "a/b")
    assert not any(paths.is_container_name(name) for name in bad)
