"""What is made of an order, and what is refused although it is right."""

from collections.abc import Mapping
from typing import Any

import pytest

from shared.embedded.api.model_derivative import plan as module
from shared.embedded.api.model_derivative.plan import NotMade, groups, plan, sources
from shared.embedded.engine.formats import READS, WRITES, check_output
from shared.model_derivative_formats import Format
from shared.problems import Code, Problem


def formats(*entries: tuple[str, dict[str, Any]]) -> tuple[Format, ...]:
    return tuple(Format(kind, advanced) for kind, advanced in entries)


def refuse(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """An engine that lacks some options."""

    def checked(kind: str, advanced: Mapping[str, object]) -> None:
        for name in advanced:
            if name in options:
                raise Problem(Code.INVALID_SETTINGS, f"There is no option {name!r}.")
        check_output(kind, {name: value for name, value in advanced.items() if name not in options})

    monkeypatch.setattr(module, "check_output", checked)


def test_a_default_that_is_written_down_asks_for_nothing_else() -> None:
    (one,) = plan(formats(("stl", {}), ("stl", {"format": "binary", "exportColor": True})), ".obj")
    assert (one.type, one.options) == ("stl", {})


def test_thumbnails_are_the_same_by_their_size() -> None:
    wanted = formats(
        ("thumbnail", {}),
        ("thumbnail", {"width": 200}),
        ("thumbnail", {"height": 200}),
        ("thumbnail", {"width": 200, "height": 100}),
    )
    assert len(plan(wanted, ".obj")) == 2


def test_ids_are_the_same_in_any_order_and_everything_is_not_a_plain_obj() -> None:
    def extraction(*ids: int) -> tuple[str, dict[str, Any]]:
        return "obj", {"modelGuid": "guid", "objectIds": list(ids)}

    made = plan(formats(extraction(3, 2, 3), extraction(2, 3), extraction(-1), ("obj", {})), ".obj")
    assert [one.options for one in made] == [{"objectIds": [2, 3]}, {}, {}]
    assert len({one.signature for one in made}) == 3


def test_a_unit_that_the_engine_does_not_convert_changes_nothing_and_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(monkeypatch, "unit")
    (one,) = plan(formats(("obj", {"unit": "inch"})), ".obj")
    assert one.options == {}
    assert "unchanged" in one.notes[0]


def test_a_structure_that_the_engine_does_not_make_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "exportFileStructure")
    for kind in ("obj", "stl"):
        with pytest.raises(NotMade, match="exportFileStructure"):
            plan(formats((kind, {"exportFileStructure": "multiple"})), ".obj")
        assert plan(formats((kind, {"exportFileStructure": "single"})), ".obj")


def test_colour_that_is_not_written_anyway_may_be_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "exportColor")
    (one,) = plan(formats(("stl", {"exportColor": False})), ".obj")
    assert one.options == {}


def test_cad_outputs_are_made_of_cad_sources_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITES", {**WRITES, "step": WRITES["glb"]})
    monkeypatch.setattr(module, "check_output", lambda kind, advanced: None)
    assert plan(formats(("step", {"applicationProtocol": "203"})), ".stp")[0].options
    assert plan(formats(("step", {})), ".zip"), "what is in a zip is known when it is opened"
    with pytest.raises(NotMade, match="mesh"):
        plan(formats(("step", {})), ".obj")
    assert set(sources("step")) <= {".step", ".stp", ".iges", ".igs"}


def test_cad_outputs_say_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = {name: target for name, target in WRITES.items() if name not in ("step", "iges")}
    monkeypatch.setattr(module, "WRITES", bare)
    for kind in ("step", "iges"):
        assert sources(kind) == ()
        with pytest.raises(NotMade, match="not installed"):
            plan(formats((kind, {})), ".stp")


def test_everything_that_is_read_is_a_source_of_meshes() -> None:
    assert set(sources("glb")) == {*READS, ".zip"}
    assert sources("svf2") == ()


def test_one_request_makes_what_can_be_told_apart() -> None:
    wanted = formats(
        ("stl", {}),
        ("stl", {"format": "ascii"}),
        ("thumbnail", {"width": 100}),
        ("obj", {"modelGuid": "guid", "objectIds": [2]}),
        ("thumbnail", {"width": 400}),
        ("glb", {}),
    )
    together = groups(plan(wanted, ".obj"))
    assert [[one.type for one in group] for group in together] == [
        ["stl", "thumbnail", "thumbnail", "glb"],
        ["stl"],
        ["obj"],
    ]
