from pathlib import Path

import pytest

from shared.embedded.engine.files import InputFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.png").write_bytes(b"outside")
    root = tmp_path / "job"
    (root / "car" / "Textures").mkdir(parents=True)
    (root / "car" / "body.obj").write_bytes(b"model")
    (root / "car" / "Textures" / "Red Paint.PNG").write_bytes(b"red")
    (root / "shared.png").write_bytes(b"shared")
    (root / "car" / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "car" / "out").symlink_to(tmp_path, target_is_directory=True)
    return root


@pytest.mark.parametrize(
    "reference",
    [
        "Textures/Red Paint.PNG",
        "textures\\red paint.png",
        "./textures//red paint.png",
        "Textures/Red%20Paint.png",
        "C:\\projects\\car\\Textures\\red paint.png",
        "/home/me/textures/red paint.png",
        "../car/textures/red paint.png",
    ],
)
def test_a_reference_finds_its_file_however_it_is_spelled(folder: Path, reference: str) -> None:
    assert InputFolder(str(folder), "car/body.obj").find(reference) == b"red"


def test_a_reference_may_go_up_as_long_as_it_stays_in_the_folder(folder: Path) -> None:
    assert InputFolder(str(folder), "car/body.obj").find("../shared.png") == b"shared"


@pytest.mark.parametrize(
    "reference",
    [
        "../../secret.png",
        "secret.png",
        "link.png",
        "out/secret.png",
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1/Textures/Red Paint.PNG",
        "https:Textures/Red Paint.PNG",
        "Textures",
        "",
        ".",
        "..",
        "Textures/Red Paint.PNG\0.jpg",
    ],
)
def test_nothing_else_can_be_named(folder: Path, reference: str) -> None:
    files = InputFolder(str(folder), "car/body.obj")
    assert files.resolve(reference) is None
    assert files.find(reference) is None


def test_a_file_that_became_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    files = InputFolder(str(folder), "car/body.obj")
    (folder / "shared.png").unlink()
    (folder / "shared.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(OSError, match="symbolic links"):
        files.find("../shared.png")


def test_a_model_that_is_a_link_is_no_model(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        InputFolder(str(folder), "car/link.png").read_model()
