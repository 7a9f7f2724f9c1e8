"""LAS and LAZ by laspy and lazrs: z-up turned into y-up, in metres where the file says its unit."""

import contextlib
import io
import re
import struct
from typing import Any

import numpy as np
from lazrs import LazrsError
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.libraries import hidden
from shared.embedded.engine.readers.clouds import cloud, stretched
from shared.embedded.engine.scene import Imported, upright

with hidden("requests"):  # for point clouds on the web
    import laspy

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


def read(data: bytes, name: str) -> tuple[Imported, str | None]:
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
    return Imported(cloud(name, np.concatenate(places), stretched(shades), upright(factor)), []), unit


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
