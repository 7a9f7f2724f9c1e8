"""USD, as text, binary or package, by tinyusdz: metres, y-up. Skins are read at rest."""

import posixpath
import re
from typing import Any

import numpy as np
import tinyusdz
from tinyusdz import tydra

from shared import usd_crate
from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers.package import Package
from shared.embedded.engine.readers.textures import Textures
from shared.embedded.engine.scene import MAX_DEPTH, Imported, Material, Mesh, Node, Primitive, Scene, upright
from shared.problems import Code, Problem

_PACKAGE = b"PK\x03\x04"
_CENTIMETRE = 0.01  # what a stage without metersPerUnit means, by the specification
_UNITS = {0.001: "mm", 0.01: "cm", 1.0: "m", 1000.0: "km", 0.0254: "in", 0.3048: "ft"}


def read(data: bytes, files: InputFolder) -> tuple[Imported, str]:
    """The scene and its unit. Raises `Problem` `corrupt-model`."""
    pictures: dict[str, bytes] = {}
    layer: bytes | None = data
    if data.startswith(_PACKAGE):
        # The library insists on the format's alignment, which not every exporter keeps.
        package = Package(data)
        pictures = _Pictures(package)
        name = package.named(".usd", ".usda", ".usdc")
        layer = package.read(name) if name else None
    if not layer:
        raise corrupt("the package has no USD layer in it")
    try:
        stage = tinyusdz.load_bytes(layer)
        render = tydra.convert_to_render_scene(stage)
    except (tinyusdz.UsdError, RuntimeError, ValueError) as error:
        raise corrupt(f"its USD cannot be read ({str(error).strip()[:500]})") from error
    left_out = _left_out(layer)
    if left_out and not render.meshes():
        by = "; ".join(f"{arc} ({_listed(names)})" for arc, names in left_out.items())
        raise Problem(
            Code.UNSUPPORTED_FORMAT,
            f"The USD layer has no geometry of its own: it brings it in by {by}, which is not followed. "
            "Export it flattened, as one layer or as USDZ.",
        )
    textures = Textures(files, pictures)
    sources = [_source(render, one) for one in render.textures()]
    scene = Scene(materials=[_material(one, sources, textures) for one in render.materials()])
    meshes = render.meshes()
    scene.meshes = [Mesh(_name(mesh), [_primitive(scene, mesh)]) for mesh in meshes]
    metres = stage.get_metadata("metersPerUnit")
    factor = float(metres) if isinstance(metres, int | float) and metres > 0 else _CENTIMETRE
    matrix = np.diag([factor, factor, factor, 1.0])
    if stage.get_metadata("upAxis") == "Z":
        matrix = upright(factor)
    scene.roots = [Node("", matrix, children=[_tree(node, len(meshes)) for node in render.nodes()])]
    scene.images = textures.images
    warnings = list(textures.warnings)
    if render.animations():
        details = {"animations": len(render.animations())}
        warnings.append(Warning_("dropped-animation", "Animations are not kept", details))
    if left_out:
        brought = {arc: _listed(names) for arc, names in left_out.items()}
        warnings.append(
            Warning_("not-composed", "What the layer brings in from elsewhere is left out", brought)
        )
    return Imported(scene, warnings), _UNITS.get(round(factor, 6), f"{factor:g} m")


# How a layer brings in what is not written in it, by the words of a text and of a binary one.
_ARCS = {
    "subLayers": (rb"\bsubLayers\s*=", "subLayers"),
    "references": (rb"\breferences\s*=", "references"),
    "payloads": (rb"\bpayload\s*=", "payload"),
    "inherits": (rb"\binherits\s*=", "inheritPaths"),
    "specializes": (rb"\bspecializes\s*=", "specializes"),
    "variants": (rb"\bvariantSet\s", "variantSetNames"),
}
_TARGETS = re.compile(rb"\s*(?:\[[^\]]{0,10000}\]|[^\r\n]{0,2000})")
_TARGET = re.compile(rb'@([^@\r\n]+)@|<([^>\r\n]+)>|"([^"\r\n]+)"')
_LAYERS = (".usd", ".usda", ".usdc", ".usdz")
_SHOWN = 5


