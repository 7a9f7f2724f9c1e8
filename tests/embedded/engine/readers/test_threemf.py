import numpy as np
import pytest
import trimesh
from trimesh.visual import TextureVisuals

from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench
from tests.embedded.models import png

_ITEM = '<item objectid="1"/>'


async def test_a_package_comes_out_in_metres_and_y_up_with_its_names(bench: Bench) -> None:
    result = await bench.good({"a.3mf": made.threemf()})
    assert result.statistics["triangles"] == 4
    assert result.statistics["sourceUnit"] == "mm"
    box = result.statistics["boundingBox"]
    assert (*box["min"], *box["max"]) == pytest.approx((0, 0, -0.01, 0.01, 0.01, 0))
    assert "tetra" in {node.get("name") for node in bench.json()["nodes"]}


@pytest.mark.parametrize(
    ("unit", "size"), [("micron", 1e-5), ("centimeter", 0.1), ("inch", 0.254), ("foot", 3.048), ("meter", 10)]
)
async def test_its_unit_counts(bench: Bench, unit: str, size: float) -> None:
    model = made.threemf_model(f'<object id="1">{made.threemf_mesh()}</object>', _ITEM, unit)
    result = await bench.good({"a.3mf": made.threemf(model)})
    assert result.statistics["boundingBox"]["max"][0] == pytest.approx(size)


async def test_colours_of_corners_become_vertex_colours(bench: Bench) -> None:
    """sRGB in the file, linear in the output: 0x80 is a fifth of the light, not a half."""
    group = '<m:colorgroup id="7"><m:color color="#800000"/><m:color color="#00FF0080"/></m:colorgroup>'
    mesh = made.threemf_mesh(' pid="7" p1="0" p2="0" p3="1"')
    model = made.threemf_model(f'{group}<object id="1">{mesh}</object>', _ITEM)
    await bench.good({"a.3mf": made.threemf(model)})
    colors = np.unique(np.rint(bench.values("out.glb", "COLOR_0") * 255), axis=0)
    assert colors.tolist() == [[0, 255, 0, 128], [55, 0, 0, 255]]


async def test_materials_colour_triangles_one_by_one(bench: Bench) -> None:
    group = '<basematerials id="7"><base name="red" displaycolor="#FF0000"/>'
    group += '<base name="glass" displaycolor="#0000FF40"/></basematerials>'
    mesh = made.threemf_mesh().replace("/></triangles>", ' pid="7" p1="1"/></triangles>')
    model = made.threemf_model(f'{group}<object id="1" pid="7" pindex="0">{mesh}</object>', _ITEM)
    result = await bench.good({"a.3mf": made.threemf(model)})
    assert result.statistics["materials"] == 2
    materials = {one["name"]: one for one in bench.json()["materials"]}
    assert materials["red"]["pbrMetallicRoughness"]["baseColorFactor"] == [1, 0, 0, 1]
    assert materials["glass"]["alphaMode"] == "BLEND"


async def test_textures_keep_their_place(bench: Bench) -> None:
    group = '<m:texture2d id="2" path="/3D/Textures/a.png" contenttype="image/png"/>'
    group += '<m:texture2dgroup id="7" texid="2">'
    group += "".join(f'<m:tex2coord u="{u}" v="{v}"/>' for u, v in ((0, 0), (1, 0), (0.25, 1)))
    group += "</m:texture2dgroup>"
    mesh = made.threemf_mesh(' pid="7" p1="0" p2="1" p3="2"')
    model = made.threemf_model(f'{group}<object id="1">{mesh}</object>', _ITEM)
    result = await bench.good({"a.3mf": made.threemf(model, **{"3D__Textures__a_dot_png": png()})})
    assert result.statistics["textures"] == 1
    scene = trimesh.load_mesh(bench.output / "out.glb")
    assert isinstance(scene.visual, TextureVisuals)
    assert {tuple(uv) for uv in scene.visual.uv.tolist()} == {(0, 0), (1, 0), (0.25, 1)}


async def test_components_and_files_of_the_package_are_put_together(bench: Bench) -> None:
    part = made.threemf_model(f'<object id="1" name="leg">{made.threemf_mesh()}</object>', "", "meter")
    table = '<object id="2" name="table"><components>'
    for x in (0, 100):
        shift = f'transform="1 0 0 0 1 0 0 0 1 {x} 0 0"'
        table += f'<component p:path="/3D/leg.model" objectid="1" {shift}/>'
    model = made.threemf_model(table + "</components></object>", '<item objectid="2"/>', "meter")
    result = await bench.good({"a.3mf": made.threemf(model, **{"3D__leg_dot_model": part})})
    assert (result.statistics["meshes"], result.statistics["triangles"]) == (1, 8)
    assert result.statistics["boundingBox"]["max"][0] == pytest.approx(110)
    names = [node.get("name") for node in bench.json()["nodes"]]
    assert names.count("leg") == 2 and "table" in names


_TO_ITSELF = '<object id="1"><components><component objectid="1"/></components></object>'
_IN_A_RING = (
    '<object id="1"><components><component objectid="2"/></components></object>'
    '<object id="2"><components><component objectid="1"/></components></object>'
)
_A_MILLION = (
    "".join(
        f'<object id="{number}"><components>{f"<component objectid={chr(34)}{number + 1}{chr(34)}/>" * 10}'
        "</components></object>"
        for number in range(1, 7)
    )
    + f'<object id="7">{made.threemf_mesh()}</object>'
)


@pytest.mark.parametrize("resources", [_TO_ITSELF, _IN_A_RING, _A_MILLION], ids=["self", "ring", "million"])
async def test_parts_that_would_never_end_are_refused(bench: Bench, resources: str) -> None:
    result = await bench.convert({"a.3mf": made.threemf(made.threemf_model(resources, _ITEM))})
    assert result.error is not None and result.error.code == "corrupt-model"


async def test_entities_are_refused(bench: Bench) -> None:
    head = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    model = made.threemf_model(f'<object id="1" name="t">{made.threemf_mesh()}</object>', _ITEM, head=head)
    result = await bench.convert({"a.3mf": made.threemf(model)})
    assert result.error is not None and "document type" in result.error.message


async def test_a_bomb_is_refused_before_it_is_unpacked(bench: Bench) -> None:
    result = await bench.convert({"a.3mf": made.threemf(b" " * (600 * 2**20))})
    assert result.error is not None and result.error.code == "limit-exceeded"
    assert "512 MB" in result.error.message


async def test_a_triangle_of_a_vertex_that_does_not_exist_is_left_out(bench: Bench) -> None:
    mesh = made.threemf_mesh().replace('v1="1"', 'v1="99"')
    model = made.threemf_model(f'<object id="1">{mesh}</object>', _ITEM)
    result = await bench.good({"a.3mf": made.threemf(model)})
    assert result.statistics["triangles"] == 3
    assert [warning.code for warning in result.warnings] == ["invalid-geometry"]
