import json
from pathlib import Path

import pytest
import trimesh
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from shared.embedded.engine.job import Output
from tests.conftest import MODELS
from tests.embedded.engine.conftest import Bench
from tests.embedded.models import mtl, obj, png

GLTF = Output("gltf", "car.gltf")


async def test_buffer_and_textures_are_files_beside_it(bench: Bench) -> None:
    files = {"in.obj": obj("in.mtl"), "in.mtl": mtl("a.png"), "a.png": png()}
    result = await bench.good(files, GLTF)
    assert [(made.name, made.role, made.content_type) for made in result.made] == [
        ("car.gltf", None, "model/gltf+json"),
        ("car.bin", "companion", "application/octet-stream"),
        ("car.image0.png", "companion", "image/png"),
    ]
    assert (bench.output / "car.image0.png").read_bytes() == png()
    content = json.loads((bench.output / "car.gltf").read_text())
    assert content["images"] == [{"uri": "car.image0.png", "name": "a"}]
    assert content["buffers"] == [{"uri": "car.bin", "byteLength": (bench.output / "car.bin").stat().st_size}]
    again = trimesh.load_mesh(bench.output / "car.gltf")
    assert len(again.faces) == 4
    assert isinstance(again.visual, TextureVisuals)
    assert isinstance(again.visual.material, PBRMaterial)
    assert again.visual.material.baseColorTexture.getpixel((0, 0))[:3] == (200, 30, 30)


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")
@pytest.mark.parametrize(
    "name", ["DamagedHelmet.glb", "CesiumMilkTruck.glb", "BoxDraco/Box.gltf", "BoxMeshopt.glb"]
)
async def test_it_can_be_read_again_as_it_was(bench: Bench, tmp_path: Path, name: str) -> None:
    path = MODELS / "gltf" / name
    first = await bench.run(path.parent, path.name, GLTF)
    assert first.error is None
    (bench.output / "again").mkdir()
    second = await bench.run(bench.output, "car.gltf", Output("glb", "again/out.glb"))
    assert second.error is None and second.warnings == ()
    assert second.statistics == first.statistics
