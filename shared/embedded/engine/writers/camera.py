"""Where a thumbnail is taken from: three quarters, a little from above, as close as the frame allows."""

from dataclasses import dataclass

import numpy as np

from shared.embedded.engine.scene import Floats, Matrix

#: Where from, best first; the others, along each axis, are for models that look too thin from there.
VIEWS = ((0.62, 0.42, 0.78), (0.25, 0.4, 0.9), (0.95, 0.3, 0.2), (0.16, 0.95, 0.2), (0.2, 0.25, 0.95))
_FIELD = np.tan(np.radians(30.0) / 2)
#: The part of the picture's shorter half that the model may reach, so that its border stays empty.
_FILL = 0.9


@dataclass(frozen=True, slots=True)
class Camera:
    """``axes`` rows are right, up and back (towards the viewer); ``slope`` is the tangent of half
    the field of view, horizontally and vertically."""

    position: Matrix
    axes: Matrix
    slope: tuple[float, float]

    def rays(self, width: int, height: int) -> Floats:
        """Unit directions (width * height, 3) through the middles of the pixels, row by row."""
        x = ((np.arange(width) + 0.5) / width * 2 - 1) * self.slope[0]
        y = (1 - (np.arange(height) + 0.5) / height * 2) * self.slope[1]
        grid = np.empty((height, width, 3), np.float32)
        grid[..., 0], grid[..., 1], grid[..., 2] = x[None, :], y[:, None], -1
        grid /= np.linalg.norm(grid, axis=-1, keepdims=True)
        return (grid.reshape(-1, 3) @ self.axes).astype(np.float32)


def frame(points: Floats, width: int, height: int, view: tuple[float, float, float] = VIEWS[0]) -> Camera:
    """The camera that sees all ``points`` (n, 3) as large as they fit, centred, from that side."""
    back = np.array(view) / np.linalg.norm(view)
    right = np.cross((0.0, 1.0, 0.0), back)
    right /= np.linalg.norm(right)
    axes = np.array([right, np.cross(back, right), back])
    seen = points.astype(np.float64) @ axes.T
    shorter = min(width, height)
    slopes = (_FIELD * width / shorter, _FIELD * height / shorter)
    # A point at (x, z) is inside when |x - x0| <= slope * (distance - z): both sides of that are
    # linear, so the closest camera and its shift follow from the largest sums.
    eye = np.zeros(3)
    for axis, slope in enumerate(slopes):
        tight = slope * _FILL
        right_most = (seen[:, axis] / tight + seen[:, 2]).max()
        left_most = (-seen[:, axis] / tight + seen[:, 2]).max()
        eye[axis] = tight * (right_most - left_most) / 2
        eye[2] = max(eye[2] if axis else -np.inf, (right_most + left_most) / 2)
    # Never inside the model, even if it is flat and seen edge-on.
    extent = float(np.ptp(seen, axis=0).max()) or 1.0
    eye[2] = max(eye[2], float(seen[:, 2].max()) + extent * 1e-3)
    return Camera(eye @ axes, axes, slopes)
