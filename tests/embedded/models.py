"""Models small enough to write down."""

import io
import json
import struct
import zipfile
import zlib
from typing import Any


def png(color: tuple[int, int, int] = (200, 30, 30), side: int = 4) -> bytes:
    """A picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(color) * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def obj(material_library: str | None = None, *, height: float = 1) -> bytes:
    """A pyramid of four triangles with texture coordinates, and perhaps with a material."""
    head = f"mtllib {material_library}\nusemtl skin\n" if material_library else ""
    return (
        f"{head}v 0 0 0\nv 1 0 0\nv 0 {height} 0\nv 0 0 1\nvt 0 0\nvt 1 0\nvt 0 1\n"
        "f 1/1 3/2 2/3\nf 1/1 2/2 4/3\nf 2/1 3/2 4/3\nf 1/1 4/2 3/3\n"
    ).encode()


def mtl(texture: str | None = None) -> bytes:
    """A red material, perhaps with a texture."""
    return ("newmtl skin\nKd 1 0 0\n" + (f"map_Kd {texture}\n" if texture else "")).encode()


def gltf(buffer: str) -> tuple[bytes, bytes]:
    """A triangle as a glTF that names a buffer, and the buffer."""
    points = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [1, 1, 0],
            }
        ],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}],
        "buffers": [{"uri": buffer, "byteLength": len(points)}],
    }
    return json.dumps(document).encode(), points


def packed(files: dict[str, bytes]) -> bytes:
    """A zip."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def encrypted(name: str, data: bytes, password: bytes) -> bytes:
    """A zip with one file, encrypted the old way, which is all that zips by hand are."""
    crcs = [0] * 256
    for index in range(256):
        value = index
        for _ in range(8):
            value = (value >> 1) ^ 0xEDB88320 if value & 1 else value >> 1
        crcs[index] = value
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = (keys[0] >> 8) ^ crcs[(keys[0] ^ byte) & 0xFF]
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = (keys[2] >> 8) ^ crcs[(keys[2] ^ (keys[1] >> 24)) & 0xFF]

    def encrypt(byte: int) -> int:
        mask = (keys[2] | 2) & 0xFFFF
        update(byte)
        return byte ^ (((mask * (mask ^ 1)) >> 8) & 0xFF)

    for byte in password:
        update(byte)
    checksum = zlib.crc32(data)
    head = b"elevenbytes" + bytes([checksum >> 24])
    content = bytes(encrypt(byte) for byte in head + data)
    common = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, 0x21, checksum, len(content), len(data), len(name), 0)
    local = b"PK\3\4" + common + name.encode() + content
    central = b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0)
    central += name.encode()
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


def read_glb(data: bytes) -> dict[str, Any]:
    """The JSON of a glb, read without any of the project's code."""
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack("<I4s", data[12:20])
    assert kind == b"JSON"
    document = json.loads(data[20 : 20 + size])
    assert isinstance(document, dict)
    return document
