import numpy as np
import pytest
import trimesh

from shared.embedded.engine.job import Output
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import binary_stl, glb, sphere, triangle


@pytest.mark.parametrize("format_", ["binary", "ascii"])
async def test_another_library_reads_the_same_triangles(bench: Bench, format_: str) -> None:
    triangles = sphere(8)
    result = await bench.good(
        {"ball.stl": binary_stl(triangles)}, Output("stl", "out.stl", {"format": format_})
    )
    assert [(made.type, made.name, made.role) for made in result.made] == [("stl", "out.stl", None)]
    assert (bench.output / "out.stl").read_bytes().startswith(b"solid") == (format_ == "ascii")
    mesh = trimesh.load_mesh(bench.output / "out.stl")
    assert len(mesh.faces) == len(triangles)
    assert mesh.bounds == pytest.approx(np.array([[-1.0] * 3, [1.0] * 3]), abs=1e-6)
    assert mesh.is_watertight


async def test_nodes_that_mirror_keep_the_outside_outside(bench: Bench) -> None:
    nodes = [{"mesh": 0, "scale": [1, 1, -1], "translation": [0, 0, 2]}]
    document, data = triangle(nodes=nodes)
    await bench.good({"car.glb": glb(document, data)}, Output("stl", "out.stl"))
    mesh = trimesh.load_mesh(bench.output / "out.stl")
    assert mesh.bounds[0][2] == 2
    assert mesh.face_normals[0] == pytest.approx([0, 0, -1])
