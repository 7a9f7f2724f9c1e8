import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.readers.mtl import Library
from shared.embedded.engine.scene import Material
from tests.embedded.models import png


def _library(folder: Path, text: str | bytes, *pictures: str, gamma: bool = False) -> Library:
    (folder / "car.obj").touch()
    (folder / "car.mtl").write_bytes(text if isinstance(text, bytes) else text.encode())
    for number, name in enumerate(pictures):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png((10 * number, 100, 100)))
    library = Library(InputFolder(str(folder), "car.obj"), gamma=gamma)
    library.load("car.mtl")
    return library


def _material(folder: Path, statements: str, *pictures: str, gamma: bool = False) -> Material:
    library = _library(folder, f"newmtl m\n{statements}\n", *pictures, gamma=gamma)
    index = library.index("m")
    assert index is not None and library.warnings == []
    return library.materials[index]


def test_a_name_may_have_spaces_and_any_encoding(tmp_path: Path) -> None:
    library = _library(
        tmp_path, "newmtl\tröter  Lack \t\r\nKd 1 0 0\r\nnewmtl b\rKd 0 1 0\r".encode("latin-1")
    )
    for name, color in (("röter  Lack", (1, 0, 0, 1)), ("b", (0, 1, 0, 1))):
        index = library.index(name)
        assert index is not None and library.materials[index].base_color == color


def test_a_material_that_no_file_has_is_grey_and_keeps_its_name(tmp_path: Path) -> None:
    library = _library(tmp_path, "newmtl other\nKd 1 0 0\n")
    assert library.index("") is None
    assert library.index("lost") == 0
    assert library.materials == [Material("lost", (0.8, 0.8, 0.8, 1.0))]
    library.make_all()
    assert [material.name for material in library.materials] == ["lost", "other"]


@pytest.mark.parametrize(
    ("statements", "color"),
    [
        ("Kd 0.25 0.5 1", (0.25, 0.5, 1, 1)),
        ("kd 0.5", (0.5, 0.5, 0.5, 1)),
        ("Kd 7 -1 0.5", (1, 0, 0.5, 1)),
        ("Kd xyz 0.5 0.5", (0.8, 0.8, 0.8, 1)),
        ("Kd spectral a.rfl", (0.8, 0.8, 0.8, 1)),
        ("Kd nan 0 0", (0.8, 0.8, 0.8, 1)),
        ("Kd 1 1 1\nd 0.25", (1, 1, 1, 0.25)),
        ("Kd 1 1 1\nd -halo 0.25", (1, 1, 1, 0.25)),
        ("Kd 1 1 1\nTr 0.25", (1, 1, 1, 0.75)),
        ("Kd 1 1 1\nd 0.75\nTr 0.75", (1, 1, 1, 0.75)),
        ("Kd 1 1 1\nd 0", (1, 1, 1, 1)),
        ("Kd 1 0 0\nKd 0 1 0", (0, 1, 0, 1)),
    ],
)
def test_colour_and_opacity(tmp_path: Path, statements: str, color: tuple[float, ...]) -> None:
    material = _material(tmp_path, statements)
    assert material.base_color == color
    assert material.blend == (color[3] < 1)


def test_encoded_colours_become_linear_where_that_is_asked_for(tmp_path: Path) -> None:
    material = _material(tmp_path, "Kd 0.5 0 1\nKe 0.5 0 0", gamma=True)
    assert material.base_color == pytest.approx((0.2140, 0, 1, 1), abs=1e-4)
    assert material.emissive == pytest.approx((0.2140, 0, 0), abs=1e-4)


@pytest.mark.parametrize(
    ("statements", "roughness", "metallic"),
    [
        ("Ks 1 1 1\nNs 96", np.sqrt(2 / 98), 0),
        ("Ks 1 1 1\nNs 96\nillum 1", 0.9, 0),
        ("Ks 0 0 0\nNs 96", 0.9, 0),
        ("Ns 96", 0.9, 0),
        ("Pr 0.25\nPm 1", 0.25, 1),
        ("Pr 7\nPm -1\nNs 96\nKs 1 1 1", 1, 0),
    ],
)
def test_highlights_say_how_rough_it_is(
    tmp_path: Path, statements: str, roughness: float, metallic: float
) -> None:
    material = _material(tmp_path, statements)
    assert material.roughness == pytest.approx(roughness)
    assert material.metallic == metallic


def test_every_kind_of_picture_has_its_place(tmp_path: Path) -> None:
    text = (
        "map_Kd a.png\nmap_Ke b.png\nmap_Ka c.png\nmap_Ks d.png\nmap_Bump -bm 0.5 e.png\nmap_Ns f.png\nNs 10"
    )
    material = _material(tmp_path, text, *(f"{letter}.png" for letter in "abcdef"))
    textures = [
        material.base_color_texture,
        material.emissive_texture,
        material.occlusion_texture,
        material.specular_texture,
        material.normal_texture,
        material.metallic_roughness_texture,
    ]
    assert None not in textures and len(set(textures)) == 6
    assert material.base_color == (1, 1, 1, 1)
    assert material.emissive == (1, 1, 1)
    assert (material.roughness, material.metallic) == (1, 0)


