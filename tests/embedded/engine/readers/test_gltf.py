import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODELS
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import glb, triangle
from tests.embedded.models import png

Validate = Callable[[Path], dict[str, Any]]


def _textured(**image: Any) -> tuple[dict[str, Any], bytes]:
    return triangle(
        images=[image],
        textures=[{"source": 0}],
        materials=[{"name": "skin", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
    )


async def test_a_glb_keeps_what_the_engine_does_not_know(bench: Bench) -> None:
    document, data = triangle(
        extensionsUsed=["EXT_of_ours"],
        extensions={"EXT_of_ours": {"a": [1]}},
        extras={"b": 2},
        animations=[{"name": "spin", "channels": [], "samplers": []}],
    )
    result = await bench.good({"car.glb": glb(document, data)})
    kept = bench.json()
    assert result.info["inputInfo"]["sourceAssetGenerator"] == "a test"
    for key in ("extensionsUsed", "extensions", "extras", "animations", "asset", "accessors", "nodes"):
        assert kept[key] == document[key]


async def test_buffers_and_images_from_files_end_up_inside(bench: Bench, gltf_validate: Validate) -> None:
    document, data = _textured(uri="maps/red%20one.PNG")
    document["buffers"] = [{"byteLength": 42, "uri": "Data/car.bin"}]
    result = await bench.good(
        {"car.gltf": json.dumps(document).encode(), "data/car.bin": data, "maps/red one.png": png()}
    )
    assert result.warnings == ()
    written = bench.json()
    assert "uri" not in written["buffers"][0] and "uri" not in written["images"][0]
    assert written["images"][0]["mimeType"] == "image/png"


async def test_several_buffers_become_one(bench: Bench, gltf_validate: Validate) -> None:
    document, data = triangle(
        buffers=[
            {"byteLength": 36, "uri": "a.bin"},
            {"byteLength": 6, "uri": "data:application/octet-stream;base64," + "AAABAAIA"},
        ],
        bufferViews=[{"buffer": 0, "byteLength": 36}, {"buffer": 1, "byteLength": 6}],
    )
    await bench.good({"car.gltf": json.dumps(document).encode(), "a.bin": data[:36]})
    assert len(bench.json()["buffers"]) == 1
    assert gltf_validate(bench.output / "out.glb")["issues"]["numErrors"] == 0


async def test_a_missing_buffer_fails_by_name(bench: Bench) -> None:
    document, _ = triangle(buffers=[{"byteLength": 42, "uri": "lost/car.bin"}])
    result = await bench.convert({"car.gltf": json.dumps(document).encode()})
    assert result.error is not None
    assert result.error.code == "missing-companion"
    assert "lost/car.bin" in result.error.message


async def test_a_missing_image_is_a_warning_and_the_rest_stays_valid(
    bench: Bench, gltf_validate: Validate
) -> None:
    document, data = _textured(uri="lost.png")
    encoded = "data:image/png;base64," + base64.b64encode(png()).decode()
    document["images"].append({"uri": encoded})
    document["textures"].append({"source": 1})
    document["materials"][0]["emissiveTexture"] = {"index": 1}
    result = await bench.good({"car.glb": glb(document, data)})
    (warning,) = result.warnings
    assert (warning.code, warning.details["texture"], warning.details["material"]) == (
        "4004",
        "lost.png",
        "skin",
    )
    written = bench.json()
    assert "baseColorTexture" not in written["materials"][0]["pbrMetallicRoughness"]
    texture = written["textures"][written["materials"][0]["emissiveTexture"]["index"]]
    assert texture["source"] == 0 and len(written["images"]) == 1


async def test_gltf_1_is_refused_with_what_to_do(bench: Bench) -> None:
    document, data = triangle(asset={"version": "1.0"})
    result = await bench.convert({"car.glb": glb(document, data)})
    assert result.error is not None
    assert result.error.code == "unsupported-format" and "2.0" in result.error.message


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")
@pytest.mark.parametrize(
    ("model", "extension"),
    [
        ("gltf/BoxDraco/Box.gltf", "KHR_draco_mesh_compression"),
        ("gltf/BoxMeshopt.glb", "EXT_meshopt_compression"),
    ],
)
async def test_compressed_meshes_stay_compressed_and_are_understood(
    bench: Bench, model: str, extension: str
) -> None:
    path = MODELS / model
    result = await bench.run(path.parent, path.name)
    assert result.error is None
    assert result.statistics["triangles"] == 12
    assert extension in bench.json()["extensionsUsed"]
