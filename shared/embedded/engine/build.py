"""Scene -> glTF document. What it writes, the Khronos validator accepts without an error."""

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.document import Document, Json
from shared.embedded.engine.scene import Material, Mesh, Node, Primitive, Scene

GENERATOR = "model-conversion-functions"

_SPECULAR = "KHR_materials_specular"
_MODES = {"points": 0, "lines": 1, "triangles": 4}
_ARRAY, _INDEX = 34962, 34963
_FLOAT, _USHORT, _UINT = 5126, 5123, 5125


def build(scene: Scene) -> Document:
    """The scene as a document with everything in its one buffer.

    Meshes that lost all their geometry are left out; their nodes stay, for the hierarchy."""
    document = Document({"asset": {"version": "2.0", "generator": GENERATOR}}, bytearray())
    root = document.json
    root["images"] = [_image(document, image.name, image.data, image.mime) for image in scene.images]
    root["textures"] = [{"sampler": 0, "source": index} for index in range(len(scene.images))]
    if scene.images:
        # Trilinear filtering, and repeat: what authoring tools mean when they say nothing.
        root["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 10497, "wrapT": 10497}]
    root["materials"] = [_material(material) for material in scene.materials]
    if any(material.specular_texture is not None for material in scene.materials):
        document.use_extension(_SPECULAR)

    meshes: dict[int, int] = {}
    root["meshes"] = []
    for index, mesh in enumerate(scene.meshes):
        primitives = [_primitive(document, scene, one) for one in mesh.primitives if _has_geometry(one)]
        if primitives:
            meshes[index] = len(root["meshes"])
            root["meshes"].append(_named(mesh, {"primitives": primitives}))

    root["nodes"] = []
    roots = [_add_node(root, node) for node in scene.roots]
    stack = list(zip(scene.roots, roots, strict=True))
    while stack:
        node, index = stack.pop()
        written = root["nodes"][index]
        if node.mesh in meshes:
            written["mesh"] = meshes[node.mesh]
        if node.children:
            written["children"] = [_add_node(root, child) for child in node.children]
            stack += zip(node.children, written["children"], strict=True)
    if roots:
        root["scenes"], root["scene"] = [{"nodes": roots}], 0
    return document


def _named(what: Mesh | Material | Node, content: Json) -> Json:
    return {"name": what.name, **content} if what.name else content


def _add_node(root: Json, node: Node) -> int:
    written: Json = _named(node, {})
    if node.matrix is not None and not np.array_equal(node.matrix, np.eye(4)):
        written["matrix"] = [float(value) for value in node.matrix.T.flat]
    if node.extras:
        written["extras"] = dict(node.extras)
    root["nodes"].append(written)
    return len(root["nodes"]) - 1


def _image(document: Document, name: str, data: bytes, mime: str) -> Json:
    image: Json = {"bufferView": document.add_view(data), "mimeType": mime}
    if name:
        image["name"] = name
    return image


def _material(material: Material) -> Json:
    pbr: Json = {"metallicFactor": material.metallic, "roughnessFactor": material.roughness}
    if material.base_color != (1.0, 1.0, 1.0, 1.0):
        pbr["baseColorFactor"] = list(material.base_color)
    if material.base_color_texture is not None:
        pbr["baseColorTexture"] = {"index": material.base_color_texture}
    if material.metallic_roughness_texture is not None:
        pbr["metallicRoughnessTexture"] = {"index": material.metallic_roughness_texture}
    written = _named(material, {"pbrMetallicRoughness": pbr})
    for key, texture in (
        ("normalTexture", material.normal_texture),
        ("occlusionTexture", material.occlusion_texture),
        ("emissiveTexture", material.emissive_texture),
    ):
        if texture is not None:
            written[key] = {"index": texture}
    if material.specular_texture is not None:
        written["extensions"] = {_SPECULAR: {"specularColorTexture": {"index": material.specular_texture}}}
    if material.emissive != (0.0, 0.0, 0.0):
        written["emissiveFactor"] = list(material.emissive)
    if material.blend:
        written["alphaMode"] = "BLEND"
    if material.double_sided:
        written["doubleSided"] = True
    return written


def _has_geometry(primitive: Primitive) -> bool:
    return len(primitive.positions) > 0 and (primitive.indices is None or len(primitive.indices) > 0)


def _primitive(document: Document, scene: Scene, primitive: Primitive) -> Json:
    positions = np.ascontiguousarray(primitive.positions, dtype="<f4")
    attributes = {
        "POSITION": _accessor(
            document,
            positions,
            "VEC3",
            min=[float(value) for value in positions.min(axis=0)],
            max=[float(value) for value in positions.max(axis=0)],
        )
    }
    if primitive.normals is not None:
        attributes["NORMAL"] = _accessor(document, unit_normals(primitive.normals), "VEC3")
    texcoords = primitive.texcoords
    if texcoords is None and _is_textured(scene, primitive.material):
        # A textured material on a mesh without coordinates is a validator error.
        texcoords = np.zeros((len(positions), 2), np.float32)
    if texcoords is not None:
        attributes["TEXCOORD_0"] = _accessor(document, np.nan_to_num(texcoords), "VEC2")
    if primitive.colors is not None:
        colors = np.rint(np.clip(np.nan_to_num(primitive.colors), 0, 1) * 65535).astype("<u2")
        view = document.add_view(colors.tobytes(), target=_ARRAY)
        accessors = document.json["accessors"]
        accessors.append(
            {"bufferView": view, "componentType": _USHORT, "normalized": True}
            | {"count": len(colors), "type": "VEC4"}
        )
        attributes["COLOR_0"] = len(accessors) - 1

    written: Json = {"attributes": attributes, "mode": _MODES[primitive.kind]}
    if primitive.indices is not None:
        # 65535 itself is the primitive restart value, and not allowed.
        small = len(positions) <= 65535
        indices = primitive.indices.astype("<u2" if small else "<u4")
        view = document.add_view(indices.tobytes(), target=_INDEX)
        accessors = document.json["accessors"]
        accessors.append(
            {"bufferView": view, "componentType": _USHORT if small else _UINT}
            | {"count": len(indices), "type": "SCALAR"}
        )
        written["indices"] = len(accessors) - 1
    if primitive.material is not None:
        written["material"] = primitive.material
    return written


def _accessor(document: Document, values: NDArray[np.float32], type_: str, **bounds: list[float]) -> int:
    data = np.ascontiguousarray(values, dtype="<f4").tobytes()
    view = document.add_view(data, target=_ARRAY)
    accessors = document.json.setdefault("accessors", [])
    accessors.append(
        {"bufferView": view, "componentType": _FLOAT, "count": len(values), "type": type_, **bounds}
    )
    return len(accessors) - 1


def _is_textured(scene: Scene, material: int | None) -> bool:
    if material is None:
        return False
    found = scene.materials[material]
    return any(
        texture is not None
        for texture in (
            found.base_color_texture,
            found.metallic_roughness_texture,
            found.normal_texture,
            found.occlusion_texture,
            found.specular_texture,
            found.emissive_texture,
        )
    )


def unit_normals(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normals of length one; those without a direction become +y, since zero length is an error."""
    wide = np.nan_to_num(normals.astype(np.float64), posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = np.where(lengths > 1e-12, wide / np.maximum(lengths, 1e-12), (0.0, 1.0, 0.0))
    return unit.astype(np.float32)
