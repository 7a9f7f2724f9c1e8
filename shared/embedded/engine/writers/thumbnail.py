"""A picture of the model on the CPU: rays by Embree, two by two per pixel, on a transparent ground."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.random import default_rng
from numpy.typing import NDArray
from PIL import Image

from shared.embedded.engine import pillow
from shared.embedded.engine.decode import Part
from shared.embedded.engine.document import Document
from shared.embedded.engine.scene import Floats
from shared.embedded.engine.writers.camera import VIEWS, Camera, frame
from shared.embedded.engine.writers.geometry import Geometry, gather, join, ribbons
from shared.embedded.engine.writers.shading import Shader, unit

# Processor time that the rays of one picture may take; a model that needs more gets fewer rays, and
# then so few that it takes less than the second: what is just over the first gets no worse for little.
_MOST_SECONDS, _REDUCED_SECONDS = 20.0, 6.0
_SLIVER = 0.06  # a model that covers less of the picture is looked at from other sides too
_LAYERS = 6  # transparent surfaces that are seen through
_PROBES = 3  # rays per sample that ask how open its surroundings are


def write(document: Document, parts: Iterable[Part], path: Path, width: int, height: int) -> None:
    """Render ``width`` x ``height`` pixels as PNG, or as JPEG on white where the name of ``path`` says so.
    Raises `Problem` if there is nothing to see."""
    geometry, thin = gather(document, parts)
    points = np.concatenate([geometry.corners.reshape(-1, 3), *(_ends(part) for part in thin)])
    # Embree works in 32 bits: a model far from the origin, or in microns, is brought to unit size.
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    middle, size = (low + high) / 2, float((high - low).max()) or 1.0
    _normalize(geometry, thin, middle, size)
    points = ((points - middle) / size).astype(np.float32)
    camera, pace = _best_camera(geometry, points, width, height)
    if thin:
        geometry = join([geometry, *(ribbons(part, camera.axes, _breadth(part)) for part in thin)])
    effort = _effort(pace, width * height)
    picture = _render(document, geometry, camera, width // effort.shrink, height // effort.shrink, effort)
    image = Image.fromarray(picture, "RGBA")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    pillow.save(image, path)


def scale(source: Path, path: Path, width: int, height: int) -> None:
    """A smaller picture of one that was rendered."""
    with Image.open(source) as image:
        image.resize((width, height), Image.Resampling.BOX).save(path, "PNG")


class _Effort(NamedTuple):
    """Samples per pixel each way; whether shadows are looked for; how much smaller to render."""

    samples: int
    shadows: bool
    shrink: int


_EFFORTS = (
    _Effort(2, True, 1),
    _Effort(1, True, 1),
    _Effort(1, False, 1),
    _Effort(1, False, 2),
    _Effort(1, False, 4),
)


def _effort(pace: float, pixels: int) -> _Effort:
    """The best that fits the time, where a ray takes ``pace`` seconds.

    Surfaces that lie inside each other, as shells do, give a ray all of them to meet: thousands of
    times the work of others."""
    for effort, seconds in zip(_EFFORTS, (_MOST_SECONDS, *[_REDUCED_SECONDS] * len(_EFFORTS)), strict=False):
        rays = pixels * effort.samples**2 / effort.shrink**2 * (2 + (2 + _PROBES) * effort.shadows)
        if rays * pace <= seconds:
            return effort
    return _EFFORTS[-1]


def _best_camera(geometry: Geometry, points: Floats, width: int, height: int) -> tuple[Camera, float]:
    """The usual camera; where the model is but a sliver from there, the one that sees most of it.
    And the seconds that a ray takes."""
    best, seen, pace = frame(points, width, height), 0.0, 0.0
    if len(geometry.corners) == 0:
        return best, pace
    scene = _scene(geometry)
    for view in VIEWS:
        camera = frame(points, width, height, view)
        directions = camera.rays(width // 4, height // 4)
        origins = np.broadcast_to(camera.position.astype(np.float32), directions.shape).copy()
        started = time.thread_time()
        covered = float((scene.run(origins, directions, query="INTERSECT") >= 0).mean())
        pace = max(pace, (time.thread_time() - started) / len(directions))
        if covered > seen:
            best, seen = camera, covered
        if seen >= _SLIVER:
            break
    return best, pace


def _scene(geometry: Geometry) -> EmbreeScene:
    scene = EmbreeScene(robust=True)
    TriangleMesh(scene, np.ascontiguousarray(geometry.corners))
    return scene


def _ends(part: Part) -> Floats:
    return part.positions[part.indices.ravel()]


def _normalize(geometry: Geometry, thin: list[Part], middle: NDArray[np.float64], size: float) -> None:
    geometry.corners = ((geometry.corners - middle) / size).astype(np.float32)
    for part in thin:
        part.positions = ((part.positions - middle) / size).astype(np.float32)


def _breadth(part: Part) -> float:
    """How wide a line or point is drawn, where the model's size is 1: many points are small."""
    if part.kind == "lines":
        return 0.004
    return float(np.clip(0.7 / np.sqrt(len(part.indices)), 0.004, 0.03))


