"""E57 by pye57: the scans at their poses, in metres, z-up turned into y-up."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pye57
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.readers.clouds import cloud, stretched
from shared.embedded.engine.scene import Imported, Node, Scene, upright


def read(data: bytes, name: str) -> Imported:
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
        shades = stretched(np.column_stack([found[f"color{one}"] for one in ("Red", "Green", "Blue")]))
    elif "intensity" in found:
        bright = np.nan_to_num(np.asarray(found["intensity"], np.float64))[:, None]
        shades = stretched(np.rint((bright - bright.min()) * 65535 / (np.ptp(bright) or 1)).astype(np.int64))
    pose = np.eye(4)
    if header.has_pose():
        pose[:3, :3], pose[:3, 3] = header.rotation_matrix, np.asarray(header.translation)
    name = str(header["name"].value()) if "name" in header.scan_fields else f"scan {index + 1}"
    scan = cloud(name, places, shades, pose)
    scan.roots[0].mesh = len(scene.meshes)
    scene.meshes += scan.meshes
    top.children += scan.roots


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
