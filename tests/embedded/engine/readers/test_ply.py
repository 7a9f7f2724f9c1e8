import struct

import numpy as np
import pytest
import trimesh

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


_PLAIN = (
    "ply\nformat {} 1.0\ncomment made by a test\nelement vertex 4\nproperty float x\nproperty double y\n"
    "property float z\nproperty float nx\nproperty float ny\nproperty float nz\nproperty uchar red\n"
    "property uchar green\nproperty uchar blue\nproperty uchar alpha\nproperty float s\nproperty float t\n"
    "element face 4\nproperty uchar flags\nproperty list uchar int vertex_indices\nproperty uchar red\n"
    "end_header\n"
)
_VERTICES = [
    (*place, 0.0, 0.0, 1.0, 255, 0, 0, 255, place[0] / 10, 0.25)
    for place in ((0, 0, 0), (10, 0, 0), (0, 10, 0), (0, 0, 10))
]
_TRIANGLES = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]


def _plain(order: str) -> bytes:
    sign = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[order]
    head = _PLAIN.format(order).encode()
    if not sign:
        rows = [
            *(" ".join(map(str, one)) for one in _VERTICES),
            *(f"7 3 {a} {b} {c} 9" for a, b, c in _TRIANGLES),
        ]
        return head + "\n".join(rows).encode()
    vertices = b"".join(struct.pack(f"{sign}fd4f4B2f", *one) for one in _VERTICES)
    return head + vertices + b"".join(struct.pack(f"{sign}BB3iB", 7, 3, *one, 9) for one in _TRIANGLES)


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
async def test_text_and_both_orders_of_bytes_are_the_same_model(bench: Bench, order: str) -> None:
    result = await bench.good({"a.ply": _plain(order)})
    assert (result.statistics["triangles"], result.statistics["vertices"]) == (4, 4)
    mesh = trimesh.load_mesh(bench.output / "out.glb", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    assert mesh.volume == pytest.approx(1000 / 6) and mesh.is_watertight
    primitive = bench.json()["meshes"][0]["primitives"][0]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0", "COLOR_0"}
    assert bench.values("out.glb", "COLOR_0")[:, :4] == pytest.approx(np.tile([1, 0, 0, 1], (4, 1)))


@pytest.mark.parametrize(
    "change",
    [
        (b"3 0 2 1", b"4 0 2 1 3"),  # a polygon of four corners
        (b"vertex_indices", b"vertex_numbers"),
        (b"element vertex 4\n", b"element vertex 4\nproperty list uchar int others\n"),
        (b"comment made", b"comment TextureFile"),
    ],
)
async def test_what_is_not_plain_is_read_as_before_or_refused(
    bench: Bench, change: tuple[bytes, bytes]
) -> None:
    result = await bench.convert({"a.ply": _plain("ascii").replace(*change)})
    assert result.error is None or result.error.code == "corrupt-model"


async def test_a_file_of_fewer_vertices_than_it_says_is_cut_off(bench: Bench) -> None:
    for order in ("ascii", "binary_little_endian"):
        data = _plain(order).replace(b"element vertex 4", b"element vertex 4000000000")
        result = await bench.convert({"a.ply": data})
        assert result.error is not None and "cut off" in result.error.message


async def test_triangles_of_vertices_that_are_not_there_are_left_out(bench: Bench) -> None:
    data = _plain("ascii").replace(b"3 0 2 1", b"3 0 -2 1").replace(b"3 0 1 3", b"3 0 1 99")
    result = await bench.good({"a.ply": data})
    assert result.statistics["triangles"] == 2
    assert [warning.code for warning in result.warnings] == ["invalid-geometry"]
