import numpy as np
import pytest
import trimesh

from shared.embedded.engine.job import Output
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import ascii_stl, binary_stl, sphere


async def test_a_binary_file_keeps_its_triangles_and_shares_their_corners(bench: Bench) -> None:
    triangles = sphere(8)
    result = await bench.good({"ball.STL": binary_stl(triangles)})
    assert result.statistics["triangles"] == len(triangles) == 224
    assert result.statistics["vertices"] < len(triangles)
    assert result.statistics["sourceUnit"] is None
    mesh = trimesh.load_mesh(bench.output / "out.glb")
    assert np.allclose(np.sort(mesh.triangles.sum(axis=1), axis=0), np.sort(triangles.sum(axis=1), axis=0))


async def test_a_binary_file_may_start_like_an_ascii_one(bench: Bench) -> None:
    result = await bench.good({"ball.stl": binary_stl(sphere(4), b"solid but binary")})
    assert result.statistics["triangles"] == 48


async def test_an_ascii_file_keeps_its_solids_and_their_names(bench: Bench) -> None:
    ball = sphere(4)
    result = await bench.good({"two.stl": ascii_stl({"Left Ball": ball, "right": ball + 3})})
    assert (result.statistics["meshes"], result.statistics["triangles"]) == (2, 96)
    assert [node["name"] for node in bench.json()["nodes"]] == ["Left Ball", "right"]


async def test_triangles_that_are_not_numbers_are_left_out(bench: Bench) -> None:
    triangles = sphere(4)
    triangles[0, 0, 0] = np.nan
    triangles[1, 0, 0] = np.inf
    result = await bench.good({"ball.stl": binary_stl(triangles)})
    assert result.statistics["triangles"] == 46
    assert [warning.code for warning in result.warnings] == ["invalid-geometry"]


_FACETS = np.array([[[x, 0, 0], [x + 1, 0, 0], [x, 1, 0]] for x in range(4)], np.float32)
_RED, _GREEN, _BLUE, _OWN = 31 << 10, 31 << 5, 31, 1 << 15


@pytest.mark.parametrize(
    ("header", "attributes"),
    [
        (b"VisCAM", (_OWN | _RED, _OWN | _GREEN, _OWN | _BLUE, 0)),
        # Magics': red and blue change places, and so does the meaning of the highest bit.
        (b"COLOR=\xe7\xe7\xe7\xff,MATERIAL=", (_BLUE, _GREEN, _RED, _OWN)),
    ],
    ids=["VisCAM", "Magics"],
)
async def test_the_colours_of_facets_are_kept(
    bench: Bench, header: bytes, attributes: tuple[int, ...]
) -> None:
    await bench.good({"a.stl": binary_stl(_FACETS, header, attributes)})
    mesh = trimesh.load_mesh(bench.output / "out.glb", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    colors = bench.values("out.glb", "COLOR_0")[:, :3]
    seen = {
        int(face[:, 0].min()): colors[corners]
        for face, corners in zip(mesh.triangles, mesh.faces, strict=True)
    }
    for place, color in enumerate(([1, 0, 0], [0, 1, 0], [0, 0, 1], [0.8, 0.8, 0.8])):
        assert seen[place] == pytest.approx(np.array([color] * 3), abs=0.02)
    material = bench.json()["materials"][0]["pbrMetallicRoughness"]
    assert "baseColorFactor" not in material  # white, so that the colours are what they are


@pytest.mark.parametrize(
    ("header", "attribute"), [(b"", _OWN | _RED), (b"COLOR=\xff\0\0\xff", 0), (b"COLOR=\xff\0\0\xff", _OWN)]
)
async def test_a_model_of_one_colour_has_a_material_of_it(
    bench: Bench, header: bytes, attribute: int
) -> None:
    result = await bench.good({"a.stl": binary_stl(sphere(4), header, (attribute,))})
    assert result.statistics["vertices"] == 36  # corners are shared, as without a colour
    (material,) = bench.json()["materials"]
    assert material["pbrMetallicRoughness"]["baseColorFactor"] == [1, 0, 0, 1]


async def test_every_colour_comes_back_as_it_was(bench: Bench) -> None:
    attributes = tuple(_OWN | red << 10 | (31 - red) << 5 | red // 2 for red in range(32))
    facets = np.concatenate([_FACETS + np.float32(4 * step) for step in range(8)])
    await bench.good({"a.stl": binary_stl(facets, b"", attributes)}, Output("stl", "out.stl"))
    record = np.dtype([("numbers", "<f4", 12), ("attribute", "<u2")])
    written = np.frombuffer((bench.output / "out.stl").read_bytes(), record, offset=84)
    assert written["attribute"].tolist() == list(attributes)


async def test_attributes_that_say_no_colour_make_none(bench: Bench) -> None:
    await bench.good({"a.stl": binary_stl(_FACETS, b"", (1, 2, 3, 4))})
    assert "COLOR_0" not in bench.json()["meshes"][0]["primitives"][0]["attributes"]