def _render(
    document: Document, geometry: Geometry, camera: Camera, width: int, height: int, effort: _Effort
) -> NDArray[np.uint8]:
    scene = _scene(geometry)
    shader = Shader(document, geometry, camera.axes)
    wide, high = width * effort.samples, height * effort.samples
    directions = camera.rays(wide, high)
    origins = np.broadcast_to(camera.position.astype(np.float32), directions.shape).copy()
    color = np.zeros((len(directions), 3), np.float32)
    clear = np.ones(len(directions), np.float32)  # what still shines through
    active = np.arange(len(directions))
    for layer in range(_LAYERS):
        hit = scene.run(origins[active], directions[active], query="INTERSECT", output=True)
        found = hit["primID"] >= 0
        active = active[found]
        if len(active) == 0:
            break
        u, v = hit["u"][found], hit["v"][found]
        weights = np.column_stack([1 - u - v, u, v])
        triangles = hit["primID"][found].astype(np.int64)
        places = origins[active] + directions[active] * hit["tfar"][found][:, None]
        towards = -directions[active]
        normals = shader.normals(triangles, weights, towards)
        lit, open_ = np.ones(len(active), np.float32), np.ones(len(active), np.float32)
        if layer == 0 and effort.shadows:
            # The key light is a lamp beside the model, not a sun: what is nearer to it is brighter.
            falloff = np.clip(1 + 0.5 * (places @ shader.key), 0.4, 1.6)
            lit, open_ = _shadows(scene, shader, places, normals, active, wide, high)
            lit = lit * falloff
        shaded, alpha = shader.shade(triangles, weights, towards, lit, open_)
        color[active] += shaded * (clear[active] * alpha)[:, None]
        clear[active] *= 1 - alpha
        origins[active] = places + directions[active] * 1e-4
        active = active[clear[active] > 0.01]
    return _picture(color, 1 - clear, width, height, effort.samples)


def _shadows(
    scene: EmbreeScene,
    shader: Shader,
    places: Floats,
    normals: Floats,
    active: NDArray[np.int64],
    wide: int,
    high: int,
) -> tuple[Floats, Floats]:
    """How much of the key light and of the surroundings each hit gets, each (n,) within 0..1.

    Soft, cheaply: every sample sends a few rays of its own, and neighbours share their answers."""
    random = default_rng(1)  # fixed, so that a model has one picture
    starts = (places + normals * 2e-3).astype(np.float32)
    count = len(active)
    lit = np.zeros(count, np.float32)
    for _ in range(2):
        aim = shader.key + random.normal(0, 0.12, (count, 3))
        lit += _free(scene, starts, aim, None)
    open_ = np.zeros(count, np.float32)
    for _ in range(_PROBES):
        spread = random.normal(size=(count, 3))
        spread /= np.linalg.norm(spread, axis=1, keepdims=True)
        open_ += _free(scene, starts, normals * 1.001 + spread, 0.35)
    return (
        _shared(0.15 + 0.85 / 2 * lit, active, wide, high, 2),
        _shared(0.3 + 0.7 / _PROBES * open_, active, wide, high, 4),
    )


def _free(scene: EmbreeScene, starts: Floats, aim: NDArray[np.float64], reach: float | None) -> Floats:
    """1 where a ray meets nothing (within ``reach``), else 0."""
    directions = unit(aim)
    if reach is None:
        blocked = scene.run(starts, directions, query="OCCLUDED")
    else:
        far = np.full(len(starts), reach, np.float32)
        blocked = scene.run(starts, directions, dists=far, query="OCCLUDED")
    return (np.asarray(blocked) < 0).astype(np.float32)


def _shared(values: Floats, active: NDArray[np.int64], wide: int, high: int, reach: int) -> Floats:
    """The mean over hits within ``reach`` samples each way."""
    total = np.zeros(wide * high, np.float64)
    weight = np.zeros(wide * high, np.float64)
    total[active], weight[active] = values, 1
    sums = [_boxed(grid.reshape(high, wide), reach).ravel()[active] for grid in (total, weight)]
    return (sums[0] / sums[1]).astype(np.float32)


def _boxed(grid: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Sums over squares of 2 * reach + 1 on each side, by cumulative sums."""
    for axis in (0, 1):
        padded = np.pad(grid, [(reach + 1, reach) if one == axis else (0, 0) for one in (0, 1)])
        sums = np.cumsum(padded, axis=axis)
        upper = np.take(sums, range(2 * reach + 1, sums.shape[axis]), axis=axis)
        lower = np.take(sums, range(sums.shape[axis] - 2 * reach - 1), axis=axis)
        grid = upper - lower
    return grid


def _picture(color: Floats, alpha: Floats, width: int, height: int, samples_: int) -> NDArray[np.uint8]:
    """Samples (linear, premultiplied) as 8-bit RGBA, averaged per pixel."""
    # A gentle shoulder keeps highlights from turning into white patches.
    toned = color / np.maximum(alpha, 1e-4)[:, None]
    toned = np.where(toned > 0.7, 0.7 + 0.3 * (1 - np.exp(-(toned - 0.7) / 0.3)), toned) * alpha[:, None]
    samples = np.column_stack([toned, alpha])
    pixels = samples.reshape(height, samples_, width, samples_, 4).mean(axis=(1, 3))
    opacity = pixels[..., 3:]
    straight = np.clip(pixels[..., :3] / np.maximum(opacity, 1e-4), 0, 1)
    encoded = np.where(straight <= 0.0031308, straight * 12.92, 1.055 * straight ** (1 / 2.4) - 0.055)
    return np.rint(np.concatenate([encoded, np.clip(opacity, 0, 1)], axis=-1) * 255).astype(np.uint8)
