"""The samples are what their script makes, and what their README says they are."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from samples import make_samples
from samples.make_samples import HERE, make
from shared.archives import model_in_zip, zip_entries
from shared.embedded.engine.formats import READS
from shared.references import Folder, references

MADE = make()


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def same(name: str, one: bytes, other: bytes) -> bool:
    if name.startswith("crate/textures/"):
        # How tightly a picture is packed is up to the machine's zlib.
        return np.array_equal(pixels(one), pixels(other))
    return one == other


@pytest.mark.parametrize("name", MADE)
def test_making_a_sample_again_gives_the_same_file(name: str) -> None:
    assert same(name, (HERE / name).read_bytes(), MADE[name])


def test_there_are_no_other_samples_and_they_are_small() -> None:
    files = {path.relative_to(HERE).as_posix() for path in HERE.glob("*/**/*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} == MADE.keys()
    assert sum(map(len, MADE.values())) < 1_000_000


def loaded(name: str) -> Any:
    return trimesh.load_scene(HERE / name)


@pytest.mark.parametrize(
    "name", [name for name in MADE if name.endswith((".obj", ".stl", ".ply", ".gltf", ".glb"))]
)
def test_an_independent_reader_finds_surfaces_that_face_outwards(name: str) -> None:
    scene = loaded(name)
    for mesh in scene.geometry.values():
        assert mesh.volume > 0
        assert mesh.is_winding_consistent
        facing = np.einsum("ij,ij->i", mesh.face_normals, mesh.vertex_normals[mesh.faces].mean(axis=1))
        assert (facing > 0).all()
    if name.startswith("cube/"):
        assert scene.to_geometry().volume == pytest.approx(1)
        assert scene.bounds.tolist() == [[-0.5] * 3, [0.5] * 3]
        assert sum(len(mesh.faces) for mesh in scene.geometry.values()) == 12


def test_the_still_life_is_as_its_readme_says() -> None:
    scene = loaded("crate/crate.obj")
    assert len(scene.geometry) == 5
    assert sum(len(mesh.faces) for mesh in scene.geometry.values()) == 7472
    low, high = scene.bounds
    assert low[1] == 0
    assert (high - low).tolist() == pytest.approx([1.35, 1.2, 1.05], abs=0.01)
    pictures = [mesh.visual.material.image for mesh in scene.geometry.values()]
    assert sum(picture is not None for picture in pictures) == 3


@pytest.mark.parametrize("name", [name for name in MADE if name.endswith((".obj", ".mtl", ".gltf"))])
def test_every_file_that_a_sample_names_is_there(name: str) -> None:
    path = HERE / name
    folder = Folder(file.relative_to(path.parent).as_posix() for file in path.parent.rglob("*"))
    found = references(path.suffix, path.read_bytes()).references
    assert found
    assert all(folder.resolve(reference.uri) for reference in found)


def test_the_zip_holds_one_model() -> None:
    data = (HERE / "cube/cube.zip").read_bytes()
    assert model_in_zip(zip_entries(data, len(data)), None, READS).name == "cube.obj"


def test_the_picture_stands_upright_on_every_side_of_the_cube() -> None:
    # The blue square is at (0, 0) of the picture: below on the left, seen from outside.
    (mesh,) = loaded("cube/cube.obj").geometry.values()
    for normal, corner in (
        ((0, 0, 1), (-0.5, -0.5, 0.5)),
        ((0, 0, -1), (0.5, -0.5, -0.5)),
        ((1, 0, 0), (0.5, -0.5, 0.5)),
        ((-1, 0, 0), (-0.5, -0.5, -0.5)),
        ((0, 1, 0), (-0.5, 0.5, 0.5)),
    ):
        at = np.isclose(mesh.vertices, corner).all(axis=1) & np.isclose(mesh.vertex_normals, normal).all(
            axis=1
        )
        assert at.any(), normal
        assert mesh.visual.uv[at].tolist() == [[0, 0]], normal


def test_the_script_writes_into_the_folder_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["make_samples", str(tmp_path)])
    make_samples.main()
    assert (tmp_path / "crate/textures/planks.png").is_file()
