from pathlib import Path

import pytest
import tinyusdz

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
    (warning,) = result.warnings
    assert warning.code == "not-composed"
    assert warning.details == {"subLayers": "http://127.0.0.1:9/x.usda, /etc/passwd"}


_ARCS = """#usda 1.0
(
    subLayers = [
        @./floor.usda@,
        @walls.usd@
    ]
)
def Xform "House" (
    prepend references = [@./roof.usda@</Roof>, @door.usdc@]
    payload = @furniture.usdc@
    inherits = </_class_House>
    variants = { string season = "winter" }
    prepend variantSets = "season"
)
{
    variantSet "season" = {
        "winter" { def Xform "Snow" {} }
    }
}
class "_class_House" {}
"""


@pytest.mark.parametrize("binary", [False, True], ids=["usda", "usdc"])
async def test_a_layer_of_references_alone_is_refused_with_what_it_refers_to(
    bench: Bench, tmp_path: Path, binary: bool
) -> None:
    data = _ARCS.encode()
    if binary:
        tinyusdz.load_bytes(data).save(str(tmp_path / "a.usdc"))
        data = (tmp_path / "a.usdc").read_bytes()
    result = await bench.convert({f"a.{'usdc' if binary else 'usda'}": data})
    assert result.error is not None and result.error.code == "unsupported-format"
    wanted = ("subLayers", "references", "payloads", "inherits", "variants", "./roof.usda", "furniture.usdc")
    assert [word for word in wanted if word not in result.error.message] == []
    assert "Export it flattened" in result.error.message


async def test_what_a_layer_does_not_bring_along_is_said_beside_what_it_has(bench: Bench) -> None:
    layer = made.usda().replace(b'def Xform "Model" {', b'def Xform "Model" ( payload = @heavy.usdc@ ) {')
    for files in ({"a.usda": layer}, {"a.usdz": made.usdz(layer)}):
        result = await bench.good(files)
        assert result.statistics["triangles"] == 4
        assert [dict(one.details) for one in result.warnings] == [{"payloads": "heavy.usdc"}]


async def test_a_binary_layer_finds_its_picture_beside_it(bench: Bench, tmp_path: Path) -> None:
    tinyusdz.load_bytes(made.usda("skin.png")).save(str(tmp_path / "a.usdc"))
    result = await bench.good({"a.usdc": (tmp_path / "a.usdc").read_bytes(), "skin.png": png()})
    assert result.statistics["textures"] == 1
