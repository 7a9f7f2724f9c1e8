import pytest

from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench
from tests.embedded.models import png

_BOX = (0, 0.05, -0.1, 0.1, 0.15, 0)  # z up from 5 to 15 cm has become y


@pytest.mark.parametrize("packed", [False, True], ids=["usda", "usdz"])
async def test_centimetres_and_z_up_become_metres_and_y_up(bench: Bench, packed: bool) -> None:
    files = {"a.usdz": made.usdz(made.usda())} if packed else {"a.usda": made.usda()}
    result = await bench.good(files)
    assert (result.statistics["triangles"], result.statistics["sourceUnit"]) == (4, "cm")
    box = result.statistics["boundingBox"]
    assert (*box["min"], *box["max"]) == pytest.approx(_BOX)
    assert "Tetra" in {node.get("name") for node in bench.json()["nodes"]}
    material = next(one for one in bench.json()["materials"] if one.get("name") == "Skin")
    assert material["pbrMetallicRoughness"]["baseColorFactor"] == [1, 0, 0, 1]


async def test_a_stage_that_says_no_unit_is_in_centimetres_and_y_up(bench: Bench) -> None:
    result = await bench.good({"a.usda": made.usda(head="")})
    assert result.statistics["sourceUnit"] == "cm"
    assert result.statistics["boundingBox"]["max"] == pytest.approx([0.1, 0.1, 0.15])


async def test_a_texture_in_the_package_is_in_the_output(bench: Bench) -> None:
    files = {"a.usdz": made.usdz(made.usda("skin.png"), skin_dot_png=png())}
    result = await bench.good(files)
    assert result.warnings == ()
    assert result.statistics["textures"] == 1


async def test_a_texture_beside_a_layer_is_in_the_output_or_a_warning(bench: Bench) -> None:
    result = await bench.good({"a.usda": made.usda("skin.png")})
    assert [warning.code for warning in result.warnings] == ["4004"]
    result = await bench.good({"a.usda": made.usda("skin.png"), "skin.png": png()})
    assert result.statistics["textures"] == 1


async def test_layers_on_the_network_are_not_asked_for(bench: Bench) -> None:
    head = "subLayers = [@http://127.0.0.1:9/x.usda@, @/etc/passwd@]"
    result = await bench.good({"a.usda": made.usda(head=head)})
    assert result.statistics["triangles"] == 4
