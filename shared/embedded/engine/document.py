"""A glTF document: its JSON and one binary chunk, read with suspicion and written as GLB."""

import json
import struct
from pathlib import Path
from typing import Any

from shared.embedded.engine.faults import corrupt

Json = dict[str, Any]

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
COMPONENT_SIZES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}

MESHOPT = "EXT_meshopt_compression"
DRACO = "KHR_draco_mesh_compression"

_HEADER = struct.Struct("<4sII")
_CHUNK = struct.Struct("<II")
_JSON_CHUNK, _BIN_CHUNK = 0x4E4F534A, 0x004E4942


class Document:
    """``json`` is the whole glTF object; ``data`` the bytes of its buffer 0. Further buffers
    have no bytes: they are what EXT_meshopt_compression calls fallbacks."""

    def __init__(self, json_: Json, data: bytes | bytearray) -> None:
        self.json = json_
        self.data = data

    def items(self, key: str) -> list[Json]:
        """The array of that name at the top of the document, or an empty one."""
        items: list[Json] = self.json.get(key, [])
        return items

    def view(self, index: int) -> memoryview:
        """The bytes of a buffer view. A compressed one's are its compressed bytes."""
        view = self.items("bufferViews")[index]
        view = view.get("extensions", {}).get(MESHOPT, view)
        start = view.get("byteOffset", 0)
        return memoryview(self.data)[start : start + view["byteLength"]]

    def add_view(self, data: bytes, **properties: object) -> int:
        """Append bytes as a new buffer view; returns its index."""
        # Views start at multiples of 4, which every component type accepts.
        self.data += bytes(-len(self.data) % 4)
        views = self.json.setdefault("bufferViews", [])
        views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **properties})
        self.data += data
        return len(views) - 1

    def use_extension(self, name: str) -> None:
        used = self.json.setdefault("extensionsUsed", [])
        if name not in used:
            used.append(name)

    def write_glb(self, path: Path) -> None:
        """Write one binary file, with the buffer inside. Raises `Problem` `corrupt-model`."""
        if self.data:
            first = {"byteLength": len(self.data)}
            self.json["buffers"] = [first, *self.items("buffers")[1:]]
        else:
            self.json.pop("buffers", None)
        # The specification allows no empty arrays at the top.
        content = {key: value for key, value in self.json.items() if value != []}
        try:
            text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        except ValueError:  # 1e999 is JSON, and infinite
            raise corrupt("its glTF JSON holds a number that is too large") from None
        text += b" " * (-len(text) % 4)
        chunks: list[tuple[int, bytes | bytearray, bytes]] = [(_JSON_CHUNK, text, b"")]
        if self.data:
            chunks.append((_BIN_CHUNK, self.data, bytes(-len(self.data) % 4)))
        length = _HEADER.size + sum(_CHUNK.size + len(data) + len(end) for _, data, end in chunks)
        with path.open("wb") as file:
            file.write(_HEADER.pack(b"glTF", 2, length))
            for kind, data, end in chunks:
                file.write(_CHUNK.pack(len(data) + len(end), kind))
                file.write(data)
                file.write(end)


def parse_json(text: bytes) -> Json:
    """The JSON object of a glTF file. Raises `Problem` `corrupt-model`."""
    try:
        value = json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise corrupt(f"its glTF JSON is broken ({error})") from None
    if not isinstance(value, dict):
        raise corrupt("its glTF JSON is not an object")
    return value


def _no_constant(name: str) -> None:
    # Python's parser takes NaN and Infinity, which JSON does not have.
    raise ValueError(f"{name} is not JSON")


def split_glb(data: bytes) -> tuple[Json, memoryview | None]:
    """The JSON and the binary chunk of a GLB. Raises `Problem` `corrupt-model`."""
    if len(data) < _HEADER.size:
        raise corrupt("it ends inside its GLB header")
    magic, version, length = _HEADER.unpack_from(data)
    if magic != b"glTF":
        raise corrupt("it does not start with the letters glTF, as a GLB does")
    if version != 2:
        raise corrupt(f"it is a GLB of version {version}, and only version 2 can be read")
    if length > len(data):
        raise corrupt(f"it is cut off: its header says {length} bytes, and there are {len(data)}")
    chunks: dict[int, memoryview] = {}
    offset = _HEADER.size
    while offset + _CHUNK.size <= length:
        size, kind = _CHUNK.unpack_from(data, offset)
        offset += _CHUNK.size
        if offset + size > length:
            raise corrupt("one of its GLB chunks is longer than the file")
        chunks.setdefault(kind, memoryview(data)[offset : offset + size])
        offset += size
    if _JSON_CHUNK not in chunks:
        raise corrupt("the GLB has no JSON chunk")
    return parse_json(bytes(chunks[_JSON_CHUNK])), chunks.get(_BIN_CHUNK)
