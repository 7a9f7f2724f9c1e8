import pytest

from shared.embedded.engine.formats import WRITES, check_output, file_name, read_format, thumbnail_size
from shared.problems import Code, Problem


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/Car.OBJ", "OBJ"), ("car.stp", "STEP"), ("car.v2.GLB", "glTF"), ("car.txt", None), ("obj", None)],
)
def test_the_extension_says_the_format_whatever_its_case(name: str, expected: str | None) -> None:
    assert read_format(name) == expected


@pytest.mark.parametrize(
    ("type_", "advanced"),
    [
        ("glb", {}),
        ("stl", {"format": "ascii"}),
        ("obj", {"objectIds": [2]}),
        ("thumbnail", {"width": 100, "height": 400}),
    ],
)
def test_what_can_be_made_is_accepted(type_: str, advanced: dict[str, object]) -> None:
    check_output(type_, advanced)


def test_an_unknown_type_is_refused_with_the_types_there_are() -> None:
    with pytest.raises(Problem, match="'dwg'") as raised:
        check_output("dwg", {})
    assert raised.value.code is Code.UNSUPPORTED_OUTPUT
    assert all(type_ in raised.value.message for type_ in WRITES)


@pytest.mark.parametrize(
    ("type_", "advanced", "named"),
    [
        ("glb", {"width": 100}, "width"),
        ("stl", {"format": "ASCII"}, "format"),
        ("thumbnail", {"width": 300}, "width"),
        ("thumbnail", {"height": "100"}, "height"),
        ("thumbnail", {"height": 100.0}, "height"),
        ("obj", {"objectIds": []}, "objectIds"),
        ("obj", {"objectIds": [2, "3"]}, "objectIds"),
        ("obj", {"objectIds": [True]}, "objectIds"),
        ("glb", {"objectIds": [2]}, "objectIds"),
    ],
)
def test_a_wrong_option_is_refused_by_name(type_: str, advanced: dict[str, object], named: str) -> None:
    with pytest.raises(Problem, match=named) as raised:
        check_output(type_, advanced)
    assert raised.value.code is Code.INVALID_SETTINGS


def test_files_are_named_after_the_model_and_a_thumbnail_after_its_size_too() -> None:
    assert file_name("car", "glb", {}) == "car.glb"
    assert file_name("car", "thumbnail", {"width": 400, "height": 100}) == "car.400x100.png"


def test_one_side_of_a_thumbnail_makes_a_square_and_none_is_200() -> None:
    assert thumbnail_size({"height": 100}) == (100, 100)
    assert thumbnail_size({"width": 400}) == (400, 400)
    assert thumbnail_size({}) == (200, 200)
