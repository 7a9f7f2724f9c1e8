"""The words of a binary USD layer: the names of its fields and prims, and the files it refers to.

They stand in one section, which LZ4 packs. Pure, for the pipeline as well as for the engine."""

import mmap
import struct

_MAGIC = b"PXR-USDC"
_TOKENS = b"TOKENS"
_SECTION = struct.Struct("<16s2q")
_MOST_SECTIONS = 100
_MOST_BYTES = 4 * 2**20  # unpacked; the words of large scenes take some hundred kilobytes


def is_crate(data: bytes | mmap.mmap) -> bool:
    """Whether a layer is binary."""
    return bytes(data[:8]) == _MAGIC


def words(data: bytes | mmap.mmap) -> list[str] | None:
    """Every token of the layer; None where it is damaged, cut off, or packed in another way."""
    try:
        raw = _tokens(data)
    except (struct.error, IndexError, ValueError, OverflowError):
        return None
    return None if raw is None else [one.decode("utf-8", "replace") for one in raw.split(b"\0")]


def _tokens(data: bytes | mmap.mmap) -> bytes | None:
    if not is_crate(data):
        return None
    (table,) = struct.unpack_from("<q", data, 16)
    (count,) = struct.unpack_from("<q", data, table)
    for index in range(min(count, _MOST_SECTIONS)):
        name, start, _ = _SECTION.unpack_from(data, table + 8 + index * _SECTION.size)
        if name.rstrip(b"\0") == _TOKENS:
            _, size, packed = struct.unpack_from("<3q", data, start)
            if not 0 <= size <= _MOST_BYTES or packed < 1 or data[start + 24] != 0:
                return None  # many chunks are for more than two gigabytes
            return _unpacked(bytes(data[start + 25 : start + 24 + packed]), size)
    return None


def _unpacked(block: bytes, size: int) -> bytes:
    """An LZ4 block of that many bytes. Raises `ValueError` or `IndexError` for what is none."""
    out = bytearray()
    at = 0
    while at < len(block):
        token = block[at]
        literal, at = _length(block, at + 1, token >> 4)
        out += block[at : at + literal]
        at += literal
        if at >= len(block):
            break
        back = block[at] | block[at + 1] << 8
        length, at = _length(block, at + 2, token & 15)
        length += 4
        if not 0 < back <= len(out) or len(out) + length > size:
            raise ValueError("it is not packed by LZ4")
        begin = len(out) - back
        piece = bytes(out[begin : begin + length])
        out += (piece * (length // len(piece) + 1))[:length]
    if len(out) != size:
        raise ValueError("it is cut off")
    return bytes(out)


def _length(block: bytes, at: int, length: int) -> tuple[int, int]:
    if length == 15:
        while True:
            more = block[at]
            at += 1
            length += more
            if more != 255:
                break
    return length, at
