"""KHR_draco_mesh_compression, decoded by DracoPy where triangles are needed; a GLB keeps its bytes."""

from typing import Any

import DracoPy
import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt


def decode_draco(data: bytes) -> tuple[dict[int, NDArray[Any]], NDArray[np.uint32]]:
    """Attributes by their Draco id, each (n, width), and triangles (m, 3).

    Raises `Problem` `corrupt-model`."""
    try:
        mesh = DracoPy.decode(data)
        attributes = {one["unique_id"]: np.asarray(one["data"]) for one in mesh.attributes}
        faces = np.asarray(mesh.faces, np.uint32).reshape(-1, 3)
    except (DracoPy.FileTypeException, ValueError, AttributeError, RuntimeError) as error:
        raise corrupt(f"a mesh with KHR_draco_mesh_compression is damaged ({error})") from error
    return attributes, faces
