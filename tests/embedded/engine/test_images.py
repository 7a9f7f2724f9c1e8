import io
import zlib

import numpy as np
import pytest
from PIL import Image

from shared.embedded.engine import images, pillow
from shared.embedded.engine.images import UnreadableImage
from tests.embedded.models import png


def _encoded(pixels: object, mode: str, format_: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8), mode).save(out, format_)
    return out.getvalue()


def test_png_and_jpeg_stay_as_they_are() -> None:
    jpeg = _encoded(np.full((4, 4, 3), 90), "RGB", "JPEG")
    assert images.for_gltf(jpeg) == (jpeg, "image/jpeg")
    assert images.for_gltf(png()) == (png(), "image/png")


@pytest.mark.parametrize("format_", ["BMP", "GIF", "TIFF", "TGA", "WEBP"])
def test_other_pictures_become_png(format_: str) -> None:
    data, mime = images.for_gltf(_encoded(np.full((4, 4, 3), 90), "RGB", format_))
    assert mime == images.mime_of(data) == "image/png"
    assert pillow.pixels(data, 64)[0, 0, :3] == pytest.approx([90] * 3, abs=3)


@pytest.mark.parametrize("data", [b"", b"text", png()[:40] + b"\0" * 30, b"BM" + bytes(60)])
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        pillow.pixels(data, 64)


def test_a_picture_of_too_many_pixels_is_not_decoded() -> None:
    header = bytearray(png())
    header[16:24] = (20000).to_bytes(4, "big") * 2
    # The check sum of the changed header, so that only its size is wrong with it.
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    with pytest.raises(UnreadableImage, match="20000 x 20000"):
        pillow.pixels(bytes(header), 64)


def test_large_pictures_are_reduced() -> None:
    assert pillow.pixels(_encoded(np.zeros((300, 200, 3)), "RGB"), 100).shape == (100, 67, 4)


def test_a_grey_height_map_becomes_normals_and_a_normal_map_stays() -> None:
    ramp = np.tile(np.arange(64) * 4, (64, 1))
    data, _ = pillow.as_normal_map(_encoded(ramp, "L"))
    x, y, z = pillow.pixels(data, 64)[32, 32, :3].astype(int)
    assert x < 128 and y == 128 and z > 200  # a slope that rises to the right leans to the left
    normals = _encoded(np.full((8, 8, 3), (128, 128, 255)), "RGB")
    assert pillow.as_normal_map(normals) == (normals, "image/png")


def test_a_mask_becomes_the_opacity() -> None:
    mask = _encoded([[0, 255], [255, 255]], "L")
    data, _ = pillow.with_alpha(png((10, 20, 30), side=2), mask)
    assert pillow.has_alpha(data) and not pillow.has_alpha(png())
    assert pillow.pixels(data, 8)[0, :, 3].tolist() == [0, 255]


def test_raw_pixels_become_a_png() -> None:
    data = pillow.from_bgra(bytes([1, 2, 3, 255]) * 6, 3, 2)
    assert pillow.pixels(data, 8)[1, 2].tolist() == [3, 2, 1, 255]
