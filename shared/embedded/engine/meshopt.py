"""EXT_meshopt_compression, decoded as the extension's text specifies it.

Only writers that need the triangles come here; a GLB keeps its compressed bytes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.document import Json
from shared.embedded.engine.faults import corrupt

_GROUP = 16


def decode_view(data: bytes, extension: Json) -> bytes:
    """The bytes of a compressed buffer view. Raises `Problem` `corrupt-model`."""
    count, stride, mode = extension["count"], extension["byteStride"], extension["mode"]
    try:
        if mode == "ATTRIBUTES":
            return _filtered(_attributes(data, count, stride), extension.get("filter", "NONE")).tobytes()
        if stride in (2, 4) and mode in ("TRIANGLES", "INDICES"):
            indices = _triangles(data, count) if mode == "TRIANGLES" else _sequence(data, count)
            return np.array(indices, np.uint32).astype(f"<u{stride}").tobytes()
    except (IndexError, ValueError, OverflowError):
        pass
    raise corrupt("a buffer view with EXT_meshopt_compression is damaged")


def _attributes(data: bytes, count: int, stride: int) -> NDArray[np.uint8]:
    """The vertex codec: per block and byte of the stride, zigzag deltas in groups of 16."""
    if data[0] != 0xA0 or stride % 4 or not 4 <= stride <= 256:
        raise ValueError("not an attribute stream")
    raw = np.frombuffer(data, np.uint8)
    last = raw[len(raw) - stride :].copy()
    out = np.empty((count, stride), np.uint8)
    per_block = min((8192 // stride) & ~15, 256)
    at = 1
    for start in range(0, count, per_block):
        rows = min(per_block, count - start)
        groups = -(-rows // _GROUP)
        for byte in range(stride):
            header = raw[at : at + -(-groups // 4)]
            at += len(header)
            deltas = np.zeros(groups * _GROUP, np.uint8)
            for group in range(groups):
                bits = (int(header[group // 4]) >> (group % 4 * 2)) & 3
                at = _group(raw, at, bits, deltas[group * _GROUP : (group + 1) * _GROUP])
            signed = (deltas >> 1) ^ (-(deltas & 1).astype(np.int8)).view(np.uint8)
            signed[:1] += last[byte]
            out[start : start + rows, byte] = np.add.accumulate(signed[:rows], dtype=np.uint8)
        last = out[start + rows - 1]
    return out


def _group(raw: NDArray[np.uint8], at: int, bits: int, into: NDArray[np.uint8]) -> int:
    """Read one group of 16 deltas; returns where the next one starts."""
    if bits == 0:
        return at
    if bits == 3:
        into[:] = raw[at : at + _GROUP]
        return at + _GROUP
    width = 2 * bits  # 2 or 4 bits each, the first in the highest
    packed = raw[at : at + 2 * width]
    shifts = np.arange(8 - width, -1, -width, dtype=np.uint8)
    sentinel = (1 << width) - 1
    into[:] = ((packed[:, None] >> shifts) & sentinel).ravel()
    at += 2 * width
    escaped = np.flatnonzero(into == sentinel)
    into[escaped] = raw[at : at + len(escaped)]
    return at + len(escaped)


def _filtered(raw: NDArray[np.uint8], name: str) -> NDArray[Any]:
    if name == "NONE":
        return raw
    if name == "EXPONENTIAL":
        words = raw.view("<i4")
        return np.asarray(np.ldexp(((words << 8) >> 8).astype(np.float32), words >> 24), "<f4")
    if name == "OCTAHEDRAL" and raw.shape[1] in (4, 8):
        whole = raw.view("i1" if raw.shape[1] == 4 else "<i2")
        values = whole.astype(np.float64)
        x, y, one = values[:, 0], values[:, 1], values[:, 2]
        z = one - np.abs(x) - np.abs(y)
        fold = np.maximum(-z, 0)
        x = x - np.where(x >= 0, fold, -fold)
        y = y - np.where(y >= 0, fold, -fold)
        peak = np.iinfo(whole.dtype).max
        scale = peak / np.sqrt(x * x + y * y + z * z)
        unit = np.rint(np.column_stack([x * scale, y * scale, z * scale])).astype(whole.dtype)
        return np.column_stack([unit, whole[:, 3]])
    if name == "QUATERNION" and raw.shape[1] == 8:
        whole = raw.view("<i2")
        values = whole.astype(np.float64)
        scale = np.sqrt(0.5) / (whole[:, 3] | 3)
        xyz = values[:, :3] * scale[:, None]
        w = np.sqrt(np.maximum(1 - (xyz * xyz).sum(axis=1), 0))
        four = np.rint(np.column_stack([xyz, w]) * 32767).astype("<i2")
        out = np.empty_like(four)
        largest = whole[:, 3] & 3
        for step in range(4):
            out[np.arange(len(out)), (largest + 1 + step) % 4] = four[:, step]
        return out
    raise ValueError(f"unknown filter {name}")


class _Bytes:
    """Reads a stream's variable-length part."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def varint(self) -> int:
        value = shift = 0
        while shift < 35:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        return value

    def near(self, last: int) -> int:
        """An index stored as its zigzag distance from the last one."""
        value = self.varint()
        return (last + ((value >> 1) ^ -(value & 1))) & 0xFFFFFFFF


