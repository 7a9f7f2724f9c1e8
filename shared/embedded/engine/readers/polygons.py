"""Polygons as triangles: a fan where one is convex, ears cut off where it is not."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Corners = NDArray[np.intp]
Points = NDArray[np.float64]

# Cutting ears takes the square of the corners: larger polygons, and those past the budget of a model,
# become fans whatever their shape.
_MOST_CORNERS = 4096
_BUDGET = 200_000_000
_BATCH = 2**18
_DEAD, _REFLEX, _FLAT, _EAR = -1, 0, 1, 2


def triangles(counts: NDArray[np.int64], places: Points, rows: NDArray[np.integer]) -> tuple[Corners, int]:
    """The corners (n, 3) of the triangles of polygons that have ``counts`` corners each, one after the
    other, a corner at each of those ``rows`` of ``places`` (m, 3); and how many polygons were too large to
    be looked at. Those of fewer than three corners have no triangles."""
    starts = np.cumsum(counts) - counts
    made: list[Corners] = []
    budget, large = _BUDGET, 0
    for size in np.flatnonzero(np.bincount(counts[counts > 2])).tolist():
        polygons = starts[counts == size, None] + np.arange(size)
        if size == 3:
            made.append(polygons)
            continue
        for some in _batches(polygons, size):
            hollow = ~_convex(places[rows[some]])
            cost = int(hollow.sum()) * size * size
            if cost and (size > _MOST_CORNERS or cost > budget):
                large += int(hollow.sum())
                hollow[:] = False
            elif cost:
                budget -= cost
                made.append(_without_ears(some[hollow], places[rows[some[hollow]]]))
            made.append(_fans(some[~hollow]))
    return (np.concatenate(made) if made else np.zeros((0, 3), np.intp)), large


def _batches(polygons: Corners, size: int) -> Iterator[Corners]:
    step = max(_BATCH // size, 1)
    for start in range(0, len(polygons), step):
        yield polygons[start : start + step]


def _fans(polygons: Corners) -> Corners:
    count, size = polygons.shape
    first = np.broadcast_to(polygons[:, :1], (count, size - 2))
    return np.stack([first, polygons[:, 1:-1], polygons[:, 2:]], axis=2).reshape(-1, 3)


def _convex(points: Points) -> NDArray[np.bool_]:
    """Whether each polygon, points (n, size, 3), turns one way only. What is no number counts as convex."""
    with np.errstate(invalid="ignore", over="ignore"):
        edges = np.roll(points, -1, axis=1) - points
        turns = np.cross(edges, np.roll(edges, -1, axis=1))
        along = np.einsum("nsk,nk->ns", turns, _normals(points))
        limit = -1e-12 * np.abs(along).max(axis=1)
        return np.asarray(~(along.min(axis=1) < limit))


def _normals(points: Points) -> Points:
    spokes = points[:, 1:] - points[:, :1]
    return np.cross(spokes[:, :-1], spokes[:, 1:]).sum(axis=1)


def _without_ears(polygons: Corners, points: Points) -> Corners:
    cut = _Ears(_flat(points)).cut()
    return polygons[np.arange(len(polygons))[:, None, None], cut].reshape(-1, 3)


def _flat(points: Points) -> Points:
    """Polygons (n, size, 3) as (n, size, 2) that turn left, seen along the axis they face most."""
    normals = _normals(points)
    axis = np.abs(normals).argmax(axis=1)
    rows = np.arange(len(points))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    backwards = normals[rows, axis] < 0
    first, second = np.where(backwards, second, first), np.where(backwards, first, second)
    return np.stack([points[rows, :, first], points[rows, :, second]], axis=2)


class _Ears:
    """Cuts one ear after the other off polygons of one size, all at a time. A corner is an ear if it turns
    left, and no corner that is left lies within its triangle."""

    def __init__(self, points: Points) -> None:
        """``points`` (n, size, 2) turn left."""
        count, size, _ = points.shape
        self._points = points
        self._rows = np.arange(count)
        self._before = np.tile(np.arange(size) - 1, (count, 1)) % size
        self._after = np.tile(np.arange(size) + 1, (count, 1)) % size
        self._what = np.zeros((count, size), np.int8)
        for corner in range(size):
            self._look_at(np.full(count, corner))

    def cut(self) -> Corners:
        """The corners (n, size - 2, 3) of the triangles."""
        size = self._what.shape[1]
        made = []
        for _ in range(size - 3):
            # A polygon that crosses itself may have no ear; then any corner is taken.
            corner = self._what.argmax(axis=1)
            before, after = self._before[self._rows, corner], self._after[self._rows, corner]
            made.append(np.stack([before, corner, after], axis=1))
            self._after[self._rows, before] = after
            self._before[self._rows, after] = before
            self._what[self._rows, corner] = _DEAD
            self._look_at(before)
            self._look_at(after)
        last = (self._what > _DEAD).argmax(axis=1)
        second = self._after[self._rows, last]
        made.append(np.stack([last, second, self._after[self._rows, second]], axis=1))
        return np.stack(made, axis=1)

    def _look_at(self, corner: Corners) -> None:
        """Note of one corner of each polygon what it is."""
        x, y = self._points[:, :, 0], self._points[:, :, 1]
        places = (self._before[self._rows, corner], corner, self._after[self._rows, corner])
        triangle = [(x[self._rows, one, None], y[self._rows, one, None]) for one in places]
        inside = self._what > _DEAD
        for (from_x, from_y), (to_x, to_y) in zip(triangle, triangle[1:] + triangle[:1], strict=True):
            inside &= (to_x - from_x) * (y - from_y) > (to_y - from_y) * (x - from_x)
        (ax, ay), (bx, by), (cx, cy) = triangle
        turn = ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))[:, 0]
        what = np.where(turn > 0, _EAR, np.where(turn == 0, _FLAT, _REFLEX))
        what[inside.any(axis=1)] = _REFLEX
        self._what[self._rows, corner] = what
