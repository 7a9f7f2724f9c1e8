import pytest

from tests.conftest import MODELS
from tests.embedded.engine.conftest import Bench

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")


async def test_an_assembly_comes_in_metres_with_its_parts_names_and_colours(bench: Bench) -> None:
    result = await bench.run(MODELS / "step", "as1-oc-214.stp")
    assert result.error is None
    assert result.statistics["sourceUnit"] == "mm"
    assert result.statistics["triangles"] == 5180
    assert result.statistics["boundingBox"]["min"] == pytest.approx([-0.01, 0, -0.004], abs=1e-6)
    assert result.statistics["boundingBox"]["max"] == pytest.approx([0.19, 0.15, 0.08], abs=1e-6)
    names = [node["name"] for node in bench.json()["nodes"]]
    assert "as1" in names and "rod-assembly_1" in names and "nut_1" in names
    assert len(bench.json()["materials"]) == 5


async def test_a_part_without_colour_is_plain_and_not_bare_metal(bench: Bench) -> None:
    result = await bench.run(MODELS / "step", "dm1-oc-214.stp")
    assert result.error is None
    (material,) = bench.json()["materials"]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
