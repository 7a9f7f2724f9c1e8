"""assimp's scene -> ours, for every format that assimp reads."""

from typing import Any

import numpy as np

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers import assimp_library as ai
from shared.embedded.engine.readers.textures import Textures
from shared.embedded.engine.scene import (
    MAX_DEPTH,
    Imported,
    Kind,
    Material,
    Mesh,
    Node,
    Primitive,
    Scene,
    linear,
)

_FLAGS = ai.JOIN_IDENTICAL_VERTICES | ai.TRIANGULATE | ai.SORT_BY_PRIMITIVE | ai.TRANSFORM_UV
_KINDS: dict[int, tuple[Kind, int]] = {
    ai.POINT: ("points", 1),
    ai.LINE: ("lines", 2),
    ai.TRIANGLE: ("triangles", 3),
}
# What assimp's texture semantics are used for.
_DIFFUSE, _AMBIENT, _EMISSIVE, _HEIGHT, _NORMALS, _OPACITY, _LIGHTMAP = 1, 3, 4, 5, 6, 8, 10
_BASE_COLOR, _EMISSION_COLOR, _OCCLUSION = 12, 14, 17


def read(
    data: bytes,
    files: InputFolder,
    *,
    properties: dict[str, int] | None = None,
    gamma_material: bool = False,
    gamma_vertex: bool = False,
    faces: bool = True,
) -> Imported:
    """The model by assimp. ``gamma_…`` say that its material or vertex colours are sRGB-encoded,
    ``faces`` that it is more than loose points.

    Raises `Problem` `corrupt-model`."""
    # assimp's steps follow any index, wherever it points, unless they are validated first. A cloud
    # of points has none, for which validation would refuse it.
    flags = _FLAGS | ai.VALIDATE if faces else _FLAGS
    with ai.imported(data, files, flags, properties or {}) as source:
        textures = Textures(files, _embedded(source))
        scene = Scene(materials=[_material(one, textures, gamma_material) for one in _each(source)])
        scene.images = textures.images
        if source.root:
            scene.roots = [_tree(source, scene, gamma_vertex)]
        warnings = list(textures.warnings)
        if source.animation_count:
            details = {"animations": source.animation_count}
            warnings.append(Warning_("dropped-animation", "Animations are not kept", details))
        metadata = source.metadata.contents.values_by_name() if source.metadata else {}
        return Imported(scene, warnings, metadata)


def _each(source: ai.Scene) -> list[ai.Material]:
    return [source.materials[index].contents for index in range(source.material_count)]


def _embedded(source: ai.Scene) -> dict[str, bytes]:
    """Embedded pictures by all the names a material may use: "*0", the file name, its last part."""
    found: dict[str, bytes] = {}
    for index in range(source.texture_count):
        texture = source.textures[index].contents
        if not texture.data:
            continue
        if texture.height:
            texels = ai.copied(texture.data, texture.width * texture.height * 4)
            from shared.embedded.engine.pillow import from_bgra

            content = from_bgra(texels, texture.width, texture.height)
        else:
            content = ai.copied(texture.data, texture.width)
        name = str(texture.name)
        for key in (f"*{index}", name, name.replace("\\", "/").rsplit("/", 1)[-1]):
            found.setdefault(key, content)
    return found


def _tree(source: ai.Scene, scene: Scene, gamma_vertex: bool) -> Node:
    made: dict[tuple[int, ...], int] = {}
    root = Node("")
    stack = [(source.root.contents, root, 1)]
    while stack:
        node, into, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise corrupt(f"its nodes are nested more than {MAX_DEPTH} deep")
        into.name = str(node.name)
        into.matrix = np.array(node.matrix, np.float64).reshape(4, 4)
        used = tuple(node.meshes[index] for index in range(node.mesh_count))
        if used:
            if used not in made:
                primitives = [_primitive(source.meshes[index].contents, gamma_vertex) for index in used]
                kept = [primitive for primitive in primitives if primitive is not None]
                name = str(source.meshes[used[0]].contents.name) or into.name
                made[used] = len(scene.meshes)
                scene.meshes.append(Mesh(name, kept))
            into.mesh = made[used]
        for index in range(node.child_count):
            child = Node("")
            into.children.append(child)
            stack.append((node.children[index].contents, child, depth + 1))
    return root


