import numpy as np
import pytest
import trimesh
from trimesh.visual import ColorVisuals

from shared.embedded.engine.job import Output
from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import glb, triangle
from tests.embedded.models import obj

PLY = Output("ply", "out.ply")


async def test_another_library_reads_triangles_normals_and_colours(bench: Bench) -> None:
    result = await bench.good({"a.x3d": made.x3d()}, PLY)
    mesh = trimesh.load_mesh(bench.output / "out.ply")
    assert isinstance(mesh.visual, ColorVisuals)
    assert len(mesh.faces) == result.statistics["triangles"] == 4
    assert mesh.bounds.tolist() == [[1, 0, 0], [11, 10, 10]]
    assert np.unique(mesh.visual.vertex_colors, axis=0).tolist() == [[255, 0, 0, 255]]


async def test_points_stay_points(bench: Bench) -> None:
    await bench.good({"a.xyz": made.xyz()}, PLY)
    cloud = trimesh.load(bench.output / "out.ply")
    assert isinstance(cloud, trimesh.PointCloud)
    colors = dict(zip(map(tuple, cloud.vertices.tolist()), cloud.colors.tolist(), strict=True))
    assert colors[(10, 0, 0)] == [0, 255, 0, 255]


async def test_parts_stand_where_they_stand(bench: Bench) -> None:
    nodes = [{"mesh": 0}, {"mesh": 0, "translation": [5, 0, 0]}]
    document, data = triangle(nodes=nodes, scenes=[{"nodes": [0, 1]}])
    await bench.good({"a.glb": glb(document, data)}, PLY)
    mesh = trimesh.load_mesh(bench.output / "out.ply")
    assert len(mesh.faces) == 2 and mesh.bounds[1] == pytest.approx([6, 1, 0])


async def test_lines_are_left_out_with_a_warning(bench: Bench) -> None:
    result = await bench.good({"a.obj": obj() + b"l 1 2\n"}, PLY)
    assert "dropped-lines" in [warning.code for warning in result.warnings]
