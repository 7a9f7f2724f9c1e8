"""Meshes and points as one binary PLY, with normals, colours and texture coordinates."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from shared.embedded.engine.decode import Part
from shared.embedded.engine.document import Document
from shared.embedded.engine.writers.colors import encoded, vertex_colors
from shared.embedded.engine.writers.obj import texcoords_of

_TYPES = {"<f4": "float", "<f8": "double", "u1": "uchar"}


def write(document: Document, parts: Iterable[Part], path: Path) -> bool:
    """Write the file; returns whether there were lines, which it leaves out.

    A property that some parts have, all get: normals of zero, coordinates of zero."""
    found = list(parts)
    kept = [part for part in found if part.kind != "lines"]
    layout = _layout(document, kept)
    triangles = [part for part in kept if part.kind == "triangles"]
    faces = sum(len(part.indices) for part in triangles)
    vertices = sum(len(part.positions) for part in kept)
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment lengths are metres where the source has a unit",
    ]
    header.append(f"element vertex {vertices}")
    header += [f"property {_TYPES[kind]} {name}" for name, kind in layout]
    if faces:
        header += [f"element face {faces}", "property list uchar uint vertex_indices"]
    with path.open("wb") as file:
        file.write(("\n".join([*header, "end_header"]) + "\n").encode())
        for part in kept:
            file.write(_vertices(document, part, layout))
        start = 0
        record = np.dtype([("count", "u1"), ("corners", "<u4", 3)])
        for part in kept:
            if part.kind == "triangles":
                rows = np.empty(len(part.indices), record)
                rows["count"], rows["corners"] = 3, part.indices.astype(np.int64) + start
                file.write(rows.tobytes())
            start += len(part.positions)
    return len(kept) < len(found)


def _layout(document: Document, parts: list[Part]) -> list[tuple[str, str]]:
    wide = any(part.positions.dtype == np.float64 for part in parts)
    layout = [(axis, "<f8" if wide else "<f4") for axis in "xyz"]
    if any(part.normals is not None for part in parts):
        layout += [(name, "<f4") for name in ("nx", "ny", "nz")]
    if any(texcoords_of(document, part) is not None for part in parts):
        layout += [("s", "<f4"), ("t", "<f4")]
    return layout + [(name, "u1") for name in ("red", "green", "blue", "alpha")]


def _vertices(document: Document, part: Part, layout: list[tuple[str, str]]) -> bytes:
    rows = np.zeros(len(part.positions), layout)
    _fill(rows, "xyz", part.positions)
    if "nx" in (rows.dtype.names or ()) and part.normals is not None:
        _fill(rows, ("nx", "ny", "nz"), part.normals)
    texcoords = texcoords_of(document, part)
    if texcoords is not None:
        _fill(rows, "st", np.column_stack([texcoords[:, 0], 1 - texcoords[:, 1]]))
    _fill(rows, ("red", "green", "blue", "alpha"), encoded(vertex_colors(document, part)))
    return rows.tobytes()


def _fill(rows: np.ndarray[tuple[int], np.dtype[np.void]], names: Iterable[str], values: object) -> None:
    for column, name in enumerate(names):
        rows[name] = np.asarray(values)[:, column]
