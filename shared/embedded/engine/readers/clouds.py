"""Clouds of points: LAS and LAZ by laspy and lazrs, E57 by pye57, XYZ by numpy."""

import contextlib
import io
import os
import re
import struct
import warnings
from collections.abc import Iterator
from typing import Any

import laspy
import numpy as np
import pye57
from lazrs import LazrsError
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.readers.assimp import Imported
from shared.embedded.engine.scene import Floats, Matrix, Mesh, Node, Primitive, Scene, linear, upright

_CHUNK = 1_000_000
# What laspy stumbles over in a damaged file.
_LAS_FAULTS = (
    laspy.errors.LaspyException, LazrsError, struct.error, ValueError, TypeError, LookupError,
    ArithmeticError, EOFError, AttributeError,
)  # fmt: skip

# GeoTIFF's key of the unit of projected coordinates, and EPSG's codes of units.
_LINEAR_UNIT_KEY = 3076
_EPSG_UNITS = {9001: (1.0, "m"), 9002: (0.3048, "ft"), 9003: (1200 / 3937, "ftUS")}
_WKT_UNIT = re.compile(r'(?:LENGTHUNIT|UNIT)\s*\[\s*"([^"]+)"\s*,\s*([\d.eE+-]+)')


def centred(clouds: list[NDArray[np.float64]]) -> Matrix:
    """The shift (3,) to take off coordinates so that 32 bits can hold them: zero where they can."""
    low = np.min([cloud.min(axis=0) for cloud in clouds], axis=0)
    high = np.max([cloud.max(axis=0) for cloud in clouds], axis=0)
    far = float(np.abs([low, high]).max())
    if not np.isfinite(far) or far <= 2**10:
        return np.zeros(3)
    return np.asarray(np.floor((low + high) / 2))


def read_las(data: bytes, name: str) -> tuple[Imported, str | None]:
    """The points, z-up turned into y-up, in metres where the file says its unit.

    Raises `Problem` `corrupt-model`."""
    _check_records(data)
    try:
        with laspy.open(io.BytesIO(data)) as reader:
            header = reader.header
            _check_count(header, len(data))
            places, colors, count = [], [], 0
            for chunk in reader.chunk_iterator(_CHUNK):
                places.append(np.column_stack([chunk.x, chunk.y, chunk.z]))
                colors.append(_las_colors(chunk))
                count += len(chunk)
    except _LAS_FAULTS as error:
        raise corrupt(f"its points cannot be read ({error})") from error
    except BaseException as error:
        # lazrs is Rust: what it did not expect, a damaged file, is a panic, not an exception.
        if type(error).__name__ != "PanicException":
            raise
        raise corrupt(f"its points cannot be unpacked ({error})") from None
    if not count:
        raise corrupt("it holds no points")
    factor, unit = _las_unit(header)
    shades = np.concatenate(colors)
    return Imported(_cloud(name, np.concatenate(places), _stretched(shades), upright(factor)), []), unit


def _check_records(data: bytes) -> None:
    """laspy reads as many records as the header says there are, past the end of the file, for hours."""
    if data[:4] != b"LASF" or len(data) < 227:
        raise corrupt("it does not start with a LAS header")
    start, count = struct.unpack_from("<II", data, 96)
    extended_start, extended = 0, 0
    if data[25] >= 4 and len(data) >= 247:
        extended_start, extended = struct.unpack_from("<QI", data, 235)
    if count * 54 > len(data) or extended_start + extended * 60 > len(data) or start > len(data):
        raise corrupt(f"its header says {count + extended} records, more than its {len(data)} bytes hold")


def _check_count(header: Any, size: int) -> None:
    stated = header.point_count
    if not header.are_points_compressed and stated * header.point_format.size > size:
        raise corrupt(f"it is cut off: {stated} points are more than its {size} bytes can hold")


def _las_colors(chunk: Any) -> NDArray[Any]:
    """Colours (n, 3), or brightness (n, 1) where there are none."""
    if "red" in chunk.point_format.dimension_names:
        return np.column_stack([chunk.red, chunk.green, chunk.blue])
    return np.asarray(chunk.intensity)[:, None]


def _stretched(values: NDArray[Any]) -> NDArray[np.float32] | None:
    """Values of unsaid range as 0..1; None where they say nothing.

    Colours are of 8 bits when none is over 255; brightness has any range, and is stretched."""
    top = int(values.max(initial=0))
    if top == 0:
        return None
    if values.shape[1] == 3:
        return np.asarray(values / np.float32(255 if top <= 255 else 65535), np.float32)
    low, high = np.percentile(values, (1, 99))
    if high <= low:
        return None
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)


def _las_unit(header: Any) -> tuple[float, str | None]:
    for record in (*header.vlrs, *(header.evlrs or ())):
        for key in getattr(record, "geo_keys", None) or ():
            if key.id == _LINEAR_UNIT_KEY and key.value_offset in _EPSG_UNITS:
                return _EPSG_UNITS[key.value_offset]
    for record in (*header.vlrs, *(header.evlrs or ())):
        text = getattr(record, "string", "") or ""
        start = max(text.find("PROJCS["), text.find("PROJCRS["))
        if start >= 0:
            # After the unit of angles of the ellipsoid comes that of the plane; heights come later.
            plane = re.split(r"VERT_?C[RS]S?\[", text[start:])[0]
            found = [unit for unit in _WKT_UNIT.findall(plane) if "deg" not in unit[0].lower()]
            with contextlib.suppress(ValueError):
                if found and 1e-6 < float(found[-1][1]) < 1e6:
                    return float(found[-1][1]), found[-1][0]
    return 1.0, None