def test_a_picture_of_shininess_becomes_one_of_roughness(tmp_path: Path) -> None:
    library = _library(tmp_path, "newmtl m\nNs 50\nmap_Ns a.png\n")
    Pillow.fromarray(np.array([[0, 255]], np.uint8), "L").save(tmp_path / "a.png")
    library = Library(InputFolder(str(tmp_path), "car.obj"), gamma=False)
    library.load("car.mtl")
    library.index("m")
    found = np.asarray(Pillow.open(io.BytesIO(library.images[0].data)))
    assert found[0, :, 1].tolist() == [255, round(255 * np.sqrt(2 / 52))]


def test_pictures_of_roughness_and_metal_are_one(tmp_path: Path) -> None:
    material = _material(tmp_path, "Pr 0.5\nPm 0.5\nmap_Pr a.png\nmap_Pm b.png", "a.png", "b.png")
    assert material.metallic_roughness_texture is not None
    assert (material.roughness, material.metallic) == (1, 1)
    material = _material(tmp_path, "Pr 0.5\nPm 0.5\nmap_Pr a.png", "a.png")
    assert (material.roughness, material.metallic) == (1, 0.5)


@pytest.mark.parametrize("statement", ["norm a.png", "map_Kn a.png", "bump a.png", "map_bump -s 2 2 a.png"])
def test_relief_has_many_names(tmp_path: Path, statement: str) -> None:
    assert _material(tmp_path, statement, "a.png").normal_texture == 0


def test_the_diffuse_picture_named_as_the_ambient_one_is_no_occlusion(tmp_path: Path) -> None:
    assert _material(tmp_path, "map_Kd a.png\nmap_Ka a.png", "a.png").occlusion_texture is None


def test_a_mask_makes_a_picture_transparent(tmp_path: Path) -> None:
    material = _material(tmp_path, "map_Kd a.png\nmap_d b.png", "a.png", "b.png")
    assert material.blend
    assert _material(tmp_path, "map_Kd a.png\nmap_d a.png", "a.png").blend is False


def test_pictures_have_spaces_and_options_in_their_statements(tmp_path: Path) -> None:
    library = _library(
        tmp_path,
        "newmtl m\nmap_Kd -clamp on -s 2 4 1 -o 0.5 my own picture.png\n"
        "newmtl n\nmap_Kd my own picture.png\n",
        "my own picture.png",
    )
    first, second = library.index("m"), library.index("n")
    assert (library.warnings, len(library.images)) == ([], 1)
    texcoords = np.array([[0, 0], [1, 1]], np.float32)
    assert library.placed(texcoords, first).tolist() == [[0.5, 0], [2.5, 4]]
    assert library.placed(texcoords, second) is texcoords
    assert library.placed(texcoords, None) is texcoords


def test_pictures_are_looked_for_beside_their_mtl_first(tmp_path: Path) -> None:
    (tmp_path / "looks").mkdir()
    (tmp_path / "car.obj").touch()
    (tmp_path / "a.png").write_bytes(png((1, 1, 1)))
    (tmp_path / "looks" / "a.png").write_bytes(png((2, 2, 2)))
    (tmp_path / "looks" / "car.mtl").write_text("newmtl m\nmap_Kd a.png\n")
    library = Library(InputFolder(str(tmp_path), "car.obj"), gamma=False)
    library.load("looks\\car.mtl")
    library.index("m")
    assert library.images[0].data == png((2, 2, 2))


def test_one_line_may_name_several_files_and_each_may_have_spaces(tmp_path: Path) -> None:
    (tmp_path / "car.obj").touch()
    (tmp_path / "my own.mtl").write_text("newmtl a\nKd 1 0 0\n")
    (tmp_path / "b.mtl").write_text("newmtl a\nKd 0 1 0\nnewmtl b\nKd 0 0 1\n")
    library = Library(InputFolder(str(tmp_path), "car.obj"), gamma=False)
    library.load("my own.mtl b.mtl lost.mtl")
    library.make_all()
    assert [material.base_color[:3] for material in library.materials] == [(1, 0, 0), (0, 0, 1)]
    (warning,) = library.warnings
    assert (warning.code, warning.details["file"]) == ("4004", "lost.mtl")


def test_a_file_that_is_missing_may_be_the_one_called_as_the_model(tmp_path: Path) -> None:
    library = _library(tmp_path, "newmtl m\nKd 1 0 0\n")
    library = Library(InputFolder(str(tmp_path), "car.obj"), gamma=False)
    library.load("before.mtl")
    library.index("m")
    assert library.materials[0].base_color == (1, 0, 0, 1)
    assert len(library.warnings) == 1


def test_what_is_no_mtl_has_no_materials(tmp_path: Path) -> None:
    for data in (bytes(range(256)) * 50, b"", b"newmtl", b"Kd 1 0 0\nmap_Kd lost.png\n", b"\xff\xfe\0"):
        library = _library(tmp_path, data)
        library.make_all()
        assert len(library.materials) <= 1 and library.warnings == []
