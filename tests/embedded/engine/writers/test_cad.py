"""STEP and IGES as outputs; `make test-cad` installs what they need."""

from importlib.util import find_spec

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


async def test_options_without_an_effect_are_a_warning(bench: Bench) -> None:
    output = Output("iges", "out.igs", {"surfaceType": "trimmed", "solidType": "surface"})
    result = await bench.good({"box.stp": (made.DATA / "box.stp").read_bytes()}, output)
    assert [warning.code for warning in result.warnings] == ["option-ignored"]


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
