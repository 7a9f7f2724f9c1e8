from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shared.embedded.engine.build import build, unit_normals
from shared.embedded.engine.scene import (
    Image,
    Material,
    Mesh,
    Node,
    Primitive,
    Scene,
    drop_invalid,
    give_materials,
)
from tests.embedded.models import png

Validate = Callable[[Path], dict[str, Any]]
_POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
_ONE = np.array([0, 1, 2], np.uint32)


def test_a_scene_with_everything_in_it_is_valid(tmp_path: Path, gltf_validate: Validate) -> None:
    scene = Scene(
        images=[Image("red", png(), "image/png")],
        materials=[
            Material("skin", base_color_texture=0, normal_texture=0, emissive_texture=0, occlusion_texture=0),
            Material("glass", base_color=(0.5, 0.5, 0.5, 0.5), blend=True, emissive=(1, 1, 1)),
        ],
        meshes=[
            Mesh("all kinds", [
                Primitive(_POINTS, _ONE, normals=np.zeros((3, 3), np.float32), material=0),
                Primitive(_POINTS, None, "points", colors=np.full((3, 4), 2, np.float32), material=1),
                Primitive(_POINTS, _ONE[:2], "lines", texcoords=np.full((3, 2), np.nan, np.float32)),
            ]),
            Mesh("empty", [Primitive(_POINTS, _ONE[:0])]),
        ],
    )  # fmt: skip
    turned = np.diag([2.0, 2.0, 2.0, 1.0])
    scene.roots = [Node("top", children=[Node("", turned, 0), Node("none", mesh=1)], extras={"id": 7})]
    document = build(scene)
    document.write_glb(tmp_path / "out.glb")
    assert gltf_validate(tmp_path / "out.glb")["issues"]["numErrors"] == 0
    assert [mesh["name"] for mesh in document.items("meshes")] == ["all kinds"]
    assert document.items("nodes")[0] == {"name": "top", "extras": {"id": 7}, "children": [1, 2]}
    assert "mesh" not in document.items("nodes")[2]


def test_more_than_65535_vertices_take_wide_indices(tmp_path: Path, gltf_validate: Validate) -> None:
    many = np.zeros((65536, 3), np.float32)
    indices = np.array([0, 1, 65535], np.uint32)
    document = build(Scene([Node("n", mesh=0)], [Mesh("m", [Primitive(many, indices)])]))
    assert document.items("accessors")[1]["componentType"] == 5125
    document.write_glb(tmp_path / "out.glb")
    assert gltf_validate(tmp_path / "out.glb")["issues"]["numErrors"] == 0


def test_normals_are_of_length_one_even_where_they_were_nothing() -> None:
    normals = np.array([[3, 0, 0], [0, 0, 0], [np.nan, 0, 0], [1e-30, 0, 0]], np.float32)
    assert np.linalg.norm(unit_normals(normals), axis=1).tolist() == [1, 1, 1, 1]


def test_invalid_elements_are_dropped_and_counted() -> None:
    points = np.vstack([_POINTS, [[np.inf, 0, 0]]]).astype(np.float32)
    indices = np.array([0, 1, 2, 0, 1, 3, 0, 1, 9], np.uint32)
    scene = Scene(meshes=[Mesh("m", [Primitive(points, indices)])])
    assert drop_invalid(scene) == 2
    (primitive,) = scene.meshes[0].primitives
    assert primitive.indices is not None and primitive.indices.tolist() == [0, 1, 2]
    assert np.isfinite(primitive.positions).all()


def test_only_primitives_without_a_material_get_a_plain_one() -> None:
    colors = np.ones((3, 4), np.float32)
    primitives = [
        Primitive(_POINTS, _ONE, material=0),
        Primitive(_POINTS, _ONE),
        Primitive(_POINTS, _ONE, colors=colors),
    ]
    scene = Scene(meshes=[Mesh("m", primitives)], materials=[Material("own")])
    give_materials(scene)
    assert [primitive.material for primitive in primitives] == [0, 1, 2]
    assert [material.base_color[0] for material in scene.materials] == [1.0, 0.8, 1.0]