def _left_out(layer: bytes) -> dict[str, list[str]]:
    """What the library does not compose: by the kind of arc, what it leads to as far as that can be told."""
    found: dict[str, list[str]] = {}
    if usd_crate.is_crate(layer):
        words = usd_crate.words(layer) or []
        for arc, (_, word) in _ARCS.items():
            if word in words:
                found[arc] = [one for one in words if one.lower().endswith(_LAYERS)]
        return found
    for arc, (pattern, _) in _ARCS.items():
        for match in re.finditer(pattern, layer):
            targets = _TARGETS.match(layer, match.end())
            names = _TARGET.findall(targets[0]) if targets else []
            known = found.setdefault(arc, [])
            known += (next(filter(None, name)).decode("utf-8", "replace") for name in names)
    return found


def _listed(names: list[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
    return ", ".join(name[:100] for name in distinct[:_SHOWN]) + more


class _Pictures(dict[str, bytes]):
    """A package's own files, unpacked when a material asks for one."""

    def __init__(self, package: Package) -> None:
        super().__init__()
        self._package = package

    def get(self, name: str, default: Any = None) -> Any:
        found = self._package.read(posixpath.normpath(name))
        if found is None:
            wanted = posixpath.basename(name).lower()
            found = next(
                (self._package.read(one) for one in self._package.names
                 if wanted and posixpath.basename(one).lower() == wanted),
                None,
            )  # fmt: skip
        return default if found is None else found


def _name(one: Any) -> str:
    return str(one.display_name or one.name)


def _tree(top: Any, meshes: int) -> Node:
    root = Node("")
    stack = [(top, root, 1)]
    while stack:
        source, into, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise corrupt(f"its prims are nested more than {MAX_DEPTH} deep")
        into.name = _name(source)
        # USD writes matrices for row vectors.
        into.matrix = np.array(source.local_matrix, np.float64).T
        if not np.isfinite(into.matrix).all():
            raise corrupt("a transform in it is not a number")
        if source.node_type == "mesh" and 0 <= source.content_id < meshes:
            into.mesh = source.content_id
        for child in source.children():
            node = Node("")
            into.children.append(node)
            stack.append((child, node, depth + 1))
    return root


def _array(view: Any) -> Any:
    return None if view is None else np.array(memoryview(view))


def _primitive(scene: Scene, mesh: Any) -> Primitive:
    positions = np.asarray(_array(mesh.points), np.float32).reshape(-1, 3)
    corners = np.asarray(_array(mesh.face_vertex_indices)).astype(np.uint32)
    counts = np.asarray(_array(mesh.face_vertex_counts)).astype(np.int64)
    if (counts != 3).any():
        corners = _fans(corners, counts)
    if not mesh.is_right_handed:
        corners = corners[: len(corners) // 3 * 3].reshape(-1, 3)[:, ::-1].ravel()
    normals, texcoords = _array(mesh.normals), _array(mesh.texcoord(0))
    for values in (normals, texcoords):
        if values is not None and len(values) == len(corners) != len(positions):
            # Values per corner: every corner becomes a vertex.
            kept = np.minimum(corners, max(len(positions) - 1, 0))
            positions, corners = positions[kept], np.arange(len(corners), dtype=np.uint32)
            break
    material = mesh.material_id if 0 <= mesh.material_id < len(scene.materials) else None
    if material is None:
        material = len(scene.materials)
        # displayColor is linear; its fallback is a grey of 0.18, which is dark for a model.
        red, green, blue = (float(value) for value in mesh.display_color)
        plain = abs(red - 0.18) < 1e-3 and red == green == blue
        scene.materials.append(Material("", (0.8, 0.8, 0.8, 1.0) if plain else (red, green, blue, 1.0)))
    return Primitive(
        positions,
        np.ascontiguousarray(corners),
        normals=_per_vertex(normals, positions, 3),
        texcoords=_flipped(_per_vertex(texcoords, positions, 2)),
        material=material,
    )


def _per_vertex(values: Any, positions: Any, width: int) -> Any:
    if values is None or len(values) != len(positions):
        return None
    return np.asarray(values, np.float32).reshape(-1, width)


def _flipped(texcoords: Any) -> Any:
    if texcoords is None:
        return None
    return np.column_stack([texcoords[:, 0], 1 - texcoords[:, 1]])


def _fans(corners: Any, counts: Any) -> Any:
    """Polygons as triangles around their first corner."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    made: list[int] = []
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        for step in range(1, count - 1):
            made += (start, start + step, start + step + 1)
    chosen = np.array(made, np.int64)
    if len(chosen) and chosen.max() >= len(corners):
        raise corrupt("a mesh in it has fewer corners than its faces say")
    return corners[chosen]


def _source(render: Any, texture: Any) -> tuple[str, str] | None:
    """The picture that a texture shows, as the file calls it, and the channel that it takes."""
    images = render.images()
    if not 0 <= texture.texture_image_id < len(images):
        return None
    name = str(images[texture.texture_image_id].asset_identifier)
    if "[" in name and name.endswith("]"):  # package.usdz[picture.png]
        name = name.partition("[")[2][:-1]
    return name, str(texture.output_channel)


def _material(source: Any, pictures: list[tuple[str, str] | None], textures: Textures) -> Material:
    material = Material(str(source.name))
    surface = source.preview_surface
    if not surface:
        return material

    def value(key: str, default: float) -> float:
        found = surface.get(key, {})
        number = found.get("value", default) if isinstance(found, dict) else found
        return float(np.clip(number, 0, 1)) if isinstance(number, int | float) else default

    def color(key: str, default: float) -> tuple[float, float, float]:
        found = np.array(surface.get(key, {}).get("value", (default,) * 3), np.float64).ravel()
        red, green, blue = np.clip(np.nan_to_num(found), 0, 1) if len(found) == 3 else (default,) * 3
        return float(red), float(green), float(blue)

    def texture(key: str) -> tuple[str, str] | None:
        index = surface.get(key, {}).get("texture_id", -1)
        return pictures[index] if 0 <= index < len(pictures) else None

    opacity = value("opacity", 1.0)
    base = color("diffuse_color", 0.18)
    picture, mask = texture("diffuse_color"), texture("opacity")
    if picture is not None:
        if mask is not None:
            material.base_color_texture = textures.cut_out(picture[0], mask[0], material.name)
        else:
            material.base_color_texture = textures.color(picture[0], material.name)
    if material.base_color_texture is not None:
        base = (1.0, 1.0, 1.0)
        material.blend = mask is not None and textures.has_alpha(material.base_color_texture)
        opacity = 1.0 if mask is not None else opacity
    material.base_color = (*base, opacity)
    material.blend = material.blend or opacity < 1
    material.metallic = value("metallic", 0.0)
    material.roughness = value("roughness", 0.5)
    material.emissive = color("emissive_color", 0.0)
    if (picture := texture("emissive_color")) is not None:
        material.emissive_texture = textures.color(picture[0], material.name)
        if material.emissive_texture is not None:
            material.emissive = (1.0, 1.0, 1.0)
    if (picture := texture("normal")) is not None:
        material.normal_texture = textures.normals(picture[0], material.name)
    if (picture := texture("occlusion")) is not None:
        material.occlusion_texture = textures.color(picture[0], material.name)
    rough, metal = texture("roughness"), texture("metallic")
    if rough is not None or metal is not None:
        material.metallic_roughness_texture = textures.metallic_roughness(rough, metal, material.name)
        if material.metallic_roughness_texture is not None:
            material.roughness = 1.0 if rough is not None else material.roughness
            material.metallic = 1.0 if metal is not None else material.metallic
    return material
