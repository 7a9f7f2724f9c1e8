"""Models small enough to write out here, and what a glb made of them holds."""

import json
import struct
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
CUBE = SAMPLES / "cube"


def sample(name: str) -> bytes:
    """A file of the sample cube: `cube.obj`, `cube.mtl`, `checks.png`, `cube.gltf`, `cube.bin`, …"""
    return (CUBE / name).read_bytes()


def block(width: float) -> bytes:
    """A binary STL of a block that is 1 by 1 by `width` metres."""
    whole = sample("cube.stl")
    triangles = []
    for *normal, ax, ay, az, bx, by, bz, cx, cy, cz, _ in struct.iter_unpack("<12fH", whole[84:]):
        corners = [(ax, ay, az * width), (bx, by, bz * width), (cx, cy, cz * width)]
        triangles.append(struct.pack("<12fH", *normal, *(number for at in corners for number in at), 0))
    return whole[:84] + b"".join(triangles)


def glb_json(glb: bytes) -> dict[str, Any]:
    """The JSON chunk of a glb."""
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", glb)
    assert (magic, version, length, kind) == (b"glTF", 2, len(glb), b"JSON")
    content: dict[str, Any] = json.loads(glb[20 : 20 + size])
    return content


def longest_side(glb: bytes) -> float:
    """The largest extent of any mesh in a glb, by what its accessors say."""
    content = glb_json(glb)
    sides: list[float] = []
    for mesh in content["meshes"]:
        for primitive in mesh["primitives"]:
            accessor = content["accessors"][primitive["attributes"]["POSITION"]]
            sides += [most - least for most, least in zip(accessor["max"], accessor["min"], strict=True)]
    return max(sides)
