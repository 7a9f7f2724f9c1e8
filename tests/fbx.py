"""A reader of binary FBX that shares nothing with the engine's: geometry as it is stored, and its unit."""

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Geometry:
    """All meshes of a file: their triangles, the corners of their box, and how many centimetres a unit is."""

    triangles: int
    low: Any
    high: Any
    unit: float


def read(data: bytes) -> Geometry:
    """Reads a file whose meshes are placed where they are stored."""
    assert data.startswith(b"Kaydara FBX Binary")
    found: dict[str, list[Any]] = {"Vertices": [], "PolygonVertexIndex": [], "P": []}
    # Sizes have 64 bits from version 7.5 on.
    wide = struct.unpack_from("<I", data, 23)[0] >= 7500
    _nodes(data, 27, len(data), "<QQQB" if wide else "<IIIB", found)
    points = np.concatenate([np.asarray(values[0]).reshape(-1, 3) for values in found["Vertices"]])
    corners = np.concatenate([np.asarray(values[0]) for values in found["PolygonVertexIndex"]])
    # The last corner of each polygon is stored as its complement.
    triangles = len(corners) - 2 * int((corners < 0).sum())
    (unit,) = (values[4] for values in found["P"] if values[0] == b"UnitScaleFactor")
    return Geometry(triangles, points.min(axis=0), points.max(axis=0), unit)


def _nodes(data: bytes, at: int, end: int, head: str, found: dict[str, list[Any]]) -> None:
    while at < end:
        stop, count, _, length = struct.unpack_from(head, data, at)
        if stop == 0:
            return
        at += struct.calcsize(head)
        name = data[at : at + length].decode()
        at += length
        values = []
        for _ in range(count):
            value, at = _property(data, at)
            values.append(value)
        if name in found:
            found[name].append(values)
        _nodes(data, at, stop, head, found)
        at = stop


def _property(data: bytes, at: int) -> tuple[Any, int]:
    kind = chr(data[at])
    at += 1
    if kind in "SR":
        (size,) = struct.unpack_from("<I", data, at)
        return data[at + 4 : at + 4 + size], at + 4 + size
    if kind in "YCIFDL":
        form = "<" + {"Y": "h", "C": "B", "I": "i", "F": "f", "D": "d", "L": "q"}[kind]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    _, packed, size = struct.unpack_from("<III", data, at)
    raw = data[at + 12 : at + 12 + size]
    return np.frombuffer(
        zlib.decompress(raw) if packed else raw, "<" + kind.replace("l", "q")
    ), at + 12 + size
