"""What a model refers to, and where in its folder that is.

Pure: bytes and names in, names out. The pipeline asks with the first part of a blob, the
embedded service with whole files. Damage never raises here: a reader that cannot make sense of
a file says that it did not see everything, and the engine is the one to call it corrupt.
"""

import heapq
import json
import mmap
import re
import struct
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote
from xml.parsers import expat

from shared import usd_crate

# mmap, so that looking through an OBJ of hundreds of megabytes takes no memory.
Data = bytes | mmap.mmap


@dataclass(frozen=True)
class Reference:
    """One file that a model names.

    ``uri`` is as the author wrote it, percent-decoded where the format says so. Without a
    ``required`` one (a buffer) there is no model; without another it only looks worse.
    """

    uri: str
    required: bool = False


@dataclass(frozen=True)
class Found:
    """``complete`` is False when there may be more than ``references``: the part that was read
    ends too early, or the file is damaged."""

    references: tuple[Reference, ...]
    complete: bool


def references(extension: str, data: Data, *, whole: bool = True) -> Found:
    """The files that a model, or an MTL, names; `whole` says whether `data` is all of it.

    `extension` has its dot, in any case. A format that cannot refer to files finds nothing, and
    is complete. Embedded data (`data:` URIs) is no reference.
    """
    reader = _READERS.get(extension.lower())
    if reader is None:
        return Found((), complete=True)
    found = reader(data, whole)
    distinct: dict[str, Reference] = {}
    for reference in found.references:
        uri = reference.uri.strip()
        if uri and not uri.lower().startswith("data:"):
            required = reference.required or (uri in distinct and distinct[uri].required)
            distinct[uri] = Reference(uri, required)
    most = tuple(distinct.values())[:_MOST_REFERENCES]
    return Found(most, found.complete and len(most) == len(distinct))


# Far above what any model names; a file made to name more costs nobody a lookup for each.
_MOST_REFERENCES = 10_000


# --- Where a reference leads -------------------------------------------------------------------

# The longest name a blob can have, and more folders than a path of an author's machine has.
_LONGEST_NAME = 1024
_MOST_SUFFIXES = 64
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def candidates(uri: str, base: str = "") -> Iterator[str]:
    """The names to try for `uri`, relative to the model's folder, best first.

    `base` is the folder of the file that holds the reference, relative to the model's folder
    ("" for the model itself). Authors write absolute paths, backslashes and `..`: the rule is
    the vendor's, the longest suffix of the path that exists inside the folder. No candidate
    leaves the folder. An address on the network has none.
    """
    if len(uri) > _LONGEST_NAME or any(ord(character) < 32 for character in uri):
        return
    path = uri.replace("\\", "/")
    if scheme := _SCHEME.match(path):
        if scheme[1].lower() != "file":
            return
        path = path[scheme.end() :]
    absolute = path.startswith("/")
    if re.match(r"/*[A-Za-z]:", path):
        absolute, path = True, path.split(":", 1)[1]
    folder = [segment for segment in base.split("/") if segment]
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    seen: set[str] = set()
    if not absolute and (inside := _normalised([*folder, *segments])):
        seen.add(inside)
        yield inside
    while segments and segments[0] == "..":
        del segments[0]
    for start in range(max(0, len(segments) - _MOST_SUFFIXES), len(segments)):
        for place in (folder, []) if folder else ([],):
            name = _normalised([*place, *segments[start:]])
            if name and name not in seen:
                seen.add(name)
                yield name


def _normalised(segments: list[str]) -> str | None:
    """The path without its `..`; None for one that leaves the folder, or is too long."""
    path: list[str] = []
    for segment in segments:
        if segment != "..":
            path.append(segment)
        elif path:
            path.pop()
        else:
            return None
    name = "/".join(path)
    return name if 0 < len(name) <= _LONGEST_NAME else None


