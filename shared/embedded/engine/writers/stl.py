"""Triangles as STL, binary or ascii. It has no materials, no hierarchy and no unit."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from shared.embedded.engine.decode import Part
from shared.embedded.engine.scene import Floats

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_TITLE = b"binary, made by model-conversion-functions"  # must not start with "solid"


def write(parts: Iterable[Part], path: Path, format_: str = "binary") -> None:
    """All triangles of the model in one file; an ascii file has one solid per part."""
    if format_ == "ascii":
        _ascii(parts, path)
    else:
        _binary(parts, path)


def _binary(parts: Iterable[Part], path: Path) -> None:
    count = 0
    with path.open("wb") as file:
        file.write(_TITLE.ljust(80) + bytes(4))
        for part in parts:
            if part.kind != "triangles":
                continue
            records = np.zeros(len(part.indices), _RECORD)
            records["corners"] = part.positions[part.indices]
            records["normal"] = _normals(records["corners"])
            file.write(records.tobytes())
            count += len(records)
        file.seek(80)
        file.write(count.to_bytes(4, "little"))


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
