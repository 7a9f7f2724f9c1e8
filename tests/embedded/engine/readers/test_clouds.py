from pathlib import Path

import numpy as np
import pytest
import trimesh

from shared.embedded.engine.job import Output
from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench


@pytest.mark.parametrize("compressed", [False, True], ids=["las", "laz"])
async def test_points_are_turned_y_up_and_keep_their_colours(bench: Bench, compressed: bool) -> None:
    colors = [(65535, 0, 0), (0, 65535, 0), (0, 0, 65535), (65535, 65535, 65535)]
    result = await bench.good({"a.las": made.las(compressed=compressed, colors=colors)})
    assert (result.statistics["points"], result.statistics["triangles"]) == (4, 0)
    (cloud,) = trimesh.load_scene(bench.output / "out.glb").dump()
    assert isinstance(cloud, trimesh.PointCloud)
    place = {
        tuple(color[:3]): tuple(point) for point, color in zip(cloud.vertices, cloud.colors, strict=True)
    }
    assert place[(0, 0, 255)] == pytest.approx((0, 0, -10))
    assert place[(255, 255, 255)] == pytest.approx((0, 10, 0))


async def test_feet_of_a_projection_become_metres(bench: Bench) -> None:
    result = await bench.good({"a.las": made.las(feet=True)})
    assert result.statistics["sourceUnit"] == "ft"
    assert result.statistics["boundingBox"]["max"][0] == pytest.approx(3.048)


async def test_points_of_a_survey_keep_their_millimetres_in_every_output(bench: Bench) -> None:
    """At five million metres, 32 bits would round to half a metre."""
    places = np.array(made.POINTS) / 1000 + (654321.25, 5654321.5, 240)
    result = await bench.good({"a.las": made.las(places)}, Output("glb", "out.glb"), Output("ply", "out.ply"))
    box = result.statistics["boundingBox"]
    assert np.subtract(box["max"], box["min"]) == pytest.approx([0.01] * 3, abs=1e-6)
    assert box["min"] == pytest.approx([654321.25, 240, -5654321.51], abs=1e-3)
    again = trimesh.load(bench.output / "out.ply")
    assert isinstance(again, trimesh.PointCloud)
    assert np.ptp(again.vertices, axis=0) == pytest.approx([0.01] * 3, abs=1e-6)
    nodes = bench.json()["nodes"]
    assert nodes[0]["matrix"][12:15] == pytest.approx([654321, 240, -5654321], abs=1)


async def test_an_e57_scan_stands_at_its_pose(bench: Bench, tmp_path: Path) -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    result = await bench.good({"a.e57": made.e57(tmp_path, colors=colors, shift=(100, 0, 7))})
    assert (result.statistics["points"], result.statistics["sourceUnit"]) == (4, "m")
    box = result.statistics["boundingBox"]
    assert (*box["min"], *box["max"]) == pytest.approx((100, 7, -10, 110, 17, 0))
    assert "first" in {node.get("name") for node in bench.json()["nodes"]}
    cloud = next(iter(trimesh.load_scene(bench.output / "out.glb").geometry.values()))
    assert len(np.unique(cloud.colors, axis=0)) == 4


@pytest.mark.parametrize(
    "text",
    [
        made.xyz(),
        b"X;Y;Z;R;G;B\n0;0;0;255;0;0\n10;0;0;0;255;0\n0;10;0;0;0;255\n0;0;10;255;255;255\n",
        b"4\n0,0,0,255,0,0\r\n10,0,0,0,255,0\r\n\r\n0,10,0,0,0,255\r\n0,0,10,255,255,255\r\nend\n",
    ],
    ids=["spaces", "semicolons", "a count, commas and an end"],
)
async def test_lines_of_numbers_are_points_whatever_separates_them(bench: Bench, text: bytes) -> None:
    result = await bench.good({"a.xyz": text})
    assert result.statistics["points"] == 4
    assert result.statistics["boundingBox"] == {"min": [0, 0, 0], "max": [10, 10, 10]}
    cloud = trimesh.load_scene(bench.output / "out.glb").geometry["a"]
    assert {tuple(color[:3]) for color in cloud.colors.tolist()} == {
        (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255),
    }  # fmt: skip


async def test_normals_of_an_xyz_are_told_from_colours(bench: Bench) -> None:
    await bench.good({"a.xyz": b"0 0 0 0 0 1\n1 0 0 0 1 0\n0 1 0 1 0 0\n"})
    attributes = bench.json()["meshes"][0]["primitives"][0]["attributes"]
    assert "NORMAL" in attributes and "COLOR_0" not in attributes


async def test_molecules_are_not_points(bench: Bench) -> None:
    result = await bench.convert({"water.xyz": b"3\nwater\nO 0 0 0\nH 0 0 1\nH 0 1 0\n"})
    assert result.error is not None and "three numbers" in result.error.message
