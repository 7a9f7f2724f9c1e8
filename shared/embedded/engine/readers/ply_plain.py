"""The PLY that nearly every file is, by numpy: vertices, then triangles.

assimp takes two to five times as long, and reads the others."""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.readers import text_numbers
from shared.embedded.engine.scene import Floats, Primitive, linear

_KINDS = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_END = re.compile(rb"(?:^|\n)end_header[ \t]*\r?\n")
_CORNERS = ("vertex_indices", "vertex_index")
_TEXCOORDS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))


class _Head(NamedTuple):
    """``order`` is that of bytes, empty for text; ``kinds`` are those of the vertices' properties by name,
    and of a face's before its list of corners, of the list's length, of a corner, and after the list;
    ``size`` are the header's bytes."""

    order: str
    vertices: int
    kinds: dict[str, str]
    faces: int
    before: list[str]
    corners: tuple[str, str]
    after: list[str]
    size: int


def read(data: bytes, gamma: bool) -> Primitive | None:
    """Its geometry; None for a file of another kind. ``gamma``: its colours are sRGB-encoded.

    Raises `Problem` `corrupt-model` where it ends too early."""
    head = _head(data)
    if head is None:
        return None
    found = _text(data, head) if head.order == "" else _binary(data, head)
    if found is None:
        return None
    values, polygons = found
    shades = _colors(values, head.kinds)
    if shades is not None and gamma:
        shades[:, :3] = linear(shades[:, :3])
    texcoords = next((pair for pair in _TEXCOORDS if all(name in values for name in pair)), None)
    texcoords_: Floats | None = None
    if texcoords is not None:
        texcoords_ = np.column_stack([values[texcoords[0]], 1 - values[texcoords[1]]]).astype(np.float32)
    return Primitive(
        _columns(values, ("x", "y", "z")),
        None if polygons is None else polygons.astype(np.uint32).ravel(),  # -1 becomes one past any vertex
        "points" if polygons is None else "triangles",
        _columns(values, ("nx", "ny", "nz")) if {"nx", "ny", "nz"} <= set(values) else None,
        texcoords_,
        shades,
    )


def _head(data: bytes) -> _Head | None:
    end = _END.search(data[: 2**16])
    if not data.startswith(b"ply") or end is None:
        return None
    order: str | None = None
    elements: list[tuple[str, int, list[list[str]]]] = []
    for line in data[: end.start()].decode("latin-1").split("\n")[1:]:
        match line.split():
            case ["format", name, _] if name in _ORDERS:
                order = _ORDERS[name]
            case ["element", name, count] if count.isdigit() and len(count) < 18:
                elements.append((name, int(count), []))
            case ["property", *rest] if elements:
                elements[-1][2].append(rest)
            case ["comment", "TextureFile", *_]:
                return None
            case [] | ["comment" | "obj_info", *_]:
                continue
            case _:
                return None
    if order is None or not elements or elements[0][0] != "vertex":
        return None
    name, vertices, properties = elements[0]
    if any(len(one) != 2 or one[0] not in _KINDS for one in properties):
        return None
    kinds = {one[1]: _KINDS[one[0]] for one in properties}
    if (
        len(kinds) != len(properties)
        or not {"x", "y", "z"} <= set(kinds)
        or any(one[1] for one in elements[2:])
    ):
        return None
    face = _face(elements[1]) if len(elements) > 1 and elements[1][1] else (0, [], ("u1", "i4"), [])
    return None if face is None else _Head(order, vertices, kinds, *face, end.end())


def _face(
    element: tuple[str, int, list[list[str]]],
) -> tuple[int, list[str], tuple[str, str], list[str]] | None:
    name, count, properties = element
    lists = [at for at, one in enumerate(properties) if one[0] == "list"]
    if name != "face" or len(lists) != 1 or any(one[-2] not in _KINDS for one in properties):
        return None
    kinds = [_KINDS[one[-2]] for one in properties]
    one = properties[lists[0]]
    if len(one) != 4 or one[3] not in _CORNERS or one[1] not in _KINDS:
        return None
    corners = (_KINDS[one[1]], _KINDS[one[2]])
    if "f" in corners[0] + corners[1]:
        return None
    return count, kinds[: lists[0]], corners, kinds[lists[0] + 1 :]


_Found = tuple[dict[str, NDArray[np.generic]], NDArray[np.integer] | None]


def _binary(data: bytes, head: _Head) -> _Found | None:
    vertex = np.dtype([(name, head.order + kind) for name, kind in head.kinds.items()])
    start = head.size + head.vertices * vertex.itemsize
    if start > len(data):
        raise _cut_off(head, len(data))
    table = np.frombuffer(data, vertex, head.vertices, head.size)
    values: dict[str, NDArray[np.generic]] = {name: table[name] for name in head.kinds}
    if not head.faces:
        return values, None
    kinds = [head.order + kind for kind in (*head.before, head.corners[0])]
    kinds += [f"3{head.order}{head.corners[1]}", *(head.order + kind for kind in head.after)]
    face = np.dtype([(f"f{at}", kind) for at, kind in enumerate(kinds)])
    if start + head.faces * face.itemsize > len(data):
        return None  # cut off, or polygons of other lengths
    table = np.frombuffer(data, face, head.faces, start)
    at = len(head.before)
    return (values, table[f"f{at + 1}"]) if (table[f"f{at}"] == 3).all() else None


def _text(data: bytes, head: _Head) -> _Found | None:
    text = np.frombuffer(data[head.size :] + b"\n", np.uint8)
    starts, ends = text_numbers.words(text)
    width = len(head.kinds)
    cells = head.vertices * width
    if cells > len(starts) or head.faces > len(starts):
        raise _cut_off(head, len(data))
    try:
        numbers = text_numbers.floats(text, starts, ends)
    except text_numbers.NotANumber:
        return None
    table = numbers[:cells].reshape(-1, width)
    values: dict[str, NDArray[np.generic]] = {name: table[:, at] for at, name in enumerate(head.kinds)}
    if not head.faces:
        return values, None
    each = len(head.before) + 4 + len(head.after)
    if len(starts) != cells + head.faces * each:
        return None
    at = len(head.before)
    polygons = numbers[cells:].reshape(-1, each)[:, at : at + 4]
    if not (polygons[:, 0] == 3).all() or not (np.abs(polygons) < 2**31).all():
        return None
    return values, polygons[:, 1:].astype(np.int64)


def _columns(values: dict[str, NDArray[np.generic]], names: tuple[str, ...]) -> Floats:
    with np.errstate(over="ignore"):
        return np.column_stack([values[name].astype(np.float32) for name in names])


def _colors(values: dict[str, NDArray[np.generic]], kinds: dict[str, str]) -> Floats | None:
    names = ("red", "green", "blue")
    if not set(names) <= set(values):
        return None
    colors = np.ones((len(values["red"]), 4), np.float32)
    for channel, name in enumerate((*names, "alpha")):
        if name in values:
            top = 1 if kinds[name][0] == "f" else np.iinfo(kinds[name]).max
            colors[:, channel] = values[name].astype(np.float32) / np.float32(top)
    return colors


def _cut_off(head: _Head, size: int) -> Exception:
    return corrupt(
        f"the PLY is cut off: it has {size} bytes for {head.vertices} vertices and {head.faces} faces"
    )
