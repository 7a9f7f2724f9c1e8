import numpy as np
import pytest

from tests.embedded.engine.conftest import Bench

_HEAD = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
_COLORS = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
_FACES = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
_COLORED = (_HEAD + _COLORS + _FACES + "0 0 0 188 0 0\n1 0 0 188 0 0\n0 1 0 188 0 0\n3 0 1 2\n").encode()


async def test_a_mesh_without_materials_gets_a_plain_one(bench: Bench) -> None:
    text = _HEAD + _FACES + "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    result = await bench.good({"mesh.ply": text.encode()})
    assert result.statistics["triangles"] == 1
    assert bench.json()["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == 0


@pytest.mark.parametrize(("settings", "expected"), [({}, 0.5), ({"gammaToLinearVertex": False}, 188 / 255)])
async def test_vertex_colours_become_linear_unless_the_settings_say_otherwise(
    bench: Bench, settings: dict[str, object], expected: float
) -> None:
    await bench.good({"mesh.ply": _COLORED}, settings=settings)
    document = bench.json()
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    view = document["bufferViews"][accessor["bufferView"]]
    data = (bench.output / "out.glb").read_bytes()
    start = data.index(b"BIN\0") + 4 + view["byteOffset"]
    colors = np.frombuffer(data, "<u2", 12, start).reshape(3, 4) / 65535
    assert colors[:, 0] == pytest.approx([expected] * 3, abs=0.005)
    assert colors[:, 1:] == pytest.approx(np.tile([0, 0, 1], (3, 1)))


async def test_a_cloud_of_points_stays_one(bench: Bench) -> None:
    text = _HEAD + _FACES.replace("face 1", "face 0") + "0 0 0\n1 0 0\n0 1 0\n"
    result = await bench.good({"cloud.ply": text.encode()})
    assert (result.statistics["points"], result.statistics["triangles"]) == (3, 0)
    assert bench.json()["meshes"][0]["primitives"][0]["mode"] == 0
