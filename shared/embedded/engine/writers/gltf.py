"""A document as glTF with its buffer and its pictures as files of their own."""

import copy
import json
from pathlib import Path

from shared.embedded.engine.document import Document
from shared.embedded.engine.faults import corrupt

_EXTENSIONS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/ktx2": ".ktx2",
    "image/vnd-ms.dds": ".dds",
}
_ALIGNMENT = 16


def write(document: Document, path: Path) -> list[Path]:
    """Write the glTF; returns the files beside it, named after it. Raises `Problem` `corrupt-model`."""
    root = copy.deepcopy(document.json)
    views = root.get("bufferViews", [])
    written: list[Path] = []
    taken: set[int] = set()
    for index, image in enumerate(root.get("images", [])):
        suffix = _EXTENSIONS.get(image.get("mimeType", ""))
        if "bufferView" not in image or suffix is None:
            continue
        view = image.pop("bufferView")
        del image["mimeType"]
        texture = path.with_name(f"{path.stem}.image{index}{suffix}")
        texture.write_bytes(document.view(view))
        written.append(texture)
        image["uri"] = texture.name
        taken.add(view)
    data = bytearray()
    kept: dict[int, int] = {}
    moved: dict[tuple[int, int], int] = {}
    for index, view in enumerate(views):
        if index in taken:
            continue
        kept[index] = len(kept)
        for part in (view, *view.get("extensions", {}).values()):
            if not isinstance(part, dict) or part.get("buffer") != 0:
                continue
            start, length = part.get("byteOffset", 0), part["byteLength"]
            if (start, length) not in moved:  # two views of the same bytes stay that
                data += bytes(-len(data) % _ALIGNMENT)
                moved[start, length] = len(data)
                data += document.data[start : start + length]
            part["byteOffset"] = moved[start, length]
    root["bufferViews"] = [view for index, view in enumerate(views) if index in kept]
    _renumber(root, kept)
    buffers = root.get("buffers", [])[1:]
    if data:
        binary = path.with_suffix(".bin")
        binary.write_bytes(data)
        written.insert(0, binary)
        root["buffers"] = [{"uri": binary.name, "byteLength": len(data)}, *buffers]
    else:
        root.pop("buffers", None)
    content = {key: value for key, value in root.items() if value != []}
    try:
        path.write_text(json.dumps(content, separators=(",", ":"), allow_nan=False), encoding="utf-8")
    except ValueError:  # 1e999 is JSON, and infinite
        raise corrupt("its glTF JSON holds a number that is too large") from None
    return written


def _renumber(root: object, kept: dict[int, int]) -> None:
    """Give every mention of a buffer view its new number; what an application added is left alone."""
    stack = [root]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if isinstance(value.get("bufferView"), int):
                value["bufferView"] = kept[value["bufferView"]]
            stack += [one for key, one in value.items() if key != "extras"]
        elif isinstance(value, list):
            stack += value
