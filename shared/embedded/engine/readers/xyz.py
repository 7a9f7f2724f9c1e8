"""XYZ: lines of numbers. Units and axes are as they are in the file."""

import contextlib
import re
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.readers.clouds import cloud, stretched
from shared.embedded.engine.scene import Floats, Imported


def read(data: bytes, name: str) -> Imported:
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
        shades = stretched(np.rint((rest[:, :1] - rest[:, :1].min()) * 1000).astype(np.int64))
    scene = cloud(name, rows[:, :3], shades, np.eye(4))
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
