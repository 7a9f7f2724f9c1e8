"""assimp's C interface, bound by ctypes to the library inside the assimp-py wheel.

The wheel's own Python interface hands out memory that is already freed, and neither embedded
textures nor metadata (measured with 1.2.0, assimp 5.4.3; the layouts below are that version's).
Everything is copied out before a scene is released, and files are read through callbacks only.
"""

import contextlib
import ctypes as c
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from assimp_py import assimp_py as extension
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.files import InputFolder

JOIN_IDENTICAL_VERTICES, TRIANGULATE, VALIDATE = 0x2, 0x8, 0x400
SORT_BY_PRIMITIVE, TRANSFORM_UV = 0x8000, 0x80000
POINT, LINE, TRIANGLE = 1, 2, 4

_FAILED = -1


class String(c.Structure):
    _fields_ = (("length", c.c_uint32), ("data", c.c_char * 1024))

    def __str__(self) -> str:
        # `data` ends at the first zero byte, `raw` would not.
        return bytes(self.data).decode("utf-8", "replace")


class MetadataEntry(c.Structure):
    _fields_ = (("type", c.c_int), ("data", c.c_void_p))


class Metadata(c.Structure):
    _fields_ = (
        ("count", c.c_uint),
        ("keys", c.POINTER(String)),
        ("values", c.POINTER(MetadataEntry)),
    )

    def values_by_name(self) -> dict[str, object]:
        """The entries of plain types (bool, numbers, text), by key."""
        kinds: dict[int, Any] = {
            0: c.c_bool, 1: c.c_int32, 2: c.c_uint64, 3: c.c_float, 4: c.c_double, 5: String,
            8: c.c_int64, 9: c.c_uint32,
        }  # fmt: skip
        found: dict[str, object] = {}
        for index in range(self.count):
            entry = self.values[index]
            if entry.type in kinds and entry.data:
                value = kinds[entry.type].from_address(entry.data)
                found[str(self.keys[index])] = str(value) if entry.type == 5 else value.value
        return found


class Node(c.Structure):
    pass


Node._fields_ = (
    ("name", String),
    ("matrix", c.c_float * 16),
    ("parent", c.c_void_p),
    ("child_count", c.c_uint),
    ("children", c.POINTER(c.POINTER(Node))),
    ("mesh_count", c.c_uint),
    ("meshes", c.POINTER(c.c_uint)),
    ("metadata", c.POINTER(Metadata)),
)


class Mesh(c.Structure):
    _fields_ = (
        ("primitive_types", c.c_uint),
        ("vertex_count", c.c_uint),
        ("face_count", c.c_uint),
        ("vertices", c.c_void_p),
        ("normals", c.c_void_p),
        ("tangents", c.c_void_p),
        ("bitangents", c.c_void_p),
        ("colors", c.c_void_p * 8),
        ("texcoords", c.c_void_p * 8),
        ("texcoord_widths", c.c_uint * 8),
        ("faces", c.c_void_p),
        ("bone_count", c.c_uint),
        ("bones", c.c_void_p),
        ("material", c.c_uint),
        ("name", String),
    )


class MaterialProperty(c.Structure):
    _fields_ = (
        ("key", String),
        ("semantic", c.c_uint),
        ("index", c.c_uint),
        ("length", c.c_uint),
        ("type", c.c_int),
        ("data", c.c_void_p),
    )


class Material(c.Structure):
    _fields_ = (
        ("properties", c.POINTER(c.POINTER(MaterialProperty))),
        ("count", c.c_uint),
        ("allocated", c.c_uint),
    )

    def values(self) -> dict[tuple[str, int], Any]:
        """(key, semantic) -> numbers or text of the first property of each; assimp's own key names."""
        found: dict[tuple[str, int], Any] = {}
        for index in range(self.count):
            one = self.properties[index].contents
            if one.index == 0 and one.data:
                found.setdefault((str(one.key), one.semantic), _property(one))
        return found


class Texture(c.Structure):
    _fields_ = (
        ("width", c.c_uint),
        ("height", c.c_uint),
        ("format", c.c_char * 9),
        ("data", c.c_void_p),
        ("name", String),
    )


class Scene(c.Structure):
    _fields_ = (
        ("flags", c.c_uint),
        ("root", c.POINTER(Node)),
        ("mesh_count", c.c_uint),
        ("meshes", c.POINTER(c.POINTER(Mesh))),
        ("material_count", c.c_uint),
        ("materials", c.POINTER(c.POINTER(Material))),
        ("animation_count", c.c_uint),
        ("animations", c.c_void_p),
        ("texture_count", c.c_uint),
        ("textures", c.POINTER(c.POINTER(Texture))),
        ("light_count", c.c_uint),
        ("lights", c.c_void_p),
        ("camera_count", c.c_uint),
        ("cameras", c.c_void_p),
        ("metadata", c.POINTER(Metadata)),
    )


class _File(c.Structure):
    pass


_Transfer = c.CFUNCTYPE(c.c_size_t, c.POINTER(_File), c.c_void_p, c.c_size_t, c.c_size_t)
_Tell = c.CFUNCTYPE(c.c_size_t, c.POINTER(_File))
_Seek = c.CFUNCTYPE(c.c_int, c.POINTER(_File), c.c_size_t, c.c_int)
_Flush = c.CFUNCTYPE(None, c.POINTER(_File))
_File._fields_ = (
    ("read", _Transfer),
    ("write", _Transfer),
    ("tell", _Tell),
    ("size", _Tell),
    ("seek", _Seek),
    ("flush", _Flush),
    ("user", c.c_void_p),
)
# A pointer result of a callback is declared as an address, the only kind ctypes can return.
_Open = c.CFUNCTYPE(c.c_void_p, c.c_void_p, c.c_char_p, c.c_char_p)
_Close = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p)


