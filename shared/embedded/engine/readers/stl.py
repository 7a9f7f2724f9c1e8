"""STL, binary and ascii, by numpy: two fifths of the memory of the best library.

A binary facet has two bytes to spare, which two conventions fill with a colour of five bits a channel.
VisCAM's and SolidView's: blue lowest, and the highest bit says that there is one. Magics', where the header
holds `COLOR=` and the colour of the whole: red lowest, and the highest bit says that it is the whole's."""

import re

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.scene import Floats, Material, Mesh, Node, Primitive, Scene, linear

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEADER = 84
_MULTIPLIERS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64
)
_VERTEX = re.compile(rb"vertex\s+(\S+)\s+(\S+)\s+(\S+)", re.IGNORECASE)
_MAGICS = b"COLOR="
_FLAG, _PLAIN = 0x8000, 0.8  # a facet without a colour is as grey as what has no material
_Codes = NDArray[np.uint16]  # (n,) of facets: red, green and blue in five bits each; 0x8000 for none
_SOLID = re.compile(rb"^[ \t]*solid\b[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


def read(data: bytes, name: str) -> Scene:
    """One node per solid; units and axes as they are in the file. Raises `Problem` `corrupt-model`.

    A facet's own normal says no more than its corners do, so none is kept: without normals, glTF
    shades flat, which is what a facet is.
    """
    scene = Scene()
    codes: _Codes | None = None
    if _is_binary(data):
        corners, codes = _binary(data)
        solids = [(name, corners)]
    else:
        solids = _ascii(data, name)
    if codes is not None and len(codes) and (codes == codes[0]).all():
        scene.materials.append(Material(base_color=tuple(_shade(codes[:1])[0].tolist())))
        codes = None
    for solid, corners in solids:
        if len(corners) == 0:
            continue
        primitive = _indexed(corners, codes)
        primitive.material = 0 if scene.materials else None
        scene.roots.append(Node(solid, mesh=len(scene.meshes)))
        scene.meshes.append(Mesh(solid, [primitive]))
    if not scene.meshes:
        raise corrupt("the STL has no triangles")
    return scene


def _is_binary(data: bytes) -> bool:
    """Whether the size is what a binary file's count says; many of those start with "solid" too."""
    if len(data) < _HEADER:
        return False
    count = int.from_bytes(data[80:84], "little")
    if len(data) == _HEADER + count * _RECORD.itemsize:
        return True
    return data.lstrip()[:5].lower() != b"solid"


def _binary(data: bytes) -> tuple[Floats, _Codes | None]:
    """The corners (n, 3, 3), and the facets' colours if there are any."""
    count = int.from_bytes(data[80:84], "little")
    needed = _HEADER + count * _RECORD.itemsize
    if needed > len(data):
        raise corrupt(f"the STL is cut off: {count} triangles are {needed} bytes, and there are {len(data)}")
    records = np.frombuffer(data, _RECORD, count, _HEADER)
    return records["corners"], _codes(data[:80], records["attribute"])


def _codes(header: bytes, attributes: _Codes) -> _Codes | None:
    at = header.find(_MAGICS)
    if at < 0:
        return np.where(attributes & _FLAG, attributes ^ _FLAG, _FLAG) if (attributes & _FLAG).any() else None
    whole = [int(value) >> 3 for value in header[at + len(_MAGICS) :][:3].ljust(3, b"\xff")]
    code = np.uint16(whole[0] << 10 | whole[1] << 5 | whole[2])
    # Where no facet says anything, the header alone speaks: black is rarely meant.
    own = ((attributes & _FLAG) == 0) & bool(attributes.any())
    swapped = (attributes & 31) << 10 | attributes & 0x3E0 | attributes >> 10 & 31
    return np.where(own, swapped, code)


def _shade(codes: _Codes) -> Floats:
    """Colours as linear ones (n, 4)."""
    channels = np.stack([codes >> 10 & 31, codes >> 5 & 31, codes & 31, np.full_like(codes, 31)], axis=1)
    shades = np.asarray(channels / np.float32(31), np.float32)
    shades[:, :3] = linear(shades[:, :3])
    shades[codes == _FLAG, :3] = _PLAIN
    return shades


def _ascii(data: bytes, name: str) -> list[tuple[str, Floats]]:
    starts = list(_SOLID.finditer(data))
    if not starts:
        raise corrupt("it is neither a binary STL of its stated size, nor a text that starts with 'solid'")
    solids = []
    for start, end in zip(starts, [*(one.start() for one in starts[1:]), len(data)], strict=True):
        numbers = [number for match in _VERTEX.finditer(data, start.end(), end) for number in match.groups()]
        try:
            values = np.array(numbers, dtype=bytes).astype(np.float32)
        except ValueError:
            raise corrupt("a vertex of the STL is not three numbers") from None
        if len(values) % 9:
            raise corrupt("the STL is cut off: a facet has fewer than three vertices")
        label = start.group(1).decode("utf-8", "replace").strip() or name
        solids.append((label, values.reshape(-1, 3, 3)))
    return solids


def _indexed(corners: Floats, codes: _Codes | None) -> Primitive:
    """Corners (n, 3, 3) as a primitive in which equal positions, of equal colour, are one vertex."""
    flat = corners.reshape(-1, 3) + np.float32(0)  # -0.0 and 0.0 are the same place
    words = flat.view(np.uint32)
    if codes is not None:
        words = np.column_stack([words, np.repeat(codes, 3).astype(np.uint32)])
    # Sorting one number per corner takes a third of the time of sorting three.
    keys = (words.astype(np.uint64) * _MULTIPLIERS[: words.shape[1]]).sum(axis=1, dtype=np.uint64)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if not np.array_equal(words[first[inverse]], words):
        # Two places have one number; rare, and then the slow way is exact.
        exact = words.view(np.dtype((np.void, 4 * words.shape[1]))).ravel()
        _, first, inverse = np.unique(exact, return_index=True, return_inverse=True)
    colors = None if codes is None else _shade(codes[first // 3])
    return Primitive(flat[first], inverse.astype(np.uint32), colors=colors)
