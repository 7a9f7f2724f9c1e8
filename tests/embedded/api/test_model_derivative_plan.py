"""What is made of an order, and what is refused although it is right."""

from typing import Any

import pytest

from shared.embedded.api.model_derivative.plan import NotMade, groups, plan, sources
from shared.embedded.engine.formats import READS, TARGETS, WRITES
from shared.model_derivative_formats import Format


def formats(*entries: tuple[str, dict[str, Any]]) -> tuple[Format, ...]:
    return tuple(Format(kind, advanced) for kind, advanced in entries)


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


def test_what_the_engine_knows_is_handed_to_it() -> None:
    obj = {"unit": "inch", "exportFileStructure": "multiple"}
    stl = {"format": "ascii", "exportColor": False}
    assert [one.options for one in plan(formats(("obj", obj), ("stl", stl)), ".obj")] == [obj, stl]


def test_an_option_that_the_engine_does_not_know_is_not_made() -> None:
    with pytest.raises(NotMade, match="'depth'"):
        plan(formats(("glb", {"depth": 2})), ".obj")


def test_cad_outputs_are_made_of_cad_sources_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.embedded.engine.formats.WRITES", TARGETS)
    assert plan(formats(("step", {"applicationProtocol": "203"})), ".stp")[0].options
    assert plan(formats(("step", {})), ".zip"), "what is in a zip is known when it is opened"
    with pytest.raises(NotMade, match="mesh"):
        plan(formats(("step", {})), ".obj")
    assert set(sources("step")) == {".step", ".stp", ".iges", ".igs", ".ige"}


def test_cad_outputs_say_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = {name: target for name, target in WRITES.items() if name not in ("step", "iges")}
    monkeypatch.setattr("shared.embedded.engine.formats.WRITES", bare)
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
