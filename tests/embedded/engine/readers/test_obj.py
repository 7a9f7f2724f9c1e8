from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from trimesh.visual import TextureVisuals

from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import sphere
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


async def test_names_are_kept_whole_and_groups_are_parts_of_their_object(bench: Bench) -> None:
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\no left door\nf 1 2 3\ng window pane\nf 1 2 3\no empty one\n"
    await bench.good({"car.obj": text})
    nodes = bench.json()["nodes"]
    (top,) = bench.json()["scenes"][0]["nodes"]
    tree = {nodes[one]["name"]: nodes[one] for one in nodes[top]["children"]}
    assert list(tree) == ["left door", "empty one"]
    assert [nodes[one]["name"] for one in tree["left door"]["children"]] == ["window pane"]
    assert "mesh" not in tree["empty one"]


async def test_a_model_without_names_is_called_as_its_file(bench: Bench) -> None:
    await bench.good({"my car.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"})
    assert [node["name"] for node in bench.json()["nodes"] if "mesh" in node] == ["my car"]


async def test_a_group_that_comes_again_is_the_same_one_with_a_part_for_each_material(bench: Bench) -> None:
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
    for group in (b"a", b"b", b"a"):
        for material in (b"red", b"blue"):
            text += b"g %s\nusemtl %s\nf 1 2 3\n" % (group, material)
    result = await bench.good({"car.obj": text})
    assert result.statistics["triangles"] == 6
    assert [len(mesh["primitives"]) for mesh in bench.json()["meshes"]] == [2, 2]
    assert [material["name"] for material in bench.json()["materials"]] == ["red", "blue"]


async def test_lines_and_points_are_kept(bench: Bench, gltf_validate: Validate) -> None:
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 5 5 5\nf 1 2 3\nl 1 2 3 1\nl 4\np 1 4\n"
    result = await bench.good({"car.obj": text})
    assert (result.statistics["triangles"], result.statistics["points"]) == (1, 2)
    (mesh,) = bench.json()["meshes"]
    counts = {one["mode"]: bench.json()["accessors"][one["indices"]]["count"] for one in mesh["primitives"]}
    assert counts == {4: 3, 1: 6, 0: 2}
    assert gltf_validate(bench.output / "out.glb")["issues"]["numErrors"] == 0


async def test_vertices_alone_are_a_cloud(bench: Bench) -> None:
    result = await bench.good({"car.obj": b"v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\n"})
    assert result.statistics["points"] == 3
    assert bench.values("out.glb", "COLOR_0").tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]]


async def test_faces_with_and_without_normals_stay_apart(bench: Bench, gltf_validate: Validate) -> None:
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvn 0 0 1\nf 1/1/1 2/1/1 3/1/1\nf 1 2 3\nf 1/1 2/1 3\n"
    await bench.good({"car.obj": text})
    (mesh,) = bench.json()["meshes"]
    kept = sorted(sorted(one["attributes"]) for one in mesh["primitives"])
    assert kept == [["NORMAL", "POSITION", "TEXCOORD_0"], ["POSITION"]]
    assert gltf_validate(bench.output / "out.glb")["issues"]["numErrors"] == 0


async def test_corners_with_the_same_numbers_are_one_vertex(bench: Bench) -> None:
    """However many corners of one place there are, with however many normals."""
    fan = "".join(f"f 1/1/{n} 2/{1 + n % 3}/{n} 3/1/1\n" for n in range(1, 31))
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\n" + "vt 0 0\n" * 3 + "vn 0 0 1\n" * 30 + fan * 2
    result = await bench.good({"car.obj": text.encode()})
    assert (result.statistics["triangles"], result.statistics["vertices"]) == (60, 30 + 30 + 1)


async def test_loose_triangles_share_the_corners_that_are_equal(bench: Bench) -> None:
    """As one who writes each triangle by itself has it: six corners, of which two are there twice."""
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 1, 0), (1, 0, -0.0), (1, 1, 0)]
    text = "".join(f"v {x} {y} {z}\nvt {x} {y}\nvn 0 0 1\n" for x, y, z in places)
    text += "f 1/1/1 2/2/2 3/3/3\nf -3/-3/-3 -2/-2/-2 -1/-1/-1\n"
    result = await bench.good({"car.obj": text.encode()})
    assert (result.statistics["triangles"], result.statistics["vertices"]) == (2, 4)
    assert trimesh.load_scene(bench.output / "out.glb").to_mesh().area == pytest.approx(1)


