"""What readers make of a model: meshes, materials, images and a tree of nodes.

Coordinates are right-handed, y-up; lengths are metres where the format knows its unit. Texture
coordinates start at the top left, as glTF's do. Colours are linear.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.job import Warning_

Floats = NDArray[np.float32]
Indices = NDArray[np.uint32]
Matrix = NDArray[np.float64]
Kind = Literal["triangles", "lines", "points"]

#: Nodes below nodes. Deeper trees are attacks or accidents, and viewers that recurse die of them.
MAX_DEPTH = 1000


@dataclass(slots=True)
class Image:
    """An encoded picture; ``mime`` is image/png or image/jpeg once it stands in a scene."""

    name: str
    data: bytes
    mime: str


@dataclass(slots=True)
class Material:
    """glTF's metallic-roughness material, with the colour of highlights as a texture. Textures are indices
    into `Scene.images`, or None."""

    name: str = ""
    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    metallic: float = 0.0
    roughness: float = 0.9
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    blend: bool = False
    double_sided: bool = True
    base_color_texture: int | None = None
    metallic_roughness_texture: int | None = None
    emissive_texture: int | None = None
    normal_texture: int | None = None
    occlusion_texture: int | None = None
    specular_texture: int | None = None


@dataclass(slots=True)
class Primitive:
    """Geometry with one material: positions (n, 3); indices (m,) in threes, twos or ones by kind,
    or None for every vertex in turn; normals (n, 3), texcoords (n, 2), colors (n, 4) or None."""

    positions: Floats
    indices: Indices | None = None
    kind: Kind = "triangles"
    normals: Floats | None = None
    texcoords: Floats | None = None
    colors: Floats | None = None
    material: int | None = None


@dataclass(slots=True)
class Mesh:
    name: str
    primitives: list[Primitive]


@dataclass(slots=True)
class Node:
    """``matrix`` is 4 x 4 for column vectors, relative to the parent; None is the identity."""

    name: str
    matrix: Matrix | None = None
    mesh: int | None = None
    children: list["Node"] = field(default_factory=list)
    extras: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Scene:
    roots: list[Node] = field(default_factory=list)
    meshes: list[Mesh] = field(default_factory=list)
    materials: list[Material] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)


@dataclass(slots=True)
class Imported:
    """A scene, and what is to be said about it; ``metadata`` is the file's own, of plain types."""

    scene: Scene
    warnings: list[Warning_]
    metadata: Mapping[str, object] = field(default_factory=dict)


def upright(factor: float) -> Matrix:
    """The matrix that turns z-up into y-up, and scales by ``factor``."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) * factor
    return matrix


def drop_unused_materials(scene: Scene, name: str) -> None:
    """Take out materials of that name that no primitive uses; libraries add some of their own."""
    used = {one.material for mesh in scene.meshes for one in mesh.primitives}
    kept = [index for index, material in enumerate(scene.materials) if index in used or material.name != name]
    moved = {old: new for new, old in enumerate(kept)}
    scene.materials = [scene.materials[index] for index in kept]
    for mesh in scene.meshes:
        for primitive in mesh.primitives:
            if primitive.material is not None:
                primitive.material = moved[primitive.material]


def give_materials(scene: Scene) -> None:
    """Give primitives without a material a plain one: glTF's own default is bare metal, which most
    viewers show nearly black. Vertex colours go on white, so that they stay what they are."""
    made: dict[bool, int] = {}
    for mesh in scene.meshes:
        for primitive in mesh.primitives:
            if primitive.material is None:
                colored = primitive.colors is not None
                if colored not in made:
                    made[colored] = len(scene.materials)
                    level = 1.0 if colored else 0.8
                    scene.materials.append(Material(base_color=(level, level, level, 1.0)))
                primitive.material = made[colored]


def drop_invalid(scene: Scene) -> int:
    """Take out triangles, lines and points with a vertex that is missing or not a number.

    Returns how many. Unused vertices that are not numbers become zero, so that bounds are numbers."""
    dropped = 0
    for mesh in scene.meshes:
        for primitive in mesh.primitives:
            size = {"triangles": 3, "lines": 2, "points": 1}[primitive.kind]
            count = len(primitive.positions)
            good = np.isfinite(primitive.positions).all(axis=1)
            indices = primitive.indices
            if indices is None:
                indices = np.arange(count, dtype=np.uint32)
            elements = indices[: len(indices) // size * size].reshape(-1, size)
            usable = (elements < count).all(axis=1)
            usable[usable] = good[elements[usable]].all(axis=1)
            if not usable.all():
                dropped += int((~usable).sum())
                primitive.indices = np.ascontiguousarray(elements[usable]).ravel()
            if not good.all():
                primitive.positions = np.where(good[:, None], primitive.positions, np.float32(0))
    return dropped


def linear(encoded: NDArray[np.floating]) -> Floats:
    """sRGB-encoded values within 0..1 as linear ones."""
    low = encoded / 12.92
    high = ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.asarray(np.where(encoded <= 0.04045, low, high), np.float32)
