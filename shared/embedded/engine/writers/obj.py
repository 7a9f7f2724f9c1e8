"""Geometry as OBJ, with its materials as MTL and its textures as PNG or JPEG beside it."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.decode import Part
from shared.embedded.engine.document import Document, Json
from shared.embedded.engine.images import EXTENSIONS, UnreadableImage, for_gltf
from shared.embedded.engine.readers.gltf import sources
from shared.embedded.engine.scene import Floats


class Materials:
    """The MTL and textures beside an OBJ, or beside several of the same model."""

    def __init__(self, document: Document, path: Path) -> None:
        """Writes them, named after ``path``."""
        self.document = document
        self.names = _material_names(document.items("materials"))
        self.files = _write_materials(document, self.names, path) if self.names else []


def write(materials: Materials, parts: Iterable[Part], path: Path, scale: float = 1.0) -> int:
    """Write the OBJ, one object per part; returns how many. Lengths are the document's times ``scale``."""
    start = np.array([1, 1, 1])  # the next free number of a position, texture coordinate and normal
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("# Lengths are metres, y is up.\n" if scale == 1 else "# y is up.\n")
        if materials.files:
            file.write(f"mtllib {materials.files[0].name}\n")
        for part in parts:
            count += 1
            texcoords = texcoords_of(materials.document, part)
            file.write(f"o {' '.join(part.name.split()) or 'object'}\n")
            if part.material is not None:
                file.write(f"usemtl {materials.names[part.material]}\n")
            file.write(
                _lines("v", part.positions if scale == 1 else part.positions.astype(np.float64) * scale)
            )
            if texcoords is not None:
                file.write(_lines("vt", np.column_stack([texcoords[:, 0], 1 - texcoords[:, 1]])))
            if part.normals is not None:
                file.write(_lines("vn", part.normals))
            file.write(_elements(part, start, texcoords is not None))
            used = [1, texcoords is not None, part.normals is not None]
            start = start + len(part.positions) * np.array(used)
    return count


def _lines(keyword: str, values: NDArray[np.floating]) -> str:
    # As many digits as give every number back; where 64 bits hold a place, a micron of an earth's girth.
    digits = " %.9g" if values.dtype == np.float32 else " %.14g"
    pattern = keyword + digits * values.shape[1] + "\n"
    return str((pattern * len(values)) % tuple(values.ravel().tolist()))


def _elements(part: Part, start: np.ndarray[tuple[int], np.dtype[np.int64]], textured: bool) -> str:
    position, texcoord, normal = (part.indices.astype(np.int64).ravel()[:, None] + start).T
    if part.kind != "triangles":
        keyword, columns, corner = {"lines": "l", "points": "p"}[part.kind], [position], "%d"
    elif textured and part.normals is not None:
        keyword, columns, corner = "f", [position, texcoord, normal], "%d/%d/%d"
    elif textured:
        keyword, columns, corner = "f", [position, texcoord], "%d/%d"
    elif part.normals is not None:
        keyword, columns, corner = "f", [position, normal], "%d//%d"
    else:
        keyword, columns, corner = "f", [position], "%d"
    pattern = keyword + (" " + corner) * part.indices.shape[1] + "\n"
    numbers = tuple(np.column_stack(columns).ravel().tolist())
    return str((pattern * len(part.indices)) % numbers)


def texcoords_of(document: Document, part: Part) -> Floats | None:
    """The one set that OBJ can hold: that of the base colour, with its transform applied."""
    slot: Json = {}
    if part.material is not None:
        material = document.items("materials")[part.material]
        slot = material.get("pbrMetallicRoughness", {}).get("baseColorTexture", {})
    return transformed(part, slot)


def transformed(part: Part, slot: Json) -> Floats | None:
    """The texture coordinates that a texture slot uses, after KHR_texture_transform."""
    transform = slot.get("extensions", {}).get("KHR_texture_transform", {})
    found = part.texcoords.get(transform.get("texCoord", slot.get("texCoord", 0)))
    if found is None or not transform:
        return found
    x, y = transform.get("scale", (1, 1))
    turn = transform.get("rotation", 0.0)
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos * x, sin * y], [-sin * x, cos * y]])
    return np.asarray(found @ matrix.T + transform.get("offset", (0, 0)), np.float32)


def _material_names(materials: list[Json]) -> list[str]:
    """A name of one word for each material, all different."""
    names: list[str] = []
    for index, material in enumerate(materials):
        name = re.sub(r"\s+", "_", str(material.get("name", "")).strip()) or f"material_{index}"
        names.append(name if name not in names else f"{name}_{index}")
    return names


def _write_materials(document: Document, names: list[str], path: Path) -> list[Path]:
    mtl = path.with_name(f"{path.stem}.mtl")
    textures: dict[int, Path | None] = {}

    def texture(slot: Json | None) -> str | None:
        if slot is None:
            return None
        images = sources(document.items("textures")[slot["index"]])
        if not images:
            return None
        if images[0] not in textures:
            textures[images[0]] = _write_texture(document, images[0], path)
        written = textures[images[0]]
        return written.name if written else None

    lines = []
    for name, material in zip(names, document.items("materials"), strict=True):
        pbr = material.get("pbrMetallicRoughness", {})
        red, green, blue, alpha = pbr.get("baseColorFactor", (1, 1, 1, 1))
        lines += [f"newmtl {name}", f"Kd {red:.6g} {green:.6g} {blue:.6g}"]
        if any(material.get("emissiveFactor", ())):
            lines.append("Ke {:.6g} {:.6g} {:.6g}".format(*material["emissiveFactor"]))
        if material.get("alphaMode") == "BLEND":
            lines.append(f"d {alpha:.6g}")
        lines += [f"Pr {pbr.get('roughnessFactor', 1):.6g}", f"Pm {pbr.get('metallicFactor', 1):.6g}"]
        for keyword, slot in (
            ("map_Kd", pbr.get("baseColorTexture")),
            ("map_Ke", material.get("emissiveTexture")),
            ("norm", material.get("normalTexture")),
        ):
            file = texture(slot)
            if file is not None:
                lines.append(f"{keyword} {file}")
    mtl.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return [mtl, *(texture for texture in textures.values() if texture is not None)]


def _write_texture(document: Document, index: int, path: Path) -> Path | None:
    """The image as a file, or None where it is of a kind that OBJ readers do not know."""
    try:
        data, mime = for_gltf(bytes(document.view(document.items("images")[index]["bufferView"])))
    except UnreadableImage:
        return None
    texture = path.with_name(f"{path.stem}.texture{index}{EXTENSIONS[mime]}")
    texture.write_bytes(data)
    return texture
