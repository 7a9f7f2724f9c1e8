import pytest

from shared.embedded.engine.formats import (
    READS,
    TARGETS,
    UNITS,
    WRITES,
    check_output,
    file_name,
    read_format,
    sources_of,
    thumbnail_size,
)
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
        ("stl", {"format": "ascii", "exportColor": False, "exportFileStructure": "multiple"}),
        ("thumbnail", {"width": 100, "height": 400}),
        ("png", {"width": 1, "height": 1024}),
        *(("obj", {"unit": unit}) for unit in UNITS),
        ("obj", {"modelGuid": "4f981e94-8241-4eaf-b08b-cd337c6b8b1f", "objectIds": [2, 3, 0]}),
        ("obj", {"objectIds": [-1]}),
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
        ("jpg", {"width": 1025}, "a whole number from 1 to 1024"),
        ("png", {"height": True}, "height"),
        ("stl", {"exportColor": "true"}, "exportColor"),
        ("stl", {"exportColor": 1}, "exportColor"),
        ("stl", {"exportFileStructure": "many"}, "exportFileStructure"),
        ("obj", {"unit": "parsec"}, "unit"),
        ("obj", {"modelGuid": ""}, "modelGuid"),
        ("obj", {"objectIds": []}, "objectIds"),
        ("obj", {"objectIds": [2, "3"]}, "objectIds"),
        ("obj", {"objectIds": [-2]}, r"-1\] for the whole"),
        ("obj", {"objectIds": [-1, 2]}, "objectIds"),
        ("obj", {"objectIds": [True]}, "objectIds"),
        ("obj", {"objectIds": "2"}, "objectIds"),
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


CAD = ["ige", "iges", "igs", "step", "stp"]


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("step", {"applicationProtocol": "242", "tolerance": 0}, {"applicationProtocol": "215"}),
        ("step", {"applicationProtocol": "203", "tolerance": 1.0}, {"applicationProtocol": 214}),
        ("step", {}, {"tolerance": 1.5}),
        ("iges", {"tolerance": 0.5, "surfaceType": "trimmed"}, {"tolerance": -0.1}),
        ("iges", {"sheetType": "open", "solidType": "wireframe"}, {"sheetType": "bounded"}),
        ("iges", {"surfaceType": "wireframe"}, {"tolerance": "0.1"}),
        ("iges", {}, {"tolerance": float("nan")}),
        ("iges", {}, {"solidType": "shell"}),
    ],
)
def test_cad_options_are_checked_where_cad_can_be_written(
    monkeypatch: pytest.MonkeyPatch, type_: str, good: dict[str, object], bad: dict[str, object]
) -> None:
    monkeypatch.setattr("shared.embedded.engine.formats.WRITES", TARGETS)
    check_output(type_, good, "STEP")
    with pytest.raises(Problem) as raised:
        check_output(type_, bad, "STEP")
    assert raised.value.code is Code.INVALID_SETTINGS


def test_cad_is_written_of_cad_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.embedded.engine.formats.WRITES", TARGETS)
    with pytest.raises(Problem, match="the model is OBJ") as raised:
        check_output("step", {}, "OBJ")
    assert raised.value.code is Code.UNSUPPORTED_OUTPUT
    assert [one.removeprefix(".") for one in sources_of("iges")] == CAD


def test_what_is_not_installed_is_not_listed_and_says_what_it_needs() -> None:
    if "step" in WRITES:
        pytest.skip("the CAD packages are installed here")
    assert sources_of("step") == ()
    with pytest.raises(Problem, match="optional package OCP"):
        check_output("step", {})


def test_what_is_not_cad_is_made_of_everything_that_is_read() -> None:
    assert sorted(sources_of("glb")) == sorted(READS)
