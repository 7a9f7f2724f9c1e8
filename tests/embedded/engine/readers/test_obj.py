from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from trimesh.visual import TextureVisuals

from tests.embedded.engine.conftest import Bench
from tests.embedded.models import mtl, obj, png

Validate = Callable[[Path], dict[str, Any]]


async def test_materials_and_textures_end_up_inside_the_glb(bench: Bench, gltf_validate: Validate) -> None:
    result = await bench.good(
        {"car.obj": obj("car.mtl"), "car.mtl": mtl("red.png"), "red.png": png((200, 30, 30))}
    )
    assert result.warnings == ()
    assert result.statistics["triangles"] == 4
    assert (result.statistics["materials"], result.statistics["textures"]) == (1, 1)
    document = bench.json()
    assert [material["name"] for material in document["materials"]] == ["skin"]
    assert "uri" not in document["buffers"][0]
    assert gltf_validate(bench.output / "out.glb")["issues"]["numErrors"] == 0


async def test_texture_coordinates_are_turned_upside_down_for_gltf(bench: Bench) -> None:
    await bench.good({"car.obj": obj("car.mtl"), "car.mtl": mtl("red.png"), "red.png": png()})
    mesh = trimesh.load_mesh(bench.output / "out.glb")
    assert isinstance(mesh.visual, TextureVisuals)
    # trimesh turns them back: the vertex at (0, height, 0) had vt 0 1.
    places = {tuple(place): tuple(uv) for place, uv in zip(mesh.vertices, mesh.visual.uv, strict=True)}
    assert places[(0.0, 1.0, 0.0)] == (0.0, 1.0)


@pytest.mark.parametrize(
    "name", ["maps\\Red.PNG", "C:\\work\\maps\\red.png", "../x/maps/red.png", "maps/red.png"]
)
async def test_textures_are_found_however_their_path_is_spelled(bench: Bench, name: str) -> None:
    result = await bench.good({"car.obj": obj("CAR.MTL"), "car.mtl": mtl(name), "maps/red.png": png()})
    assert result.warnings == ()
    assert result.statistics["textures"] == 1


async def test_a_missing_texture_is_a_warning_that_names_it_and_its_material(bench: Bench) -> None:
    result = await bench.good({"car.obj": obj("car.mtl"), "car.mtl": mtl("maps/red.png")})
    (warning,) = result.warnings
    assert (warning.code, warning.title) == ("4004", "Missing texture")
    assert warning.details["texture"] == "maps/red.png"
    assert warning.details["material"] == "skin"
    assert bench.json()["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] == [1, 0, 0, 1]


async def test_a_missing_material_file_is_a_warning_that_names_it(bench: Bench) -> None:
    result = await bench.good({"car.obj": obj("lost.mtl")})
    (warning,) = result.warnings
    assert warning.details["file"] == "lost.mtl"
    assert result.statistics["triangles"] == 4


async def test_a_texture_that_is_no_picture_is_a_warning(bench: Bench) -> None:
    result = await bench.good(
        {"car.obj": obj("car.mtl"), "car.mtl": mtl("red.png"), "red.png": b"not a picture"}
    )
    assert "not a picture" in str(result.warnings[0].details["reason"])


async def test_a_tga_texture_becomes_a_png(bench: Bench, gltf_validate: Validate) -> None:
    header = bytes([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 0, 24, 0])
    result = await bench.good(
        {"car.obj": obj("car.mtl"), "car.mtl": mtl("a.tga"), "a.tga": header + bytes([0, 0, 255] * 4)}
    )
    assert result.warnings == ()
    assert bench.json()["images"][0]["mimeType"] == "image/png"
    assert gltf_validate(bench.output / "out.glb")["issues"]["numErrors"] == 0


async def test_a_textured_material_without_texture_coordinates_is_valid(
    bench: Bench, gltf_validate: Validate
) -> None:
    model = b"mtllib car.mtl\nusemtl skin\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 0\nf 1//1 2//1 3//1\n"
    await bench.good({"car.obj": model, "car.mtl": mtl("red.png"), "red.png": png()})
    assert gltf_validate(bench.output / "out.glb")["issues"]["numErrors"] == 0


async def test_objects_keep_their_names_and_indices_may_count_backwards(bench: Bench) -> None:
    first = "o first\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\n"
    second = "o second\nv 0 0 5\nv 1 0 5\nv 0 1 5\nf -3 -2 -1\n"
    result = await bench.good({"car.obj": (first + second).encode()})
    assert result.statistics["triangles"] == 2
    assert result.statistics["boundingBox"] == {"min": [0, 0, 0], "max": [1, 1, 5]}
    names = {node.get("name") for node in bench.json()["nodes"]}
    assert {"first", "second"} <= names


async def test_a_concave_polygon_is_not_filled_where_it_is_hollow(bench: Bench) -> None:
    """An L of area 3 inside a 2 by 2 square: a fan around its first corner would cover more."""
    corners = [(0, 2), (0, 0), (2, 0), (2, 1), (1, 1), (1, 2)]
    text = "".join(f"v {x} {y} 0\n" for x, y in corners) + "f 1 2 3 4 5 6\n"
    result = await bench.good({"l.obj": text.encode()})
    assert result.statistics["triangles"] == 4
    mesh = trimesh.load_mesh(bench.output / "out.glb")
    assert mesh.area == pytest.approx(3)
    assert np.all(mesh.face_normals[:, 2] > 0.99)


async def test_a_material_that_would_be_invisible_is_opaque(bench: Bench) -> None:
    """Some exporters write an opacity of one as `Tr 1`, which means a transparency of one."""
    await bench.good({"car.obj": obj("car.mtl"), "car.mtl": b"newmtl skin\nKd 1 1 1\nTr 1.0\n"})
    material = bench.json()["materials"][0]
    assert "alphaMode" not in material
    assert material["pbrMetallicRoughness"].get("baseColorFactor", [1, 1, 1, 1])[3] == 1


async def test_a_half_transparent_material_is_blended(bench: Bench) -> None:
    await bench.good({"car.obj": obj("car.mtl"), "car.mtl": b"newmtl skin\nKd 1 1 1\nd 0.5\n"})
    assert bench.json()["materials"][0]["alphaMode"] == "BLEND"


async def test_triangles_with_numbers_that_are_none_are_left_out_with_a_warning(
    bench: Bench, gltf_validate: Validate
) -> None:
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv nan 0 0\nf 1 2 3\nf 1 2 4\n"
    result = await bench.good({"car.obj": text})
    assert result.statistics["triangles"] == 1
    assert [warning.code for warning in result.warnings] == ["invalid-geometry"]
    assert gltf_validate(bench.output / "out.glb")["issues"]["numErrors"] == 0
