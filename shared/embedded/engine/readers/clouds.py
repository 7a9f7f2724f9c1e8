"""What readers of points have in common."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.scene import Matrix, Mesh, Node, Primitive, Scene, linear


def centred(clouds: list[NDArray[np.float64]]) -> Matrix:
    """The shift (3,) to take off coordinates so that 32 bits can hold them: zero where they can."""
    low = np.min([cloud.min(axis=0) for cloud in clouds], axis=0)
    high = np.max([cloud.max(axis=0) for cloud in clouds], axis=0)
    far = float(np.abs([low, high]).max())
    if not np.isfinite(far) or far <= 2**10:
        return np.zeros(3)
    return np.asarray(np.floor((low + high) / 2))


def stretched(values: NDArray[Any]) -> NDArray[np.float32] | None:
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


def cloud(name: str, places: NDArray[np.float64], shades: Any, matrix: Matrix) -> Scene:
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
