from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.embedded.engine.readers import polygons

L = [(0, 2), (0, 0), (2, 0), (2, 1), (1, 1), (1, 2)]
# A square with a square hole, cut open along a bridge whose ends are there twice.
RING = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)]


def _placed(flat: Sequence[tuple[float, float]], turn: int = 0) -> NDArray[np.float64]:
    """In the plane z = 0, or turned into one of the others."""
    return np.roll(np.array([(x, y, 0.0) for x, y in flat]), turn, axis=1)


def _split(*shapes: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """The triangles (n, 3, 3), and how many polygons were too large."""
    places = np.concatenate(shapes)
    counts = np.array([len(shape) for shape in shapes])
    corners, large = polygons.triangles(counts, places, np.arange(len(places)))
    return places[corners], large


def _areas(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """With their directions (n, 3)."""
    return np.asarray(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]) / 2)


def _star(points: int) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False)
    radii = np.where(np.arange(2 * points) % 2, 1.0, 3.0)
    return list(zip(radii * np.cos(angles), radii * np.sin(angles), strict=True))


@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize(("shape", "area"), [(L, 3.0), (RING, 12.0), (_star(12), None)])
def test_a_hollow_polygon_is_covered_once_and_faces_one_way(
    shape: Sequence[tuple[float, float]], area: float | None, turn: int
) -> None:
    x, y = np.array(shape).T
    exact = float(np.abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2))
    assert area is None or exact == area
    for flat in (shape, shape[::-1]):
        triangles, large = _split(_placed(flat, turn))
        assert (len(triangles), large) == (len(shape) - 2, 0)
        areas = _areas(triangles)
        assert np.linalg.norm(areas, axis=1).sum() == pytest.approx(exact)
        assert np.linalg.norm(areas.sum(axis=0)) == pytest.approx(exact)


def test_a_hollow_square_is_cut_where_it_is_hollow() -> None:
    for start in range(4):
        arrow = np.roll(_placed([(0, 0), (2, 1), (0, 2), (1, 1)]), start, axis=0)
        triangles, _ = _split(arrow)
        assert np.linalg.norm(_areas(triangles), axis=1).sum() == pytest.approx(1)


def test_convex_polygons_are_fans_and_small_ones_nothing() -> None:
    square = _placed([(0, 0), (1, 0), (1, 1), (0, 1)])
    triangles, _ = _split(square[:2], square, square[:1], square[:3])
    assert sorted(map(tuple, triangles[:, :, :2].reshape(3, 6).tolist())) == [
        (0, 0, 1, 0, 1, 1),
        (0, 0, 1, 0, 1, 1),
        (0, 0, 1, 1, 0, 1),
    ]


def test_a_polygon_too_large_to_be_looked_at_is_a_fan_and_counted() -> None:
    triangles, large = _split(_placed(_star(2100)), _placed(L))
    assert (len(triangles), large) == (4198 + 4, 1)


def test_many_large_polygons_use_up_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polygons, "_BUDGET", 3 * 36)
    triangles, large = _split(*[_placed(L)] * 3)
    assert (len(triangles), large) == (12, 0)
    triangles, large = _split(*[_placed(L)] * 4)
    assert (len(triangles), large) == (16, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_polygons_of_no_numbers_or_no_size_still_have_triangles(value: float) -> None:
    broken, bow = _placed(L), _placed([(0, 0), (2, 2), (2, 0), (0, 2), (1, 5)])
    broken[3, 0] = value
    triangles, _ = _split(broken, np.zeros((5, 3)), bow)
    assert len(triangles) == 4 + 3 + 3
