"""OFF, DAE, 3DS, X3D and DXF, written down by the tests."""

import pytest
import trimesh

from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench
from tests.embedded.models import png


async def test_an_off_keeps_its_triangles(bench: Bench) -> None:
    result = await bench.good({"a.off": made.off()})
    assert result.statistics["triangles"] == 4
    assert result.statistics["boundingBox"] == {"min": [0, 0, 0], "max": [10, 10, 10]}


async def test_a_dae_in_centimetres_and_z_up_comes_out_in_metres_and_y_up(bench: Bench) -> None:
    result = await bench.good({"a.dae": made.dae()})
    assert (result.statistics["triangles"], result.statistics["sourceUnit"]) == (4, "cm")
    box = result.statistics["boundingBox"]
    # z from 5 to 15 has become y.
    assert (*box["min"], *box["max"]) == pytest.approx((0, 0.05, -0.1, 0.1, 0.15, 0), abs=1e-6)
    assert "part" in {node.get("name") for node in bench.json()["nodes"]}
    assert bench.json()["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"][:3] == [1, 0, 0]


@pytest.mark.parametrize("extension", ["dae", "x3d", "3ds"])
async def test_a_texture_beside_the_model_is_in_the_output(bench: Bench, extension: str) -> None:
    make = {"dae": made.dae, "x3d": made.x3d, "3ds": made.threeds}[extension]
    result = await bench.good({f"a.{extension}": make("skin.png"), "skin.png": png()})
    assert result.warnings == ()
    assert result.statistics["textures"] == 1


@pytest.mark.parametrize("extension", ["dae", "x3d", "3ds"])
async def test_a_texture_that_is_not_there_is_a_warning(bench: Bench, extension: str) -> None:
    make = {"dae": made.dae, "x3d": made.x3d, "3ds": made.threeds}[extension]
    result = await bench.good({f"a.{extension}": make("skin.png")})
    assert [warning.code for warning in result.warnings] == ["4004"]
    assert result.warnings[0].details["texture"] == "skin.png"


async def test_an_x3d_is_in_metres_and_keeps_its_colour(bench: Bench) -> None:
    result = await bench.good({"a.x3d": made.x3d()})
    assert (result.statistics["triangles"], result.statistics["sourceUnit"]) == (4, "m")
    assert result.statistics["boundingBox"] == {"min": [1, 0, 0], "max": [11, 10, 10]}
    assert bench.json()["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"][:3] == [1, 0, 0]


async def test_a_3ds_is_turned_y_up(bench: Bench) -> None:
    result = await bench.good({"a.3ds": made.threeds()})
    assert result.statistics["triangles"] == 4
    box = result.statistics["boundingBox"]
    assert (*box["min"], *box["max"]) == pytest.approx((0, 0, -10, 10, 10, 0), abs=1e-5)


@pytest.mark.parametrize(
    ("code", "unit", "size"),
    [(4, "mm", 0.01), (1, "in", 0.254), (6, "m", 10), (0, None, 10), (None, None, 10)],
)
async def test_a_dxf_that_says_its_unit_comes_out_in_metres(
    bench: Bench, code: int | None, unit: str | None, size: float
) -> None:
    result = await bench.good({"a.dxf": made.dxf(code)})
    assert result.statistics["sourceUnit"] == unit
    mesh = trimesh.load_mesh(bench.output / "out.glb")
    assert mesh.extents == pytest.approx([size] * 3)
    assert len(mesh.faces) == 4


async def test_a_binary_dxf_is_refused_by_name(bench: Bench) -> None:
    result = await bench.convert({"a.dxf": b"AutoCAD Binary DXF\r\n\x1a\0" + bytes(100)})
    assert result.error is not None and "binary DXF" in result.error.message


async def test_a_hundred_thousand_levels_of_a_dae_are_refused_before_they_are_followed(bench: Bench) -> None:
    deep = made.dae().replace(b'<node id="n"', b"<node>" * 100_000 + b'<node id="n"')
    deep = deep.replace(b"</node>", b"</node>" * 100_001)
    result = await bench.convert({"a.dae": deep})
    assert result.error is not None and result.error.code == "corrupt-model"
    assert "deep" in result.error.message