class Folder:
    """The files of a model's folder and below, to find references in."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names` are relative to the folder, with forward slashes."""
        self._names = frozenset(names)
        self._folded: dict[str, str] = {}
        for name in sorted(self._names):
            self._folded.setdefault(_fold(name), name)

    def resolve(self, uri: str, base: str = "") -> str | None:
        """The file that `uri` means, as it is spelled in the folder, or None.

        For each candidate the exact name comes first, then one that differs in case or in
        Unicode composition only (of several, the first in code point order). Uploads lose and
        gain percent-encoding on the way, so those spellings are tried last.
        """
        for spelling in dict.fromkeys((uri, unquote(uri), quote(uri, safe="/\\:"))):
            for name in candidates(spelling, base):
                if name in self._names:
                    return name
                if folded := self._folded.get(_fold(name)):
                    return folded
        return None


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


# --- What each format says ---------------------------------------------------------------------


def _obj(data: Data, whole: bool) -> Found:
    found: list[Reference] = []
    position = 0
    while (start := data.find(b"mtllib", position)) >= 0:
        position = start + len(b"mtllib")
        before = start
        while before and data[before - 1 : before] in (b" ", b"\t"):
            before -= 1
        if before and data[before - 1 : before] not in (b"\n", b"\r", b"\xbf"):  # bf ends a BOM
            continue
        line = _REST_OF_LINE.match(data, position)
        if line is None or (line.end() == len(data) and not whole):
            continue
        found += [Reference(name) for name in material_libraries(text_of(line[1]))]
    return Found(tuple(found), complete=whole)


_REST_OF_LINE = re.compile(rb"[ \t]+([^\r\n]*)")


def material_libraries(rest: str) -> Iterator[str]:
    """The files of one `mtllib` line. They are separated by spaces, and have spaces in them:
    a name ends where a word ends in .mtl."""
    words: list[str] = []
    for word in rest.split():
        words.append(word)
        if word.rstrip('"').lower().endswith(".mtl"):
            yield " ".join(words).strip('"')
            words = []
    if words:
        yield " ".join(words).strip('"')


# Statements of an MTL that name a picture, beside map_*; and map_aat, which is a switch.
_MTL_PICTURES = frozenset({"bump", "disp", "decal", "refl", "norm"})
_MTL_SWITCHES = frozenset({"map_aat"})
# Options before the file name, with how many arguments at least and at most.
_MTL_OPTIONS = {
    "-blendu": (1, 1), "-blendv": (1, 1), "-boost": (1, 1), "-bm": (1, 1), "-cc": (1, 1),
    "-clamp": (1, 1), "-colorspace": (1, 1), "-imfchan": (1, 1), "-mm": (2, 2), "-o": (1, 3),
    "-s": (1, 3), "-t": (1, 3), "-texres": (1, 1), "-type": (1, 1),
}  # fmt: skip


def _mtl(data: Data, whole: bool) -> Found:
    content = bytes(data)
    if not whole:
        content = content[: max(content.rfind(b"\n"), content.rfind(b"\r")) + 1]
    found: list[Reference] = []
    for line in re.split(r"[\r\n]+", text_of(content.removeprefix(b"\xef\xbb\xbf"))):
        keyword, _, rest = line.strip().replace("\t", " ").partition(" ")
        keyword = keyword.lower()
        is_picture = keyword.startswith("map_") or keyword in _MTL_PICTURES
        if is_picture and keyword not in _MTL_SWITCHES and len(rest) <= 2 * _LONGEST_NAME:
            found.append(Reference(picture_of(rest)))
    return Found(tuple(found), complete=whole)


