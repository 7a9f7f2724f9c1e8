import numpy as np
import pytest

from shared.embedded.engine.job import Output
from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench
from tests.embedded.models import mtl, obj, png

OUT = Output("3mf", "out.3mf")


async def read_again(bench: Bench) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Our own reader's view of the file: statistics, and materials."""
    result = await bench.run(bench.output, "out.3mf", Output("glb", "again.glb"))
    assert result.error is None and result.warnings == ()
    return dict(result.statistics), bench.json("again.glb").get("materials", [])


async def test_metres_become_millimetres_and_y_up_becomes_z_up(bench: Bench) -> None:
    result = await bench.good({"a.dae": made.dae()}, OUT)
    again, materials = await read_again(bench)
    assert again["triangles"] == 4
    for key in ("min", "max"):
        assert again["boundingBox"][key] == pytest.approx(result.statistics["boundingBox"][key], abs=1e-6)  # type: ignore[index]
    assert materials[0]["pbrMetallicRoughness"]["baseColorFactor"] == [1, 0, 0, 1]  # type: ignore[index]


async def test_numbers_without_a_unit_and_axes_that_nobody_states_are_kept(bench: Bench) -> None:
    await bench.good({"a.off": made.off()}, OUT)
    again, _ = await read_again(bench)
    assert again["boundingBox"]["max"] == pytest.approx([0.01, 0.01, 0])  # type: ignore[index]


async def test_textures_and_names_survive(bench: Bench) -> None:
    files = {"in.obj": b"o left\n" + obj("in.mtl"), "in.mtl": mtl("a.png"), "a.png": png()}
    await bench.good(files, OUT)
    again, _ = await read_again(bench)
    assert again["textures"] == 1
    assert "left" in {node.get("name") for node in bench.json("again.glb")["nodes"]}


async def test_colours_of_vertices_survive(bench: Bench) -> None:
    group = '<m:colorgroup id="7"><m:color color="#800000"/><m:color color="#00FF0080"/></m:colorgroup>'
    mesh = made.threemf_mesh(' pid="7" p1="0" p2="0" p3="1"')
    model = made.threemf_model(f'{group}<object id="1">{mesh}</object>', '<item objectid="1"/>')
    await bench.good({"a.3mf": made.threemf(model)}, OUT, Output("glb", "first.glb"))
    await read_again(bench)
    first, second = (
        sorted(map(tuple, bench.values(name, "COLOR_0").tolist())) for name in ("first.glb", "again.glb")
    )
    assert np.array(first) == pytest.approx(np.array(second), abs=0.005)


async def test_a_cloud_makes_an_empty_package_with_a_warning(bench: Bench) -> None:
    result = await bench.good({"a.xyz": made.xyz()}, OUT)
    assert [warning.code for warning in result.warnings] == ["no-triangles"]