def _sequence(data: bytes, count: int) -> list[int]:
    if data[0] != 0xD1:
        raise ValueError("not an index sequence")
    stream, lasts, out = _Bytes(data, 1), [0, 0], []
    for _ in range(count):
        value = stream.varint()
        which, value = value & 1, value >> 1
        lasts[which] = (lasts[which] + ((value >> 1) ^ -(value & 1))) & 0xFFFFFFFF
        out.append(lasts[which])
    return out


def _triangles(data: bytes, count: int) -> list[int]:
    """The triangle codec: each triangle shares an edge or vertices with one of the last sixteen."""
    if data[0] != 0xE1 or count % 3:
        raise ValueError("not a triangle stream")
    codes, table = data[1 : 1 + count // 3], data[len(data) - 16 :]
    stream = _Bytes(data, 1 + count // 3)
    edges = [(0, 0)] * 16  # newest first
    recent = [0] * 16
    upcoming = last = 0
    out: list[int] = []

    def push(vertex: int) -> None:
        recent.insert(0, vertex)
        recent.pop()

    for code in codes:
        if code < 0xF0:
            a, b = edges[code >> 4]
            low = code & 15
            if low == 0:
                c, upcoming = upcoming, upcoming + 1
                push(c)
            elif low < 13:
                c = recent[low]
            else:
                c = last = stream.near(last) if low == 15 else last + (low - (low ^ 3))
                push(c)
            edges[:0] = [(a, c), (c, b)]
            del edges[16:]
        else:
            aux = table[code & 15] if code < 0xFE else stream.byte()
            if code >= 0xFE and aux == 0:
                upcoming = 0
            kinds = (15 if code == 0xFF else 0, aux >> 4, aux & 15)
            before = [*recent]
            corners = [0, 0, 0]
            for corner, kind in enumerate(kinds):
                if kind == 0:
                    corners[corner], upcoming = upcoming, upcoming + 1
                elif kind < 15 or code < 0xFE:
                    corners[corner] = before[kind - 1]
            for corner, kind in enumerate(kinds):
                if kind == 15 and code >= 0xFE:
                    corners[corner] = last = stream.near(last)
            for corner, kind in enumerate(kinds):
                if kind == 0 or (kind == 15 and code >= 0xFE):
                    push(corners[corner])
            a, b, c = corners
            edges[:0] = [(a, c), (c, b), (b, a)]
            del edges[16:]
        out += (a, b, c)
    return out
