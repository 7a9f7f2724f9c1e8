import pytest
import trimesh
from trimesh.visual import TextureVisuals

from shared.embedded.engine.job import Output
from tests.conftest import MODELS
from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import glb, triangle
from tests.embedded.models import mtl, obj, png


async def test_another_library_reads_the_same_model_with_its_texture(bench: Bench) -> None:
    files = {"in.obj": obj("in.mtl"), "in.mtl": mtl("a b.png"), "a b.png": png()}
    result = await bench.good(files, Output("obj", "car.obj"))
    assert [(made.name, made.role) for made in result.made] == [
        ("car.obj", None),
        ("car.mtl", "companion"),
        ("car.texture0.png", "companion"),
    ]
    assert all((bench.output / made.name).stat().st_size == made.size for made in result.made)
    first = trimesh.load_mesh(bench.input / "in.obj")
    again = trimesh.load_mesh(bench.output / "car.obj")
    assert len(again.faces) == 4
    assert isinstance(again.visual, TextureVisuals)
    assert again.bounds == pytest.approx(first.bounds)
    assert again.visual.material.image.getpixel((0, 0))[:3] == (200, 30, 30)
    corners = {tuple(place): tuple(uv) for place, uv in zip(again.vertices, again.visual.uv, strict=True)}
    assert corners[(0.0, 1.0, 0.0)] == (0.0, 1.0)


async def test_parts_keep_their_names_and_places(bench: Bench) -> None:
    nodes = [
        {"name": "left", "mesh": 0},
        {"name": "right side", "mesh": 0, "translation": [5, 0, 0]},
    ]
    document, data = triangle(nodes=nodes, scenes=[{"nodes": [0, 1]}])
    await bench.good({"car.glb": glb(document, data)}, Output("obj", "car.obj"))
    text = (bench.output / "car.obj").read_text()
    assert "o left\n" in text and "o right side\n" in text
    assert trimesh.load_mesh(bench.output / "car.obj").bounds[1][0] == 6


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")
async def test_a_whole_helmet_survives(bench: Bench) -> None:
    result = await bench.run(MODELS / "gltf", "DamagedHelmet.glb", Output("obj", "helmet.obj"))
    assert result.error is None
    mesh = trimesh.load_mesh(bench.output / "helmet.obj")
    assert len(mesh.faces) == 15452
    assert isinstance(mesh.visual, TextureVisuals)
    assert mesh.bounds.ravel() == pytest.approx(
        [*result.statistics["boundingBox"]["min"], *result.statistics["boundingBox"]["max"]], abs=1e-6
    )
    assert mesh.visual.material.image.size == (2048, 2048)


def _two() -> bytes:
    nodes = [
        {"name": "left", "mesh": 0},
        {"name": "right side", "mesh": 0, "translation": [5, 0, 0]},
    ]
    document, data = triangle(nodes=nodes, scenes=[{"nodes": [0, 1]}])
    return glb(document, data)


async def test_a_unit_changes_the_numbers(bench: Bench) -> None:
    await bench.good({"a.glb": _two()}, Output("obj", "a.obj", {"unit": "millimeter"}))
    assert trimesh.load_mesh(bench.output / "a.obj").bounds[1] == pytest.approx([6000, 1000, 0])
    await bench.good({"a.glb": _two()}, Output("obj", "a.obj", {"unit": "foot"}))
    assert trimesh.load_mesh(bench.output / "a.obj").bounds[1] == pytest.approx([6 / 0.3048, 1 / 0.3048, 0])


async def test_a_source_without_a_unit_keeps_its_numbers_and_says_so(bench: Bench) -> None:
    result = await bench.good({"a.off": made.off()}, Output("obj", "a.obj", {"unit": "inch"}))
    assert [warning.code for warning in result.warnings] == ["unit-not-applied"]
    assert trimesh.load_mesh(bench.output / "a.obj").bounds[1].tolist() == [10, 10, 10]


async def test_a_file_for_each_object_shares_the_materials(bench: Bench) -> None:
    output = Output("obj", "a.obj", {"exportFileStructure": "multiple"})
    document, data = triangle(
        nodes=[{"name": "left", "mesh": 0}, {"name": "right side", "mesh": 0, "translation": [5, 0, 0]}],
        scenes=[{"nodes": [0, 1]}],
        materials=[{"name": "red"}],
    )
    document["meshes"][0]["primitives"][0]["material"] = 0
    result = await bench.good({"a.glb": glb(document, data)}, output)
    assert [(made_.name, made_.role) for made_ in result.made] == [
        ("a.1.left.obj", None),
        ("a.2.right-side.obj", None),
        ("a.mtl", "companion"),
    ]
    assert trimesh.load_mesh(bench.output / "a.2.right-side.obj").bounds[0][0] == 5


async def test_chosen_objects_are_taken_out(bench: Bench) -> None:
    """Object 1 is the model itself, its nodes follow."""
    output = Output("obj", "a.obj", {"modelGuid": "4f981e94-8241-4eaf-b08b-cd337c6b8b1f", "objectIds": [3]})
    result = await bench.good({"a.glb": _two()}, output)
    assert result.warnings == ()
    assert trimesh.load_mesh(bench.output / "a.obj").bounds[0][0] == 5
    for ids in ([-1], [1], [2, 3]):
        await bench.good({"a.glb": _two()}, Output("obj", "a.obj", {"objectIds": ids}))
        assert len(trimesh.load_mesh(bench.output / "a.obj").faces) == 2


@pytest.mark.parametrize("ids", [[0], [4], [2, 99]])
async def test_objects_that_are_not_there_are_an_error_that_names_them(bench: Bench, ids: list[int]) -> None:
    result = await bench.convert({"a.glb": _two()}, Output("obj", "a.obj", {"objectIds": ids}))
    assert result.error is not None and result.error.code == "invalid-settings"
    assert str(ids[-1]) in result.error.message


async def test_the_structure_of_files_is_ignored_for_an_extraction_with_a_warning(bench: Bench) -> None:
    options = {"objectIds": [2], "exportFileStructure": "multiple"}
    result = await bench.good({"a.glb": _two()}, Output("obj", "a.obj", options))
    assert [made_.name for made_ in result.made] == ["a.obj"]
    assert [warning.code for warning in result.warnings] == ["option-ignored"]
