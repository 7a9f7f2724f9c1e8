"""Shapes to write in one format and read in another."""

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sphere(steps: int) -> NDArray[np.float32]:
    """The triangles (n, 3, 3) of a unit sphere around the origin: 4 * steps * (steps - 1) of them."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 2 * steps + 1), np.linspace(0, np.pi, steps + 1))
    grid = np.stack([np.cos(u) * np.sin(v), np.cos(v), np.sin(u) * np.sin(v)], axis=-1)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    upper = np.stack([a, b, c], axis=2)[1:]  # at the poles one of the two is empty
    lower = np.stack([a, c, d], axis=2)[:-1]
    return np.concatenate([upper.reshape(-1, 3, 3), lower.reshape(-1, 3, 3)]).astype(np.float32)


def binary_stl(
    triangles: NDArray[np.float32], header: bytes = b"made by a test", attributes: Sequence[int] = (0,)
) -> bytes:
    """The attributes are given to the triangles in turn."""
    records = np.zeros(len(triangles), [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")])
    records["c"] = triangles
    records["a"] = np.resize(attributes, len(triangles))
    return header.ljust(80) + len(triangles).to_bytes(4, "little") + records.tobytes()


def ascii_stl(solids: dict[str, NDArray[np.float32]]) -> bytes:
    lines = []
    for name, triangles in solids.items():
        lines.append(f"solid {name}")
        for triangle in triangles:
            corners = "".join(f"    vertex {x} {y} {z}\n" for x, y, z in triangle)
            lines.append(f"  facet normal 0 0 0\n   outer loop\n{corners}   endloop\n  endfacet")
        lines.append(f"endsolid {name}")
    return "\n".join(lines).encode()


def glb(document: dict[str, Any], binary: bytes = b"") -> bytes:
    """A GLB of that JSON and binary chunk."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text
    if binary:
        binary += bytes(-len(binary) % 4)
        body += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def triangle(**changes: Any) -> tuple[dict[str, Any], bytes]:
    """An indexed triangle as a document and its buffer; ``changes`` replace parts at the top."""
    points = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    document = {
        "asset": {"version": "2.0", "generator": "a test"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "only"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}
            | {"min": [0, 0, 0], "max": [1, 1, 0]},
            {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 6},
        ],
        "buffers": [{"byteLength": 42}],
    }
    return {**document, **changes}, points + struct.pack("<3H", 0, 1, 2)
