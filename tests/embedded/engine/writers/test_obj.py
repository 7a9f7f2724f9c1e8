import pytest
import trimesh
from trimesh.visual import TextureVisuals

from shared.embedded.engine.job import Output
from tests.conftest import MODELS
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import glb, triangle
from tests.embedded.models import mtl, obj, png


async def test_another_library_reads_the_same_model_with_its_texture(bench: Bench) -> None:
    files = {"in.obj": obj("in.mtl"), "in.mtl": mtl("a b.png"), "a b.png": png()}
    result = await bench.good(files, Output("obj", "car.obj"))
    assert [(made.name, made.role) for made in result.made] == [
        ("car.obj", None),
        ("car.mtl", "companion"),
        ("car.texture0.png", "companion"),
    ]
    assert all((bench.output / made.name).stat().st_size == made.size for made in result.made)
    first = trimesh.load_mesh(bench.input / "in.obj")
    again = trimesh.load_mesh(bench.output / "car.obj")
    assert len(again.faces) == 4
    assert isinstance(again.visual, TextureVisuals)
    assert again.bounds == pytest.approx(first.bounds)
    assert again.visual.material.image.getpixel((0, 0))[:3] == (200, 30, 30)
    corners = {tuple(place): tuple(uv) for place, uv in zip(again.vertices, again.visual.uv, strict=True)}
    assert corners[(0.0, 1.0, 0.0)] == (0.0, 1.0)


async def test_parts_keep_their_names_and_places(bench: Bench) -> None:
    nodes = [
        {"name": "left", "mesh": 0},
        {"name": "right side", "mesh": 0, "translation": [5, 0, 0]},
    ]
    document, data = triangle(nodes=nodes, scenes=[{"nodes": [0, 1]}])
    await bench.good({"car.glb": glb(document, data)}, Output("obj", "car.obj"))
    text = (bench.output / "car.obj").read_text()
    assert "o left\n" in text and "o right side\n" in text
    assert trimesh.load_mesh(bench.output / "car.obj").bounds[1][0] == 6


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")
async def test_a_whole_helmet_survives(bench: Bench) -> None:
    result = await bench.run(MODELS / "gltf", "DamagedHelmet.glb", Output("obj", "helmet.obj"))
    assert result.error is None
    mesh = trimesh.load_mesh(bench.output / "helmet.obj")
    assert len(mesh.faces) == 15452
    assert isinstance(mesh.visual, TextureVisuals)
    assert mesh.bounds.ravel() == pytest.approx(
        [*result.statistics["boundingBox"]["min"], *result.statistics["boundingBox"]["max"]], abs=1e-6
    )
    assert mesh.visual.material.image.size == (2048, 2048)
