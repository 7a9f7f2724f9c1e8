import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.embedded.engine.job import Output
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import ascii_stl, binary_stl, glb, sphere, triangle
from tests.embedded.models import png


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.mode == "RGBA"
        return np.asarray(image)


@pytest.mark.parametrize(("width", "height"), [(100, 100), (400, 100), (100, 200)])
async def test_a_picture_has_the_size_asked_for_and_the_model_fills_it(
    bench: Bench, width: int, height: int
) -> None:
    await bench.good(
        {"ball.stl": binary_stl(sphere(16))},
        Output("thumbnail", "ball.png", {"width": width, "height": height}),
    )
    pixels = _pixels(bench.output / "ball.png")
    assert pixels.shape == (height, width, 4)
    seen = pixels[..., 3] > 0
    shorter = min(width, height)
    assert seen.any(axis=1).sum() == pytest.approx(0.9 * shorter, abs=3)
    assert seen.any(axis=0).sum() == pytest.approx(0.9 * shorter, abs=3)
    assert not (seen[0].any() or seen[-1].any() or seen[:, 0].any() or seen[:, -1].any())
    assert len(np.unique(pixels[seen], axis=0)) > 16


async def test_edges_are_smooth_and_the_ground_is_clear(bench: Bench) -> None:
    await bench.good({"ball.stl": binary_stl(sphere(16))}, Output("thumbnail", "ball.png"))
    alpha = _pixels(bench.output / "ball.png")[..., 3]
    assert alpha[0, 0] == 0 and alpha[100, 100] == 255
    assert ((alpha > 0) & (alpha < 255)).sum() > 50


async def test_a_texture_shows_its_colour(bench: Bench) -> None:
    document, data = triangle(
        images=[{"bufferView": 2, "mimeType": "image/png"}],
        textures=[{"source": 0}],
        materials=[{"pbrMetallicRoughness": {"metallicFactor": 0, "baseColorTexture": {"index": 0}}}],
    )
    picture = png((20, 160, 30))
    document["accessors"].append({"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC2"})
    attributes = {"POSITION": 0, "TEXCOORD_0": 2}
    document["meshes"] = [{"primitives": [{"attributes": attributes, "indices": 1, "material": 0}]}]
    document["bufferViews"].append({"buffer": 0, "byteOffset": 44, "byteLength": len(picture)})
    document["buffers"] = [{"byteLength": 44 + len(picture)}]
    await bench.good({"car.glb": glb(document, data + bytes(2) + picture)}, Output("thumbnail", "car.png"))
    pixels = _pixels(bench.output / "car.png")
    red, green, blue = pixels[pixels[..., 3] == 255][:, :3].mean(axis=0)
    assert green > 2 * red and green > 2 * blue


async def test_what_is_behind_glass_can_be_seen(bench: Bench) -> None:
    """A red triangle behind a clear, bluish one."""
    document, data = triangle(
        nodes=[{"mesh": 0}, {"mesh": 1, "translation": [0, 0, -0.01]}],
        scenes=[{"nodes": [0, 1]}],
        materials=[
            {"alphaMode": "BLEND", "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 1, 0.2]}},
            {"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1], "metallicFactor": 0}},
        ],
        meshes=[
            {"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": material}]}
            for material in (0, 1)
        ],
    )
    await bench.good({"car.glb": glb(document, data)}, Output("thumbnail", "car.png"))
    pixels = _pixels(bench.output / "car.png")
    red, _, blue = pixels[pixels[..., 3] == 255][:, :3].mean(axis=0)
    assert red > 2 * blue > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
async def test_a_rod_is_not_a_hairline(bench: Bench, axis: int) -> None:
    rod = sphere(12) * np.float32(0.15)
    rod[..., axis] *= 60
    await bench.good({"rod.stl": binary_stl(rod)}, Output("thumbnail", "rod.png"))
    assert (_pixels(bench.output / "rod.png")[..., 3] > 0).mean() > 0.05


async def test_far_from_the_origin_and_tiny_look_the_same_as_at_home(bench: Bench) -> None:
    ball = sphere(6)
    models = {"home.stl": ball, "tiny.stl": ball * np.float32(1e-6), "far.stl": ball * 1000 + 5000}
    pictures = []
    for name, triangles in models.items():
        await bench.good({name: binary_stl(triangles)}, Output("thumbnail", "ball.png", {"width": 100}))
        pictures.append(_pixels(bench.output / "ball.png").astype(int))
    assert np.abs(pictures[1] - pictures[0]).mean() < 1
    assert np.abs(pictures[2] - pictures[0]).mean() < 1


async def test_points_and_flat_models_are_drawn(bench: Bench) -> None:
    head = "ply\nformat ascii 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
    corners = "".join(f"{x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
    flat = ascii_stl({"flat": np.array([[[0, 0, 0], [1, 0, 0], [0, 0, 1]]], np.float32)})
    for name, data in (("cloud.ply", (head + "end_header\n" + corners).encode()), ("flat.stl", flat)):
        await bench.good({name: data}, Output("thumbnail", "it.png", {"width": 100}))
        assert (_pixels(bench.output / "it.png")[..., 3] > 0).sum() > 30


async def test_several_sizes_are_one_picture_scaled_down(bench: Bench) -> None:
    """The smaller ones come first here, and are made of the largest all the same."""
    sizes = (100, 400, 200)
    outputs = [Output("thumbnail", f"{size}.png", {"width": size}) for size in sizes]
    result = await bench.good({"ball.stl": binary_stl(sphere(16))}, *outputs)
    assert [made.name for made in result.made] == ["100.png", "400.png", "200.png"]
    large = _pixels(bench.output / "400.png").astype(int)
    small = _pixels(bench.output / "100.png").astype(int)
    assert small.shape == (100, 100, 4)
    blocks = large.reshape(100, 4, 100, 4, 4)
    inside = (blocks[..., 3] == 255).all(axis=(1, 3))
    difference = np.abs(blocks.mean(axis=(1, 3)) - small)[inside]
    assert inside.sum() > 3000 and difference.max() <= 1


async def test_surfaces_inside_each_other_do_not_take_for_ever(bench: Bench) -> None:
    """Five thousand parallel triangles: every ray has thousands to meet, which took 19 s."""
    lines = [f"v {i} 0 0\nv 0 {i} 0\nv 0 0 {i}\nf -3 -2 -1" for i in range(1, 5001)]
    started = time.monotonic()
    files = {"shells.obj": "\n".join(lines).encode()}
    await bench.good(files, Output("thumbnail", "shells.png", {"width": 400}))
    assert time.monotonic() - started < 15
    pixels = _pixels(bench.output / "shells.png")
    assert pixels.shape == (400, 400, 4)
    assert (pixels[..., 3] > 0).mean() > 0.1
