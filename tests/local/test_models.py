"""Which files go up with a model."""

from pathlib import Path

import pytest

from local.models import NoModel, parts


def write(folder: Path, name: str, content: str = "") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def test_companions_and_theirs_come_first_and_the_model_last(tmp_path: Path) -> None:
    model = write(tmp_path, "car.obj", "mtllib Materials/Car.MTL\nv 0 0 0\n")
    write(tmp_path, "materials/car.mtl", "newmtl a\nmap_Kd ..\\textures\\paint.png\n")
    write(tmp_path, "textures/paint.png", "x")
    write(tmp_path, "other.obj", "v 0 0 0\n")
    names = [part.blob for part in parts(model)]
    assert names == ["car/materials/car.mtl", "car/textures/paint.png", "car/car.obj"]


def test_settings_beside_the_model_go_with_it(tmp_path: Path) -> None:
    model = write(tmp_path, "car.stl", "solid\n")
    write(tmp_path, "car.stl.conversion.json", "{}")
    write(tmp_path, "car.ConversionSettings.json", "{}")
    write(tmp_path, "truck.stl.conversion.json", "{}")
    names = [part.blob for part in parts(model)]
    assert names == ["car/car.stl.conversion.json", "car/car.ConversionSettings.json", "car/car.stl"]


def test_an_empty_model_goes_up_too(tmp_path: Path) -> None:
    assert [part.blob for part in parts(write(tmp_path, "empty.obj"))] == ["empty/empty.obj"]


def test_what_cannot_be_converted_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(NoModel, match="not there"):
        parts(tmp_path / "missing.obj")
    with pytest.raises(NoModel, match="a folder"):
        parts(tmp_path)
    with pytest.raises(NoModel, match="no kind of model"):
        parts(write(tmp_path, "notes.txt", "x"))
