"""STEP and IGES as outputs; `make test-cad` installs what they need."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from shared.embedded.engine.job import Output
from tests.conftest import MODELS
from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench

pytestmark = pytest.mark.skipif(find_spec("OCP") is None, reason="make test-cad installs the CAD packages")

_STEP, _IGES = Output("step", "out.stp"), Output("iges", "out.igs")


@pytest.mark.parametrize("source", ["box.stp", "box.igs"])
@pytest.mark.parametrize("output", [_STEP, _IGES], ids=["step", "iges"])
async def test_another_library_reads_the_same_box(bench: Bench, source: str, output: Output) -> None:
    """cascadio reads what OpenCASCADE's own writer wrote."""
    await bench.good({source: (made.DATA / source).read_bytes()}, output)
    result = await bench.run(bench.output, output.name, Output("glb", "again.glb"))
    assert result.error is None
    assert result.statistics["triangles"] == 12
    assert result.statistics["boundingBox"]["max"] == pytest.approx([0.01, 0.02, 0.03], abs=1e-6)


@pytest.mark.parametrize(
    ("protocol", "schema"),
    [("203", b"CONFIG_CONTROL_DESIGN"), ("214", b"AUTOMOTIVE_DESIGN"), ("242", b"AP242")],
)
async def test_the_application_protocol_is_the_one_asked_for(
    bench: Bench, protocol: str, schema: bytes
) -> None:
    output = Output("step", "out.stp", {"applicationProtocol": protocol, "tolerance": 0.01})
    await bench.good({"box.stp": (made.DATA / "box.stp").read_bytes()}, output)
    assert schema in (bench.output / "out.stp").read_bytes()


# Entities of IGES, by the number of their type.
_SOLID, _FACE, _BOUNDED, _TRIMMED, _LINE = 186, 510, 143, 144, 110


def _entities(path: Path) -> Counter[int]:
    """How often each type of entity is in an IGES: each has two lines in the directory."""
    lines = path.read_bytes().splitlines()
    found = Counter(int(line[:8]) for line in lines if line[72:73] == b"D")
    return Counter({type_: count // 2 for type_, count in found.items()})


@pytest.mark.parametrize(
    ("options", "entities", "ignored"),
    [
        ({}, {_SOLID: 1}, 0),
        ({"solidType": "solid"}, {_SOLID: 1}, 0),
        ({"solidType": "surface"}, {_TRIMMED: 6}, 0),
        ({"solidType": "surface", "surfaceType": "trimmed"}, {_TRIMMED: 6}, 0),
        ({"solidType": "surface", "surfaceType": "bounded"}, {_TRIMMED: 6}, 1),
        ({"solidType": "surface", "surfaceType": "wireframe"}, {_LINE: 12}, 0),
        ({"solidType": "wireframe"}, {_LINE: 12}, 0),
        ({"sheetType": "open"}, {_SOLID: 1}, 1),
        ({"surfaceType": "trimmed", "sheetType": "wireframe"}, {_SOLID: 1}, 2),
    ],
)
async def test_solids_become_what_they_are_asked_to_be(
    bench: Bench, options: dict[str, object], entities: dict[int, int], ignored: int
) -> None:
    output = Output("iges", "out.igs", options)
    result = await bench.good({"box.stp": (made.DATA / "box.stp").read_bytes()}, output)
    found = _entities(bench.output / "out.igs")
    kinds = (_SOLID, _BOUNDED, _TRIMMED)
    assert {kind: found[kind] for kind in kinds if found[kind]} == {
        kind: count for kind, count in entities.items() if kind in kinds
    }
    assert all(found[kind] == count for kind, count in entities.items())
    assert [warning.code for warning in result.warnings] == ["option-ignored"] * ignored


@pytest.mark.parametrize(
    ("options", "entity", "ignored"),
    [
        ({}, _TRIMMED, 0),
        ({"sheetType": "surface"}, _TRIMMED, 0),
        ({"sheetType": "open"}, _FACE, 0),
        ({"sheetType": "shell"}, _FACE, 0),
        ({"sheetType": "wireframe"}, _LINE, 0),
        ({"solidType": "solid"}, _TRIMMED, 1),
    ],
)
async def test_sheets_become_what_they_are_asked_to_be(
    bench: Bench, options: dict[str, object], entity: int, ignored: int
) -> None:
    """The IGES of the box is six surfaces, not a solid."""
    output = Output("iges", "out.igs", options)
    result = await bench.good({"box.igs": (made.DATA / "box.igs").read_bytes()}, output)
    found = _entities(bench.output / "out.igs")
    assert found[entity] > 0 and found[_SOLID] == 0
    assert (found[_TRIMMED] == 0) == (entity != _TRIMMED)
    assert [warning.code for warning in result.warnings] == ["option-ignored"] * ignored


async def test_a_mesh_is_refused(bench: Bench) -> None:
    result = await bench.convert({"a.off": made.off()}, _STEP)
    assert result.error is not None and result.error.code == "unsupported-output"


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")
@pytest.mark.parametrize("output", [_STEP, _IGES], ids=["step", "iges"])
async def test_an_assembly_keeps_its_size_and_colours(bench: Bench, output: Output) -> None:
    first = await bench.run(MODELS / "step", "as1-oc-214.stp", output, Output("glb", "first.glb"))
    assert first.error is None
    again = await bench.run(bench.output, output.name, Output("glb", "again.glb"))
    assert again.error is None
    assert again.statistics["triangles"] == pytest.approx(5180, rel=0.01)
    for key in ("min", "max"):
        assert again.statistics["boundingBox"][key] == pytest.approx(
            first.statistics["boundingBox"][key], abs=1e-5
        )
    if output is _STEP:
        assert again.statistics["materials"] == first.statistics["materials"]
