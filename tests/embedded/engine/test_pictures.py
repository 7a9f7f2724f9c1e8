"""Pictures of any size: of models, and of pictures."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.embedded.engine import convert as engine
from shared.embedded.engine.formats import check_output, file_name, picture_size
from shared.embedded.engine.job import Job, Output, Result
from shared.problems import Problem
from tests.embedded.models import obj


def convert(folder: Path, name: str, data: bytes, *outputs: Output) -> Result:
    for part in ("in", "out"):
        (folder / part).mkdir(exist_ok=True)
    (folder / "in" / name).write_bytes(data)
    return engine.convert(Job(str(folder / "in"), name, str(folder / "out"), outputs))


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 20), kind: str = "PNG", **more: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, **more).save(out, kind)
    return out.getvalue()


def opened(folder: Path, name: str) -> Image.Image:
    image = Image.open(folder / "out" / name)
    image.load()
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({}, (40, 20)),
        ({"width": 80, "height": 60}, (80, 60)),
        ({"width": 10}, (10, 5)),
        ({"height": 40}, (80, 40)),
        ({"height": 1}, (2, 1)),
    ],
)
def test_a_picture_is_resized(tmp_path: Path, size: dict[str, int], expected: tuple[int, int]) -> None:
    result = convert(tmp_path, "a.png", picture(), Output("png", "b.png", size), Output("jpg", "b.jpg", size))
    assert result.error is None
    assert [made.content_type for made in result.made] == ["image/png", "image/jpeg"]
    assert opened(tmp_path, "b.png").size == opened(tmp_path, "b.jpg").size == expected
    assert (opened(tmp_path, "b.png").format, opened(tmp_path, "b.jpg").format) == ("PNG", "JPEG")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_every_kind_of_picture_can_be_written(tmp_path: Path, mode: str) -> None:
    kind = "TIFF" if mode in ("CMYK", "I;16", "F") else "PNG"
    data = picture(mode, kind=kind)
    result = convert(
        tmp_path,
        f"a.{kind.lower()}",
        data,
        Output("png", "plain.png"),
        Output("jpg", "plain.jpg"),
        Output("png", "small.png", {"width": 4}),
    )
    assert result.error is None
    assert opened(tmp_path, "small.png").size == (4, 2)


def test_what_shines_through_is_white_as_jpeg_and_stays_as_png(tmp_path: Path) -> None:
    data = picture("RGBA", color=(255, 0, 0, 0))
    convert(tmp_path, "a.png", data, Output("jpg", "b.jpg"), Output("png", "b.png", {"width": 20}))
    assert opened(tmp_path, "b.jpg").getpixel((5, 5)) == (255, 255, 255)
    assert opened(tmp_path, "b.png").convert("RGBA").getchannel("A").getextrema() == (0, 0)


def test_a_photograph_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    convert(tmp_path, "a.jpg", picture(kind="JPEG"), Output("png", "before.png"))
    out = io.BytesIO()
    Image.new("RGB", (40, 20)).save(out, "JPEG", exif=exif)
    convert(tmp_path, "a.jpg", out.getvalue(), Output("png", "after.png"))
    assert opened(tmp_path, "before.png").size == (40, 20)
    assert opened(tmp_path, "after.png").size == (20, 40)


@pytest.mark.parametrize("data", [b"", b"no picture", picture()[:60]])
def test_a_damaged_picture_is_told(tmp_path: Path, data: bytes) -> None:
    result = convert(tmp_path, "a.png", data, Output("png", "b.png"))
    assert result.error is not None
    assert result.error.code == "corrupt-model"


def test_a_picture_is_made_into_no_model(tmp_path: Path) -> None:
    result = convert(tmp_path, "a.png", picture(), Output("glb", "b.glb"))
    assert result.error is not None
    assert result.error.code == "unsupported-output"


@pytest.mark.parametrize(
    ("size", "expected"), [({}, (800, 600)), ({"width": 30, "height": 20}, (30, 20)), ({"height": 9}, (9, 9))]
)
def test_a_model_is_rendered_in_any_size(
    tmp_path: Path, size: dict[str, int], expected: tuple[int, int]
) -> None:
    assert picture_size(size) == expected
    result = convert(tmp_path, "a.obj", obj(), Output("png", "b.png", size), Output("jpg", "b.jpg", size))
    assert result.error is None
    assert opened(tmp_path, "b.png").size == opened(tmp_path, "b.jpg").size == expected
    alpha = opened(tmp_path, "b.png").getchannel("A")
    assert alpha.getextrema() == (0, 255)
    assert min(opened(tmp_path, "b.jpg").getpixel((0, 0))) > 250  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, 1025, -1, 1.5, "10", True, None])
def test_a_size_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(Problem, match="a whole number from 1 to 1024"):
        check_output("png", {"width": value})


def test_a_picture_is_called_as_its_model() -> None:
    assert file_name("car", "png", {"width": 10}) == "car.png"
    assert file_name("car", "jpg", {}) == "car.jpg"