def _primitive(mesh: ai.Mesh, gamma_vertex: bool) -> Primitive | None:
    positions = ai.floats(mesh.vertices, mesh.vertex_count, 3)
    known = [kind for kind in _KINDS if mesh.primitive_types & kind]
    if positions is None or len(known) != 1:
        return None
    kind, size = _KINDS[known[0]]
    texcoords = ai.floats(mesh.texcoords[0], mesh.vertex_count, 3)
    if texcoords is not None:
        texcoords = np.column_stack([texcoords[:, 0], 1 - texcoords[:, 1]])
    colors = ai.floats(mesh.colors[0], mesh.vertex_count, 4)
    if colors is not None and gamma_vertex:
        colors[:, :3] = linear(colors[:, :3])
    # assimp gives a cloud of points no faces.
    cloud = kind == "points" and mesh.face_count == 0
    return Primitive(
        positions,
        None if cloud else ai.faces(mesh, size).ravel(),
        kind,
        ai.floats(mesh.normals, mesh.vertex_count, 3),
        texcoords,
        colors,
        mesh.material,
    )


def _material(source: ai.Material, textures: Textures, gamma: bool) -> Material:
    values = source.values()

    def number(key: str, default: float) -> float:
        found = values.get((key, 0))
        return float(found[0]) if isinstance(found, list) and found and np.isfinite(found[0]) else default

    def color(key: str) -> tuple[float, float, float] | None:
        found = values.get((key, 0))
        if not isinstance(found, list) or len(found) < 3 or not np.isfinite(found[:3]).all():
            return None
        red, green, blue = np.clip(found[:3], 0, 1)
        if gamma:
            red, green, blue = linear(np.array([red, green, blue]))
        return float(red), float(green), float(blue)

    def texture(*semantics: int) -> str | None:
        return next((values[key] for one in semantics if (key := ("$tex.file", one)) in values), None)

    name = values.get(("?mat.name", 0), "")
    material = Material(name if isinstance(name, str) else "")
    diffuse = color("$clr.base") or color("$clr.diffuse") or (0.8, 0.8, 0.8)
    opacity = min(max(number("$mat.opacity", 1.0), 0.0), 1.0)

    picture, mask = texture(_BASE_COLOR, _DIFFUSE), texture(_OPACITY)
    if picture is not None:
        if mask is not None:
            material.base_color_texture = textures.cut_out(picture, mask, material.name)
        else:
            material.base_color_texture = textures.color(picture, material.name)
    found = material.base_color_texture
    if found is not None:
        # Exporters leave the colour under a texture at anything, black included.
        diffuse = (1.0, 1.0, 1.0)
        material.blend = mask is not None and textures.has_alpha(found)
    material.base_color = (*diffuse, opacity)
    material.blend = material.blend or opacity < 1

    material.emissive = color("$clr.emissive") or (0.0, 0.0, 0.0)
    picture = texture(_EMISSION_COLOR, _EMISSIVE)
    if picture is not None:
        material.emissive_texture = textures.color(picture, material.name)
        if material.emissive_texture is not None:
            material.emissive = (1.0, 1.0, 1.0)
    picture = texture(_NORMALS, _HEIGHT)
    if picture is not None:
        material.normal_texture = textures.normals(picture, material.name)
    picture = texture(_OCCLUSION, _LIGHTMAP, _AMBIENT)
    # Exporters often name the diffuse texture as the ambient one too; that is no occlusion.
    if picture is not None and picture != texture(_BASE_COLOR, _DIFFUSE):
        material.occlusion_texture = textures.color(picture, material.name)

    material.metallic = min(max(number("$mat.metallicFactor", 0.0), 0.0), 1.0)
    material.roughness = _roughness(number, values)
    return material


def _roughness(number: Any, values: dict[tuple[str, int], Any]) -> float:
    stated = number("$mat.roughnessFactor", -1.0)
    if stated >= 0:
        return float(min(stated, 1.0))
    shininess = number("$mat.shininess", 0.0)
    gloss = values.get(("$clr.specular", 0), [0.0])
    if shininess <= 0 or not isinstance(gloss, list) or max(gloss[:3]) <= 0:
        return 0.9
    # Blinn-Phong's exponent as the roughness of the same width of highlight.
    return float(np.clip(np.sqrt(2 / (shininess + 2)), 0.1, 1.0))
