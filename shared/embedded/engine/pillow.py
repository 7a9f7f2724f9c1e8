"""Pictures by their pixels: decoded within a limit, combined, scaled, written."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.images import UnreadableImage, for_gltf

#: A picture of more pixels than this is copied unread where possible, and otherwise left out.
MAX_PIXELS = 64 * 2**20
Pillow.MAX_IMAGE_PIXELS = None  # which would only warn at first; `_open` refuses
Pillow.preinit()  # the usual formats, which every child would load for itself


def as_png(data: bytes) -> tuple[bytes, str]:
    """The picture as a PNG. Raises `UnreadableImage`."""
    image = _open(data)
    return _png(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def pixels(data: bytes, side: int) -> NDArray[np.uint8]:
    """The picture as (height, width, 4) RGBA bytes, reduced to at most ``side`` pixels each way.

    Raises `UnreadableImage`."""
    image = _open(data, draft=side)
    image.thumbnail((side, side), Pillow.Resampling.BOX)
    return np.asarray(image.convert("RGBA"))


def has_alpha(data: bytes) -> bool:
    """Whether some pixel is not opaque. Raises `UnreadableImage`."""
    image = _open(data)
    return image.has_transparency_data and int(np.asarray(image.convert("RGBA"))[..., 3].min()) < 255


def with_alpha(data: bytes, mask: bytes) -> tuple[bytes, str]:
    """The picture with another one's brightness (or its alpha, if it has any) as its opacity."""
    cut = _open(mask)
    opacity = cut.convert("RGBA").getchannel("A") if cut.has_transparency_data else cut.convert("L")
    image = _open(data).convert("RGB")
    image.putalpha(opacity.resize(image.size))
    return _png(image)


def metallic_roughness(rough: tuple[bytes, str] | None, metal: tuple[bytes, str] | None) -> tuple[bytes, str]:
    """A picture with roughness in its green channel and metalness in its blue one, from one channel
    ("r", "g", "b", "a") of each of two; white where there is none. Raises `UnreadableImage`."""
    channels = [None if one is None else _channel(*one) for one in (rough, metal)]
    size = next(one.size for one in channels if one is not None)
    white = Pillow.new("L", size, 255)
    green, blue = (white if one is None else one.resize(size) for one in channels)
    return _png(Pillow.merge("RGB", (white, green, blue)))


def rough(data: bytes, exponent: float) -> tuple[bytes, str]:
    """A picture whose brightness scales Blinn-Phong's exponent, as roughness in the green channel, with no
    metal. Raises `UnreadableImage`."""
    scaled = exponent * np.arange(256) / 255
    # The roughness of the same width of highlight.
    levels = np.rint(np.clip(np.sqrt(2 / (scaled + 2)), 0.1, 1.0) * 255).astype(int).tolist()
    green = _open(data).convert("L").point(levels)
    zero = Pillow.new("L", green.size, 0)
    return _png(Pillow.merge("RGB", (zero, green, zero)))


def _channel(data: bytes, name: str) -> Pillow.Image:
    image = _open(data)
    if image.mode in ("L", "I;16", "1") and name != "a":
        return image.convert("L")
    return image.convert("RGBA").getchannel(name[:1].upper() if name[:1] in ("r", "g", "b", "a") else "R")


def as_normal_map(data: bytes) -> tuple[bytes, str]:
    """A normal map as it is; a grey height map as the normals of its slopes."""
    image = _open(data)
    small = np.asarray(image.convert("RGB").resize((64, 64)), np.float64) / 255
    if np.ptp(small, axis=2).max() > 0.15:  # coloured, so it already holds directions
        return for_gltf(data)
    height = np.asarray(image.convert("L"), np.float32) / 255
    # Neighbours wrap around, as repeating textures do; the strength is a mild relief.
    down = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) * 2
    right = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) * 2
    normals = np.stack([-right, down, np.ones_like(height)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return _png(Pillow.fromarray(np.rint((normals * 0.5 + 0.5) * 255).astype(np.uint8), "RGB"))


def resize(data: bytes, path: Path, size: Mapping[str, object]) -> None:
    """Write a picture as PNG or JPEG, as the name of ``path`` says, as it is meant to be seen, with the
    ``width`` and ``height`` given; one of them alone keeps the proportions.

    Raises `Problem` for what is no picture."""
    try:
        image = _open(data)
    except UnreadableImage as error:
        raise corrupt(f"it is no picture that can be read ({error})") from None
    image = ImageOps.exif_transpose(image)
    width, height = size.get("width"), size.get("height")
    if isinstance(width, int) or isinstance(height, int):
        wide = width if isinstance(width, int) else round(image.width * _ratio(height, image.height))
        high = height if isinstance(height, int) else round(image.height * _ratio(width, image.width))
        mode = "RGBA" if image.has_transparency_data else "RGB"
        image = image.convert(mode).resize((max(wide, 1), max(high, 1)), Pillow.Resampling.LANCZOS)
    save(image, path)


def _ratio(wanted: object, given: int) -> float:
    assert isinstance(wanted, int)
    return wanted / given


def save(image: Pillow.Image, path: Path) -> None:
    """Write a picture as PNG, or as JPEG, which has no transparency: what shines through is white."""
    if path.suffix == ".png":
        is_plain = image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
        (image if is_plain else image.convert("RGB")).save(path, "PNG")
        return
    if image.has_transparency_data:
        white = Pillow.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    image.convert("RGB").save(path, "JPEG", quality=90)


def _png(image: Pillow.Image) -> tuple[bytes, str]:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue(), "image/png"


def _open(data: bytes, draft: int | None = None) -> Pillow.Image:
    try:
        image: Pillow.Image = Pillow.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImage(f"{image.width} x {image.height} pixels")
        if draft:
            image.draft("RGB", (draft, draft))  # a JPEG can be decoded at an eighth of its size
        image.load()
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise whatever their parsers stumble over
        raise UnreadableImage(str(error)) from error
    return image


def from_bgra(texels: bytes, width: int, height: int) -> bytes:
    """A PNG of raw pixels, four bytes each: blue, green, red, alpha."""
    image = Pillow.frombuffer("RGBA", (width, height), texels, "raw", "BGRA", 0, 1)
    return _png(image)[0]
