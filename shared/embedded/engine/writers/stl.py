"""Triangles as STL, binary or ascii. It has no materials, no hierarchy and no unit."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.decode import Part
from shared.embedded.engine.document import Document
from shared.embedded.engine.scene import Floats
from shared.embedded.engine.writers.colors import encoded, vertex_colors

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_TITLE = b"binary, made by model-conversion-functions"  # must not start with "solid"
_COLORED = 0x8000


def write(document: Document, parts: Iterable[Part], path: Path, *, ascii_: bool, colored: bool) -> None:
    """All triangles of the parts in one file; an ascii file has one solid per part, and no colours."""
    if ascii_:
        _ascii(parts, path)
    else:
        _binary(document, parts, path, colored)


def has_colors(document: Document) -> bool:
    """Whether something in the document is not just white or grey."""
    if any("COLOR_0" in one["attributes"] for mesh in document.items("meshes") for one in mesh["primitives"]):
        return True
    factors = (
        material.get("pbrMetallicRoughness", {}).get("baseColorFactor", (1, 1, 1, 1))
        for material in document.items("materials")
    )
    return any(len(set(factor[:3])) > 1 for factor in factors)


def _binary(document: Document, parts: Iterable[Part], path: Path, colored: bool) -> None:
    count = 0
    with path.open("wb") as file:
        file.write(_TITLE.ljust(80) + bytes(4))
        for part in parts:
            if part.kind != "triangles":
                continue
            records = np.zeros(len(part.indices), _RECORD)
            records["corners"] = part.positions[part.indices]
            records["normal"] = _normals(records["corners"])
            if colored:
                records["attribute"] = _attributes(document, part)
            file.write(records.tobytes())
            count += len(records)
        file.seek(80)
        file.write(count.to_bytes(4, "little"))


def _attributes(document: Document, part: Part) -> NDArray[np.uint16]:
    """VisCAM's and SolidView's colours: five bits each of red, green, blue, below a bit that says so."""
    corners = vertex_colors(document, part)[part.indices]
    red, green, blue = (encoded(corners.mean(axis=1)[:, :3]).astype(np.uint16) >> 3).T
    return np.asarray(_COLORED | red << 10 | green << 5 | blue, np.uint16)


def _ascii(parts: Iterable[Part], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for part in parts:
            if part.kind != "triangles":
                continue
            name = " ".join(part.name.split())
            file.write(f"solid {name}\n")
            corners = part.positions[part.indices]
            for normal, (a, b, c) in zip(_normals(corners).tolist(), corners.tolist(), strict=True):
                file.write(
                    f"facet normal {_text(normal)}\n outer loop\n"
                    f"  vertex {_text(a)}\n  vertex {_text(b)}\n  vertex {_text(c)}\n"
                    " endloop\nendfacet\n"
                )
            file.write(f"endsolid {name}\n")


def _text(vector: list[float]) -> str:
    # Nine significant digits give every 32-bit number back exactly.
    return " ".join(f"{value:.9g}" for value in vector)


def _normals(corners: Floats) -> Floats:
    """Facet normals; zero, as the format says, for a facet without an area."""
    wide = corners.astype(np.float64)
    cross = np.cross(wide[:, 1] - wide[:, 0], wide[:, 2] - wide[:, 0])
    lengths = np.linalg.norm(cross, axis=1, keepdims=True)
    return np.where(lengths > 0, cross / np.where(lengths > 0, lengths, 1), 0).astype(np.float32)