def picture_of(rest: str) -> str:
    """The file name of a map statement: what is left without its options, which stand before
    it by the specification and after it in the wild."""
    words = list(re.finditer(r"\S+", rest))
    first = 0
    while first < len(words) and (arguments := _MTL_OPTIONS.get(words[first][0].lower())):
        least, most = arguments
        first += 1 + least
        for _ in range(most - least):
            if first < len(words) and _is_number(words[first][0]):
                first += 1
    if first >= len(words):
        return ""
    end = len(rest)
    for option, argument in zip(words[first + 1 :], words[first + 2 :], strict=False):
        is_value = _is_number(argument[0]) or argument[0] in ("on", "off")
        if option[0].lower() in _MTL_OPTIONS and is_value:
            end = option.start()
            break
    return rest[words[first].start() : end].strip().strip('"')


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _gltf(data: Data, whole: bool) -> Found:
    content = bytes(data)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        # Cut off. What was seen is worth waiting for; whether it is a buffer or a picture cannot
        # be told here, so a missing one is for the service to judge.
        seen = () if whole else tuple(Reference(uri) for uri in _uris_in(content))
        return Found(seen, complete=False)
    if not isinstance(document, dict):
        return Found((), complete=False)
    found = [Reference(uri, required=True) for uri in _uris_of(document.get("buffers"))]
    found += [Reference(uri) for uri in _uris_of(document.get("images"))]
    return Found(tuple(found), complete=True)


def _uris_of(items: Any) -> Iterator[str]:
    # glTF 1.0 has objects by name where 2.0 has arrays.
    values = items.values() if isinstance(items, dict) else items if isinstance(items, list) else ()
    for item in values:
        if isinstance(item, dict) and isinstance(uri := item.get("uri"), str):
            yield uri if uri.lower().startswith("data:") else unquote(uri)


_URI_PROPERTY = re.compile(rb'"uri"\s{0,100}:\s{0,100}("(?:[^"\\]|\\.){1,4096}")')


def _uris_in(content: bytes) -> Iterator[str]:
    for match in _URI_PROPERTY.finditer(content):
        try:
            yield unquote(json.loads(match[1]))
        except ValueError:
            continue


_GLB_JSON = 0x4E4F534A


def _glb(data: Data, whole: bool) -> Found:
    head = bytes(data[:20])
    if len(head) < 20 or head[:4] != b"glTF":
        return Found((), complete=False)
    _, version, _, length, kind = struct.unpack("<5I", head)
    if version != 2 or kind != _GLB_JSON:
        return Found((), complete=False)
    content = bytes(data[20 : 20 + length])
    return _gltf(content, whole=whole or len(content) == length)


def _dae(data: Data, whole: bool) -> Found:
    """COLLADA 1.4 has the URI as the text of <image><init_from>, 1.5 in its <ref>. An <init_from>
    elsewhere names an image by its id."""
    found: list[Reference] = []
    path: list[str] = []
    text: list[str] = []

    def start(name: str, _attributes: dict[str, str]) -> None:
        path.append(name.rpartition(":")[2])
        text.clear()

    def end(_name: str) -> None:
        if path[-2:] == ["image", "init_from"] or path[-3:] == ["image", "init_from", "ref"]:
            found.append(Reference(unquote("".join(text).strip())))
        text.clear()
        path.pop()

    def characters(data: str) -> None:
        # Only these can be ours, and a mesh's numbers would fill the memory.
        if path and path[-1] in ("init_from", "ref"):
            text.append(data)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(bytes(data), whole)
    except (expat.ExpatError, ValueError, LookupError):  # the last two: encodings it lacks
        return Found(tuple(found), complete=False)
    return Found(tuple(found), complete=whole)


def _fbx(data: Data, whole: bool) -> Found:
    """Texture and Video nodes have the picture as their RelativeFilename; a Video that holds the picture
    itself has it in the Content that follows. Pictures stand at the end of a file, and its beginning
    would name those that come inside: a part of a file tells nothing."""
    if not whole:
        return Found((), complete=False)
    names: dict[str, None] = {}
    inside: set[str] = set()
    last = ""
    nodes = heapq.merge(_fbx_values(data, b"RelativeFilename"), _fbx_values(data, b"Content"))
    for _, node, value in nodes:
        if node == b"RelativeFilename":
            last = value
            names[value] = None
        elif value:
            inside.add(_file_name(last))
    return Found(tuple(Reference(name) for name in names if _file_name(name) not in inside), complete=True)


