import numpy as np
import trimesh

from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import ascii_stl, binary_stl, sphere


async def test_a_binary_file_keeps_its_triangles_and_shares_their_corners(bench: Bench) -> None:
    triangles = sphere(8)
    result = await bench.good({"ball.STL": binary_stl(triangles)})
    assert result.statistics["triangles"] == len(triangles) == 224
    assert result.statistics["vertices"] < len(triangles)
    assert result.statistics["sourceUnit"] is None
    mesh = trimesh.load_mesh(bench.output / "out.glb")
    assert np.allclose(np.sort(mesh.triangles.sum(axis=1), axis=0), np.sort(triangles.sum(axis=1), axis=0))


async def test_a_binary_file_may_start_like_an_ascii_one(bench: Bench) -> None:
    result = await bench.good({"ball.stl": binary_stl(sphere(4), b"solid but binary")})
    assert result.statistics["triangles"] == 48


async def test_an_ascii_file_keeps_its_solids_and_their_names(bench: Bench) -> None:
    ball = sphere(4)
    result = await bench.good({"two.stl": ascii_stl({"Left Ball": ball, "right": ball + 3})})
    assert (result.statistics["meshes"], result.statistics["triangles"]) == (2, 96)
    assert [node["name"] for node in bench.json()["nodes"]] == ["Left Ball", "right"]


async def test_triangles_that_are_not_numbers_are_left_out(bench: Bench) -> None:
    triangles = sphere(4)
    triangles[0, 0, 0] = np.nan
    triangles[1, 0, 0] = np.inf
    result = await bench.good({"ball.stl": binary_stl(triangles)})
    assert result.statistics["triangles"] == 46
    assert [warning.code for warning in result.warnings] == ["invalid-geometry"]