def read_e57(data: bytes, name: str) -> Imported:
    """The scans, each at its pose, in metres, z-up turned into y-up. Raises `Problem` `corrupt-model`."""
    scene, top = Scene(), Node(name, upright(1.0))
    with _as_path(data) as path:
        try:
            with contextlib.closing(pye57.E57(path)) as file:
                for index in range(file.scan_count):
                    _add_scan(scene, top, file, index)
        except (pye57.libe57.E57Exception, ValueError, KeyError, RuntimeError, AttributeError) as error:
            raise corrupt(f"its E57 scans cannot be read ({error})") from error
    if not scene.meshes:
        raise corrupt("it holds no points")
    scene.roots = [top]
    return Imported(scene, [])


def _add_scan(scene: Scene, top: Node, file: Any, index: int) -> None:
    header = file.get_header(index)
    found = file.read_scan(index, intensity=True, colors=True, ignore_missing_fields=True, transform=False)
    places = np.column_stack([found[f"cartesian{axis}"] for axis in "XYZ"]).astype(np.float64)
    if not len(places):
        return
    shades: NDArray[Any] | None = None
    if "colorRed" in found:
        shades = _stretched(np.column_stack([found[f"color{one}"] for one in ("Red", "Green", "Blue")]))
    elif "intensity" in found:
        bright = np.nan_to_num(np.asarray(found["intensity"], np.float64))[:, None]
        shades = _stretched(np.rint((bright - bright.min()) * 65535 / (np.ptp(bright) or 1)).astype(np.int64))
    pose = np.eye(4)
    if header.has_pose():
        pose[:3, :3], pose[:3, 3] = header.rotation_matrix, np.asarray(header.translation)
    name = str(header["name"].value()) if "name" in header.scan_fields else f"scan {index + 1}"
    cloud = _cloud(name, places, shades, pose)
    cloud.roots[0].mesh = len(scene.meshes)
    scene.meshes += cloud.meshes
    top.children += cloud.roots


@contextlib.contextmanager
def _as_path(data: bytes) -> Iterator[str]:
    """A path to the bytes for a library that only opens paths; there is no file."""
    descriptor = os.memfd_create("scan")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def read_xyz(data: bytes, name: str) -> Imported:
    """Lines of x y z, perhaps with a colour (0..255), a normal, or a brightness. Units and axes are as
    they are in the file. Raises `Problem` `corrupt-model`."""
    rows = _rows(data)
    if rows is None or not len(rows):
        raise corrupt("it holds no lines of three numbers or more")
    rest = rows[:, 3:]
    shades: NDArray[Any] | None = None
    normals: Floats | None = None
    if rest.shape[1] >= 3:
        first, last = rest[:, :3], rest[:, -3:]
        if _is_color(first):
            shades = (first / 255).astype(np.float32)
        elif _is_color(last):
            shades = (last / 255).astype(np.float32)
        if _is_normal(last):
            normals = last.astype(np.float32)
        elif _is_normal(first):
            normals = first.astype(np.float32)
    elif rest.shape[1] and np.isfinite(rest).all():
        shades = _stretched(np.rint((rest[:, :1] - rest[:, :1].min()) * 1000).astype(np.int64))
    scene = _cloud(name, rows[:, :3], shades, np.eye(4))
    scene.meshes[0].primitives[0].normals = normals
    return Imported(scene, [])


_COMMENT = re.compile(rb"[ \t]*(#|//|[A-Za-z])")


def _rows(data: bytes) -> NDArray[np.float64] | None:
    """The numbers by lines, all as wide as the first line of three or more."""
    text = data.removeprefix(b"\xef\xbb\xbf").translate(bytes.maketrans(b",;\t", b"   "))
    lines = text.splitlines()
    lines = [line for line in lines if line and not _COMMENT.match(line)]
    width = next((count for line in lines if (count := len(line.split())) >= 3), 0)
    if not width:
        return None
    values = _numbers(b"\n".join(lines))
    if (
        values is not None
        and len(values) % width == 0
        and all(len(line.split()) == width for line in lines[:99])
    ):
        return values.reshape(-1, width)
    good = []
    for line in lines:
        words = line.split()
        if len(words) == width:
            with contextlib.suppress(ValueError):
                good.append([float(word) for word in words])
    return np.array(good, np.float64).reshape(-1, width)


def _numbers(text: bytes) -> NDArray[np.float64] | None:
    """All numbers of a text, or None where something else is among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(text, np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            return None


def _is_color(values: NDArray[np.float64]) -> bool:
    return (
        bool(((values >= 0) & (values <= 255)).all()) and float(values.max()) > 1 and not _is_normal(values)
    )


def _is_normal(values: NDArray[np.float64]) -> bool:
    lengths = np.linalg.norm(values, axis=1)
    return bool((np.abs(lengths - 1) < 0.05).mean() > 0.9)


def _cloud(name: str, places: NDArray[np.float64], shades: Any, matrix: Matrix) -> Scene:
    """Points at ``places`` (n, 3), with sRGB-encoded colours (n, 3) or brightness (n, 1) or None."""
    good = np.isfinite(places).all(axis=1)
    if not good.any():
        raise corrupt("none of its points has a place")
    middle = centred([places[good]])
    matrix = matrix.copy()
    matrix[:3, 3] += matrix[:3, :3] @ middle
    colors = None
    if shades is not None:
        colors = np.ones((len(places), 4), np.float32)
        colors[:, :3] = linear(shades)
    primitive = Primitive((places - middle).astype(np.float32), None, "points", colors=colors)
    return Scene([Node(name, matrix, 0)], [Mesh(name, [primitive])])