def _fbx_values(data: Data, node: bytes) -> Iterator[tuple[int, bytes, str]]:
    """The place, name and value of each node of a name, binary or text; of a long value, its start."""
    position = 0
    while (start := data.find(node, position)) >= 0:
        position = start + len(node)
        if data[start - 1 : start] == bytes([len(node)]) and data[position : position + 1] in (b"S", b"R"):
            length = int.from_bytes(data[position + 1 : position + 5], "little")
            yield start, node, text_of(bytes(data[position + 5 : position + 5 + min(length, _LONGEST_NAME)]))
        elif text := _FBX_TEXT.match(data, position):
            yield start, node, text_of(text[1])


_FBX_TEXT = re.compile(rb':[ \t]*,?\s{0,20}"([^"\r\n]{0,1024})')


def _file_name(path: str) -> str:
    return _fold(path.replace("\\", "/").rpartition("/")[2])


def text_of(raw: bytes) -> str:
    """UTF-8, or else the byte-for-byte encoding that cannot fail: old exporters wrote theirs."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


# A list of addresses of one picture, each in quotes, or one without.
_X3D_TEXTURE = re.compile(
    rb"""<(?:ImageTexture|MovieTexture)\b[^<>]{0,1000}?\burl\s{0,20}=\s{0,20}(?:'([^']{0,4096})'|"([^"]{0,4096})")"""
)


def _x3d(data: Data, whole: bool) -> Found:
    found: list[Reference] = []
    for match in _X3D_TEXTURE.finditer(data):
        listed = text_of(match[1] if match[1] is not None else match[2]).replace("&quot;", '"')
        found += [Reference(one) for one in re.findall(r'"([^"]*)"', listed) or [listed]]
    return Found(tuple(found), complete=whole)


_3DS_PICTURE = b"\x00\xa3"  # the chunk of a texture's file name, which ends with a zero


def _3ds(data: Data, whole: bool) -> Found:
    found: list[Reference] = []
    position = 0
    while (start := data.find(_3DS_PICTURE, position)) >= 0:
        position = start + len(_3DS_PICTURE)
        size = int.from_bytes(data[start + 2 : start + 6], "little")
        name = bytes(data[start + 6 : start + min(size, 6 + _LONGEST_NAME)])
        if name.endswith(b"\0") and name.find(b"\0") == len(name) - 1 and name[:-1].isascii():
            found.append(Reference(text_of(name[:-1])))
    return Found(tuple(found), complete=whole)


_USD_ASSET = re.compile(rb"@@@([^@\r\n]{1,1024})@@@|@([^@\r\n]{1,1024})@")
_USD_LAYERS = (".usd", ".usda", ".usdc", ".usdz")
_PICTURES = (".bmp", ".dds", ".gif", ".jpeg", ".jpg", ".png", ".tga", ".tif", ".tiff", ".webp")


def _usd(data: Data, whole: bool) -> Found:
    """The pictures of a layer; the layers that it is composed of are not read. A binary one's words are at
    its end: a part of it tells nothing."""
    if usd_crate.is_crate(data):
        words = usd_crate.words(data) if whole else None
        pictures = [word for word in words or () if word.lower().endswith(_PICTURES)]
        return Found(tuple(Reference(name) for name in pictures), complete=words is not None)
    if data[:5] != b"#usda":
        return Found((), complete=True)
    names = [text_of(match[1] or match[2]) for match in _USD_ASSET.finditer(data)]
    pictures = [name for name in names if not name.lower().endswith(_USD_LAYERS)]
    return Found(tuple(Reference(name) for name in pictures), complete=whole)


_READERS: dict[str, Callable[[Data, bool], Found]] = {
    ".obj": _obj,
    ".mtl": _mtl,
    ".gltf": _gltf,
    ".glb": _glb,
    ".dae": _dae,
    ".fbx": _fbx,
    ".x3d": _x3d,
    ".3ds": _3ds,
    ".usda": _usd,
    ".usdc": _usd,
    ".usd": _usd,
}

#: The extensions of files that can name others.
REFERRING = frozenset(_READERS)
