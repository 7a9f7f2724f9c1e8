"""Files that are damaged or hostile: each ends in an error that says what is wrong, and never in a
crash of the engine, which the next conversion would notice."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from shared.embedded.engine.job import Limits, Output
from tests.conftest import MODELS
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import ascii_stl, binary_stl, glb, sphere, triangle
from tests.embedded.models import mtl, obj

_LIMITS = Limits(memory_mb=1500, cpu_seconds=20, wall_seconds=30, output_mb=100)
_CLEAR = {"corrupt-model", "limit-exceeded", "missing-companion", "unsupported-format", "empty"}
_PLY = b"ply\nformat ascii 1.0\nelement vertex 4000000000\nproperty float x\nproperty float y\n" + (
    b"property float z\nelement face 4000000000\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n"
)


def _document(**changes: Any) -> bytes:
    return glb(*triangle(**changes))


def _accessor(**changes: Any) -> bytes:
    document, data = triangle()
    document["accessors"][0] |= changes
    return glb(document, data)


def _indices(*indices: int) -> bytes:
    document, data = triangle()
    return glb(document, data[:36] + struct.pack(f"<{len(indices)}H", *indices))


_DEEP = [{"children": [index + 1]} for index in range(100_000)] + [{"mesh": 0}]

BROKEN = {
    "garbage.glb": b"\x8c\x01" * 500,
    "garbage.gltf": b"\x8c\x01" * 500,
    "garbage.obj": bytes(range(256)) * 20,
    "garbage.ply": b"\x8c\x01" * 500,
    "garbage.stl": b"\x8c\x01" * 500,
    "garbage.fbx": b"\x8c\x01" * 500,
    "garbage.step": b"\x8c\x01" * 500,
    "words.stl": b"solid of nothing at all\nendsolid",
    "words.step": b"ISO-10303-21;\nHEADER;\nENDSEC;\nDATA;\nENDSEC;\nEND-ISO-10303-21;\n",
    "words.obj": b"# a comment and nothing else\n",
    "comment.ply": b"ply\nformat ascii 1.0\nend_header\n",
    "short.stl": binary_stl(sphere(4))[:-10],
    "short ascii.stl": b"solid a\nfacet normal 0 0 0\nouter loop\nvertex 0 0 0\nvertex 1 0 0\n",
    "not a number.stl": ascii_stl({"a": sphere(2)}).replace(b"vertex 0.0", b"vertex zero", 1),
    "huge count.stl": bytes(80) + b"\xff\xff\xff\xff" + bytes(50),
    "huge count.ply": _PLY,
    "short.glb": _document()[:-20],
    "short header.glb": b"glTF\x02\0\0\0",
    "chunk too long.glb": _document()[:12] + b"\xff\xff\xff\x7f" + _document()[16:],
    "version.glb": b"glTF\x03\0\0\0" + _document()[8:],
    "array.gltf": b"[]",
    "deep.gltf": b"[" * 100_000,
    "nan.gltf": b'{"asset":{"version":"2.0"},"nodes":[{"scale":[NaN,1,1]}]}',
    "infinite.gltf": b'{"asset":{"version":"2.0"},"extras":1e999}',
    "huge accessor.glb": _accessor(count=4_000_000_000),
    "negative accessor.glb": _accessor(count=-1),
    "empty accessor.glb": _accessor(bufferView=None),
    "accessor of text.glb": _accessor(count="3"),
    "strange type.glb": _accessor(type="VEC9"),
    "offset.glb": _accessor(byteOffset=30),
    "view.glb": _document(bufferViews=[{"buffer": 0, "byteLength": 4000}, {"buffer": 0, "byteLength": 6}]),
    "view of nothing.glb": _document(bufferViews=[{"buffer": 7, "byteLength": 36}] * 2),
    "negative view.glb": _document(bufferViews=[{"buffer": 0, "byteOffset": -4, "byteLength": 36}] * 2),
    "huge zeros.glb": _document(
        accessors=[{"componentType": 5126, "count": 4_000_000_000, "type": "VEC3"}] * 2
    ),
    "indices.glb": _indices(0, 1, 3),
    "cycle.glb": _document(nodes=[{"mesh": 0, "children": [1]}, {"children": [0]}]),
    "own child.glb": _document(nodes=[{"mesh": 0, "children": [0]}]),
    "two parents.glb": _document(
        nodes=[{"children": [2]}, {"children": [2]}, {"mesh": 0}], scenes=[{"nodes": [0, 1]}]
    ),
    "deep nodes.glb": _document(nodes=_DEEP),
    "missing node.glb": _document(scenes=[{"nodes": [5]}]),
    "missing mesh.glb": _document(nodes=[{"mesh": 5}]),
    "missing accessor.glb": _document(meshes=[{"primitives": [{"attributes": {"POSITION": 9}}]}]),
    "negative mesh.glb": _document(nodes=[{"mesh": -1}]),
    "nodes as text.glb": _document(nodes="none"),
    "meshes as numbers.glb": _document(meshes=[1, 2]),
    "nan.glb": glb(triangle()[0], struct.pack("<f", float("nan")) + triangle()[1][4:]),
    "http buffer.gltf": json.dumps(
        triangle(buffers=[{"byteLength": 42, "uri": "http://127.0.0.1:9/x.bin"}])[0]
    ).encode(),
    "file buffer.gltf": json.dumps(
        triangle(buffers=[{"byteLength": 42, "uri": "file:///etc/passwd"}])[0]
    ).encode(),
    "passwd buffer.gltf": json.dumps(
        triangle(buffers=[{"byteLength": 42, "uri": "../../../../../../etc/passwd"}])[0]
    ).encode(),
    "bad base64.gltf": json.dumps(
        triangle(buffers=[{"byteLength": 42, "uri": "data:application/octet-stream;base64,A"}])[0]
    ).encode(),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_model_fails_with_a_code_and_a_message(bench: Bench, name: str) -> None:
    outputs = (Output("glb", "out.glb"), Output("thumbnail", "out.png"))
    result = await bench.convert({name: BROKEN[name]}, *outputs, limits=_LIMITS)
    assert result.error is not None
    assert result.error.code in _CLEAR, result.error
    assert len(result.error.message) > 30
    assert result.made == ()


@pytest.mark.parametrize("suffix", ["fbx", "glb", "gltf", "obj", "ply", "step", "stl", "stp"])
async def test_an_empty_model_is_called_empty(bench: Bench, suffix: str) -> None:
    result = await bench.convert({f"nothing.{suffix}": b""})
    assert result.error is not None and result.error.code == "empty"


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")
@pytest.mark.parametrize(
    "model",
    [
        "fbx/Y_Bot.fbx",
        "fbx/maya_slime_7500_ascii.fbx",
        "gltf/DamagedHelmet.glb",
        "gltf/BoxMeshopt.glb",
        "obj/chair_model.obj",
        "ply/bunny.ply",
        "ply/cycloidal.ply",
        "step/as1-oc-214.stp",
        "stl/counter.unitsmm.STL",
    ],
)
async def test_half_a_model_fails_or_is_half_converted(bench: Bench, model: str) -> None:
    data = (MODELS / model).read_bytes()
    result = await bench.convert({f"half{Path(model).suffix}": data[: len(data) // 2]}, limits=_LIMITS)
    if result.error is not None:
        assert result.error.code in _CLEAR | {"converter-crashed"}, result.error
    else:
        assert result.made[0].size > 0


@pytest.mark.parametrize(
    "reference",
    ["http://127.0.0.1:9/canary.png", "file://{outside}", "{outside}", "../canary.png", "link.png"],
)
async def test_nothing_outside_the_folder_is_read_or_asked_for(
    bench: Bench, tmp_path: Path, reference: str
) -> None:
    outside = tmp_path / "canary.png"
    outside.write_bytes(b"a canary that must not be in any output")
    (bench.input / "link.png").symlink_to(outside)
    reference = reference.format(outside=outside)
    document, data = triangle(images=[{"uri": reference}], textures=[{"source": 0}])
    for files in (
        {"car.obj": obj("car.mtl"), "car.mtl": mtl(reference)},
        {"car.obj": obj(reference), "car.mtl": b""},
        {"car.glb": glb(document, data)},
    ):
        result = await bench.convert(files, limits=_LIMITS)
        assert result.error is None
        assert {warning.code for warning in result.warnings} == {"4004"}
        assert b"canary that" not in (bench.output / "out.glb").read_bytes()


async def test_the_engine_still_works_after_all_that(bench: Bench) -> None:
    assert (await bench.good({"car.obj": obj()})).statistics["triangles"] == 4
