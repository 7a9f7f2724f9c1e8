"""The samples' pictures, as PNG. Only sums, products, quotients and roots: those are the same on
every processor, where sine and exponential are not."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]


def planks() -> bytes:
    """Pine, its grain along u; repeats in both directions."""
    v, u = _grid(512, 512)
    bend = _noise(u, v, 2, 6, 11) - 0.5
    rings = _noise(u, v + 0.05 * bend, 3, 36, 12)
    fibres = _noise(u, v, 12, 192, 13)
    light = 0.55 * _noise(u, v, 2, 5, 14) + 0.3 * rings + 0.15 * fibres
    dark, pale = np.array([112, 66, 30]), np.array([222, 170, 108])
    rgb = dark + (pale - dark) * _contrast(light, 0.2, 0.8)[..., None]
    seams = _contrast(rings, 0.62, 0.78)[..., None]
    return _png(rgb - 34 * seams, colors=64)


def globe() -> bytes:
    """An invented planet, from the south pole below to the north pole above."""
    height, width = 256, 512
    v, u = _grid(height, width)
    latitude = (0.5 - v) * 180  # north is the first row
    ring = _cosine(latitude)
    x, y, z = ring * _cosine(u * 360 - 180), 1 - 2 * v, ring * _cosine(u * 360 - 270)
    land = sum(_noise3(x, y, z, 1.7 * 2**octave, 30 + octave) / 2**octave for octave in range(5)) / 1.9375
    height_above_sea = land - 0.5
    sea = np.array([24, 84, 150]) + height_above_sea[..., None] * np.array([180, 330, 380])
    ground = np.array([70, 118, 44]) + height_above_sea[..., None] * np.array([520, 220, 130])
    rgb = np.where((height_above_sea > 0)[..., None], ground, sea)
    cold = np.abs(v - 0.5) * 2 + 0.25 * (land - 0.5) > 0.86
    rgb = np.where(cold[..., None], np.array([240, 244, 248]), rgb)
    lines = (np.abs((u * 24 + 0.5) % 1 - 0.5) < 0.012) | (np.abs((v * 12 + 0.5) % 1 - 0.5) < 0.012)
    return _png(np.where(lines[..., None], rgb * 0.82, rgb), colors=96)


def tiles() -> bytes:
    """Four by four glazed tiles in two colours, with grout between them."""
    v, u = _grid(512, 512)
    column, row = np.floor(u * 4), np.floor(v * 4)
    even = (column + row) % 2 == 0
    tone = _hash(column, row, 41)[..., None] - 0.5
    rgb = np.where(even[..., None], np.array([226, 218, 200]), np.array([52, 92, 104])) + 22 * tone
    rgb = rgb + 14 * (_noise(u, v, 32, 32, 42) - 0.5)[..., None]
    edge = np.minimum(np.minimum(u * 4 % 1, 1 - u * 4 % 1), np.minimum(v * 4 % 1, 1 - v * 4 % 1))
    grout = np.array([128, 122, 114]) + 30 * (_noise(u, v, 64, 64, 43) - 0.5)[..., None]
    share = _contrast(edge, 0.018, 0.035)[..., None]
    return _png(grout + (rgb - grout) * share, colors=48)


def checks() -> bytes:
    """Eight by eight squares, orange and white, with a blue one below on the left; stored plainly."""
    row, column = np.indices((8, 8))
    rgb = np.where(((row + column) % 2 == 0)[..., None], np.array([230, 120, 30]), np.array([255, 255, 255]))
    rgb[7, 0] = (30, 80, 200)
    buffer = io.BytesIO()
    Image.fromarray(rgb.astype(np.uint8)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def _grid(height: int, width: int) -> tuple[Array, Array]:
    """v downwards and u to the right, at the middle of each pixel."""
    v, u = np.indices((height, width))
    return (v + 0.5) / height, (u + 0.5) / width


def _hash(x: Array, y: Array, seed: int) -> Array:
    """A number between 0 and 1 that belongs to a lattice point, and looks random."""
    number = x.astype(np.int64) * 374761393 + y.astype(np.int64) * 668265263 + seed * 2147483647
    number = (number ^ (number >> 13)) * 1274126177 & 0xFFFFFFFF
    number = (number ^ (number >> 16)) * 2654435761 & 0xFFFFFFFF
    return ((number ^ (number >> 15)) & 0xFFFF) / 65535


def _noise(u: Array, v: Array, columns: int, rows: int, seed: int) -> Array:
    """Smooth noise between 0 and 1 over a lattice that repeats."""
    x, y = u * columns, v * rows
    left, top = np.floor(x), np.floor(y)
    a, b = _smooth(x - left), _smooth(y - top)

    def at(dx: int, dy: int) -> Array:
        return _hash((left + dx) % columns, (top + dy) % rows, seed)

    above = at(0, 0) + (at(1, 0) - at(0, 0)) * a
    below = at(0, 1) + (at(1, 1) - at(0, 1)) * a
    return above + (below - above) * b


def _noise3(x: Array, y: Array, z: Array, frequency: float, seed: int) -> Array:
    """Smooth noise between 0 and 1 in space."""
    x, y, z = x * frequency + 64, y * frequency + 64, z * frequency + 64
    i, j, k = np.floor(x), np.floor(y), np.floor(z)
    a, b, c = _smooth(x - i), _smooth(y - j), _smooth(z - k)

    def layer(dz: int) -> Array:
        def at(dx: int, dy: int) -> Array:
            return _hash((i + dx) * 131 + (k + dz) * 1009, j + dy, seed)

        near = at(0, 0) + (at(1, 0) - at(0, 0)) * a
        far = at(0, 1) + (at(1, 1) - at(0, 1)) * a
        return near + (far - near) * b

    return layer(0) + (layer(1) - layer(0)) * c


def _smooth(t: Array) -> Array:
    return t * t * (3 - 2 * t)


def _contrast(values: Array, low: float, high: float) -> Array:
    return _smooth(np.clip((values - low) / (high - low), 0.0, 1.0))


def _cosine(degrees: Array) -> Array:
    """Bhaskara's approximation, good to 0.2 %: it needs no more than a quotient."""
    turned: Array = np.abs((degrees + 180) % 360 - 180)  # 0 to 180
    near: Array = np.where(turned > 90, 180 - turned, turned)
    cosine: Array = (32400 - 4 * near * near) / (32400 + near * near)
    return np.where(turned > 90, -cosine, cosine)


def _png(rgb: Array, colors: int) -> bytes:
    picture = Image.fromarray(np.clip(rgb + 0.5, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    picture.quantize(colors, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        buffer, "PNG", optimize=True
    )
    return buffer.getvalue()