async def test_loose_triangles_of_a_ball_share_all_their_corners(bench: Bench) -> None:
    """Places that differ by signs only must not be taken for each other."""
    corners = np.round(sphere(20), 6).reshape(-1, 3)
    text = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in corners.tolist())
    text += "".join(f"f {n} {n + 1} {n + 2}\n" for n in range(1, len(corners), 3))
    result = await bench.good({"ball.obj": text.encode()})
    assert result.statistics["vertices"] == len(np.unique(corners + 0, axis=0)) < len(corners) / 5


async def test_surveyed_coordinates_keep_their_details(bench: Bench) -> None:
    text = "".join(
        f"v {x} {y} 0\n" for x, y in ((500000, 5400000), (500000.25, 5400000), (500000, 5400000.125))
    )
    result = await bench.good({"car.obj": (text + "f 1 2 3\n").encode()})
    box = result.statistics["boundingBox"]
    assert np.subtract(box["max"], box["min"]).tolist() == [0.25, 0.125, 0]
    assert box["min"] == [500000, 5400000, 0]


async def test_what_is_not_kept_is_said(bench: Bench) -> None:
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 2\ncstype bezier\ncurv 0 1 1 2 3\nend\n"
    result = await bench.good({"car.obj": text})
    assert {warning.code for warning in result.warnings} == {"invalid-geometry", "dropped-surfaces"}


async def test_a_polygon_too_large_to_be_cut_is_filled_with_a_warning(bench: Bench) -> None:
    around = np.linspace(0, 2 * np.pi, 10_000, endpoint=False)
    radii = np.where(np.arange(10_000) % 2, 1.0, 2.0)
    places = zip(radii * np.cos(around), radii * np.sin(around), strict=True)
    text = "".join(f"v {x:.6f} {y:.6f} 0\n" for x, y in places) + "f " + " ".join(map(str, range(1, 10_001)))
    result = await bench.good({"car.obj": text.encode()})
    assert result.statistics["triangles"] == 9_998
    assert [warning.code for warning in result.warnings] == ["simplified-polygons"]


async def test_pictures_of_highlights_are_kept(bench: Bench, gltf_validate: Validate) -> None:
    text = b"newmtl skin\nNs 50\nmap_Ks a.png\nmap_Ns b.png\n"
    files = {"car.obj": obj("car.mtl"), "car.mtl": text, "a.png": png(), "b.png": png((9, 9, 9))}
    result = await bench.good(files)
    assert result.statistics["textures"] == 2
    (material,) = bench.json()["materials"]
    assert "specularColorTexture" in material["extensions"]["KHR_materials_specular"]
    assert "metallicRoughnessTexture" in material["pbrMetallicRoughness"]
    assert gltf_validate(bench.output / "out.glb")["issues"]["numErrors"] == 0


async def test_a_large_model_agrees_with_an_independent_reader(bench: Bench) -> None:
    """Triangles, squares and hexagons, with and without a wave, in three groups."""
    side = 60
    x, z = np.meshgrid(np.arange(side), np.arange(side))
    places = np.stack([x, np.sin(x / 5) * np.cos(z / 7) * 3, z], axis=-1).reshape(-1, 3)
    number = np.arange(side * side).reshape(side, side) + 1
    square = np.stack([number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]], axis=-1).reshape(
        -1, 4
    )
    lines = [f"v {a:.5f} {b:.5f} {c:.5f}" for a, b, c in places]
    lines += [f"vt {a / side:.5f} {c / side:.5f}" for a, _, c in places]
    for group, own in enumerate(np.array_split(square, 3)):
        lines.append(f"g part {group}")
        for index, corners in enumerate(own.tolist()):
            cut = [corners] if index % 3 else [corners[:3], [corners[0], *corners[2:]]]
            lines += ["f " + " ".join(f"{corner}/{corner}" for corner in face) for face in cut]
    path = bench.input / "wave.obj"
    path.write_text("\n".join(lines))
    result = await bench.run(bench.input, "wave.obj")
    assert result.statistics["triangles"] == 2 * len(square)
    ours, theirs = (trimesh.load_scene(one).to_mesh() for one in (bench.output / "out.glb", path))
    assert ours.area == pytest.approx(theirs.area, rel=1e-6)
    assert ours.bounds == pytest.approx(theirs.bounds, abs=1e-4)
    assert {node.get("name") for node in bench.json()["nodes"]} >= {"part 0", "part 1", "part 2"}