class _FileIO(c.Structure):
    _fields_ = (("open", _Open), ("close", _Close), ("user", c.c_void_p))


class _Files:
    """assimp's file callbacks over the job's folder; nothing else can be opened, or written."""

    def __init__(self, name: str, data: bytes, folder: InputFolder) -> None:
        self._name, self._data, self._folder = name, data, folder
        self._opened: dict[int, tuple[_File, Any]] = {}
        self.interface = _FileIO(_Open(self._open), _Close(self._close), None)

    def _open(self, _: object, name: bytes, mode: bytes) -> int | None:
        wanted = name.decode("utf-8", "replace")
        if wanted == self._name:
            data: bytes | None = self._data
        else:
            data = self._folder.find(wanted)
        if data is None or b"w" in mode:
            return None
        file = _memory_file(data)
        address = c.addressof(file)
        self._opened[address] = (file, data)
        return address

    def _close(self, _: object, address: int) -> None:
        self._opened.pop(address, None)


def _memory_file(data: bytes) -> _File:
    at = 0

    def read(_: object, into: int, size: int, count: int) -> int:
        nonlocal at
        whole = min(count, (len(data) - at) // size) if size else 0
        c.memmove(into, data[at : at + whole * size], whole * size)
        at += whole * size
        return whole

    def seek(_: object, offset: int, origin: int) -> int:
        nonlocal at
        # Offsets are unsigned in the interface and negative in use.
        signed = c.c_ssize_t(offset).value
        wanted = signed + (0, at, len(data))[origin] if 0 <= origin <= 2 else -1
        if not 0 <= wanted <= len(data):
            return _FAILED
        at = wanted
        return 0

    return _File(
        _Transfer(read),
        _Transfer(lambda *_: 0),
        _Tell(lambda _: at),
        _Tell(lambda _: len(data)),
        _Seek(seek),
        _Flush(lambda _: None),
        None,
    )


def _load() -> c.CDLL:
    library = c.CDLL(extension.__file__)
    library.aiImportFileExWithProperties.restype = c.POINTER(Scene)
    library.aiImportFileExWithProperties.argtypes = (c.c_char_p, c.c_uint, c.c_void_p, c.c_void_p)
    library.aiCreatePropertyStore.restype = c.c_void_p
    library.aiReleasePropertyStore.argtypes = (c.c_void_p,)
    library.aiSetImportPropertyInteger.argtypes = (c.c_void_p, c.c_char_p, c.c_int)
    library.aiReleaseImport.argtypes = (c.c_void_p,)
    library.aiGetErrorString.restype = c.c_char_p
    return library


_library = _load()


@contextlib.contextmanager
def imported(data: bytes, folder: InputFolder, flags: int, properties: Mapping[str, int]) -> Iterator[Scene]:
    """assimp's scene of the model; copy what is to outlive the block.

    Raises `Problem` `corrupt-model` with assimp's own message."""
    name = folder.model.name
    files = _Files(name, data, folder)
    store = _library.aiCreatePropertyStore()
    for key, value in properties.items():
        _library.aiSetImportPropertyInteger(store, key.encode(), value)
    try:
        scene = _library.aiImportFileExWithProperties(name.encode(), flags, c.byref(files.interface), store)
    finally:
        _library.aiReleasePropertyStore(store)
    if not scene:
        message = _library.aiGetErrorString().decode("utf-8", "replace").strip()
        if "alloc" in message:
            raise MemoryError(message)
        raise corrupt(message or "assimp gives no reason")
    try:
        yield scene.contents
    finally:
        _library.aiReleaseImport(scene)


def floats(address: int | None, count: int, width: int) -> NDArray[np.float32] | None:
    """A copy of ``count`` rows of ``width`` 32-bit numbers, or None for a null pointer."""
    if not address or not count:
        return None
    return np.ndarray((count, width), np.float32, (c.c_float * (count * width)).from_address(address)).copy()


def copied(address: int, size: int) -> bytes:
    """A copy of ``size`` bytes."""
    return c.string_at(address, size)


def faces(mesh: Mesh, size: int) -> NDArray[np.uint32]:
    """A copy of the mesh's faces (n, size); those with another number of corners are left out."""
    if not mesh.face_count or not mesh.faces:
        return np.zeros((0, size), np.uint32)
    raw = np.ndarray(
        (mesh.face_count, 2), np.uint64, (c.c_uint64 * (2 * mesh.face_count)).from_address(mesh.faces)
    )
    pointers = raw[(raw[:, 0] & np.uint64(0xFFFFFFFF)) == size, 1].astype(np.int64)
    if not len(pointers):
        return np.zeros((0, size), np.uint32)
    # Each face has its own little allocation; one view over all of them lets numpy gather at once.
    low, high = int(pointers.min()), int(pointers.max())
    words = (high - low) // 4 + size
    heap = np.ndarray((words,), np.uint32, (c.c_uint32 * words).from_address(low))
    gathered: NDArray[np.uint32] = heap[((pointers - low) // 4)[:, None] + np.arange(size)]
    return gathered


def _property(one: MaterialProperty) -> Any:
    raw = c.string_at(one.data, one.length)
    if one.type == 3:  # text: its length, its characters, a zero
        return raw[4 : 4 + int.from_bytes(raw[:4], "little")].decode("utf-8", "replace")
    kind = {1: np.float32, 2: np.float64, 4: np.int32}.get(one.type, np.uint8)
    itemsize = np.dtype(kind).itemsize
    return np.frombuffer(raw[: len(raw) // itemsize * itemsize], kind).tolist()
