"""glTF and GLB: repacked as they are, so that Draco, skins, animations and extensions survive."""

import base64
import binascii
from typing import Any
from urllib.parse import unquote_to_bytes

from shared.embedded.engine.document import MESHOPT, Document, Json, parse_json, split_glb
from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.images import UnreadableImage, for_gltf, mime_of
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers.gltf_checks import check_document
from shared.problems import Code, Problem

# Content types that glTF takes as they are: the first two always, the others by an extension.
_KEPT = {"image/png", "image/jpeg", "image/webp", "image/ktx2", "image/vnd-ms.dds"}


def read(data: bytes, files: InputFolder) -> tuple[Document, list[Warning_]]:
    """The document with its buffers and images inside, checked for bounds, cycles and numbers.

    Raises `Problem`: `corrupt-model`, `missing-companion` (names the buffer), `unsupported-format`."""
    binary: memoryview | None = None
    if data[:4] == b"glTF":
        root, binary = split_glb(data)
    else:
        root = parse_json(data)
    try:
        version = str(root.get("asset", {}).get("version", ""))
        if not version.startswith("2."):
            raise Problem(
                Code.UNSUPPORTED_FORMAT,
                f"The model is glTF version {version or 'unknown'}; only 2.x can be read. "
                "Export it as glTF 2.0.",
            )
        document = _gather_buffers(root, binary, files)
        check_document(document)
        warnings = _embed_images(document, files)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise corrupt(f"its glTF JSON does not follow the specification ({error!r})") from error
    return document, warnings


def _gather_buffers(root: Json, binary: memoryview | None, files: InputFolder) -> Document:
    """All buffers that have bytes become buffer 0, the fallbacks of EXT_meshopt_compression follow."""
    merged = bytearray()
    places: list[tuple[int, int]] = []  # per source buffer: its new index and the offset in it
    fallbacks: list[Json] = []
    for index, buffer in enumerate(root.get("buffers", [])):
        length = buffer["byteLength"]
        content = _buffer_bytes(index, buffer, binary, files)
        if content is None:
            fallbacks.append(buffer)
            places.append((len(fallbacks), 0))
            continue
        if not isinstance(length, int) or length < 1 or len(content) < length:
            raise corrupt(f"buffer {index} says {length} bytes and has {len(content)}")
        merged += bytes(-len(merged) % 16)
        places.append((0, len(merged)))
        merged += content[:length]
    for view in root.get("bufferViews", []):
        for part in (view, view.get("extensions", {}).get(MESHOPT)):
            if part is not None:
                part["buffer"], offset = places[_index(part["buffer"])]
                if offset:
                    part["byteOffset"] = part.get("byteOffset", 0) + offset
    root["buffers"] = [{"byteLength": len(merged)}, *fallbacks]
    return Document(root, merged)


def _index(value: Any) -> int:
    # A negative index would silently count from the end.
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not an index")
    return value


def _buffer_bytes(index: int, buffer: Json, binary: memoryview | None, files: InputFolder) -> Any:
    uri = buffer.get("uri")
    if uri is None:
        if index == 0 and binary is not None:
            return binary
        if MESHOPT in buffer.get("extensions", {}):
            return None
        raise corrupt(f"buffer {index} has no bytes and no uri")
    content = _fetch(uri, files)
    if content is None:
        raise Problem(
            Code.MISSING_COMPANION,
            f"The model's buffer '{_shown(uri)}' is not beside it. Upload it to the model's folder, "
            "or export the model as one .glb file.",
        )
    return content


def _embed_images(document: Document, files: InputFolder) -> list[Warning_]:
    warnings = []
    images = document.items("images")
    lost: set[int] = set()
    for index, image in enumerate(images):
        if "bufferView" in image:
            continue
        uri = image.pop("uri")
        content = _fetch(uri, files)
        reason = "it is not in the model's folder"
        if content is not None and mime_of(content) not in _KEPT:
            try:
                content, _ = for_gltf(content)
            except UnreadableImage as error:
                content, reason = None, f"it is not a picture that can be read ({error})"
        if content is None:
            lost.add(index)
            warnings.append(_missing(document, index, uri, reason))
            continue
        image["bufferView"] = document.add_view(content)
        image["mimeType"] = mime_of(content)
        if not uri.startswith("data:"):
            image.setdefault("name", uri.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0])
    if lost:
        _drop_images(document, lost)
    return warnings


def _missing(document: Document, image: int, uri: str, reason: str) -> Warning_:
    textures = {i for i, texture in enumerate(document.items("textures")) if image in sources(texture)}
    users = [
        material.get("name", f"material {index}")
        for index, material in enumerate(document.items("materials"))
        if any(slot["index"] in textures for _, _, slot in texture_slots(material))
    ]
    details = {"texture": _shown(uri), "material": ", ".join(users), "reason": reason}
    return Warning_("4004", "Missing texture", details)


def _drop_images(document: Document, lost: set[int]) -> None:
    """Take images away, and every use of a texture that is left without any."""
    kept = [index for index in range(len(document.items("images"))) if index not in lost]
    renumbered = {old: new for new, old in enumerate(kept)}
    document.json["images"] = [document.items("images")[index] for index in kept]
    empty = set()
    for index, texture in enumerate(document.items("textures")):
        holders = [texture, *texture.get("extensions", {}).values()]
        for holder in holders:
            if "source" in holder:
                if holder["source"] in lost:
                    del holder["source"]
                else:
                    holder["source"] = renumbered[holder["source"]]
        if not sources(texture):
            empty.add(index)
            texture.pop("extensions", None)
    for material in document.items("materials"):
        for holder, key, slot in list(texture_slots(material)):
            if slot["index"] in empty:
                del holder[key]


def sources(texture: Json) -> list[int]:
    """The images that a texture can be drawn with: its own and those of its extensions."""
    holders = [texture, *texture.get("extensions", {}).values()]
    return [holder["source"] for holder in holders if "source" in holder]


def texture_slots(material: Json) -> list[tuple[Json, str, Json]]:
    """Every use of a texture in a material, extensions included: (holder, key, texture info)."""
    found = []
    stack: list[Json] = [material]
    while stack:
        holder = stack.pop()
        for key, value in holder.items():
            if isinstance(value, dict) and key != "extras":
                if key.endswith("Texture") and "index" in value:
                    found.append((holder, key, value))
                else:
                    stack.append(value)
    return found


def _fetch(uri: str, files: InputFolder) -> bytes | None:
    if not uri.lower().startswith("data:"):
        return files.find(uri)
    head, _, body = uri.partition(",")
    raw = unquote_to_bytes(body)
    if not head.lower().endswith(";base64"):
        return raw
    try:
        return base64.b64decode(raw, validate=False)
    except binascii.Error:
        raise corrupt("a data: URI in it is not base64") from None


def _shown(uri: str) -> str:
    # Contents of data: URIs, and queries of URLs, which may hold a token, do not belong in messages.
    return "data:…" if uri.lower().startswith("data:") else uri.partition("?")[0][:200]
