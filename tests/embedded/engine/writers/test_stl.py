import numpy as np
import pytest
import trimesh

from shared.embedded.engine.job import Output
from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import binary_stl, glb, sphere, triangle


@pytest.mark.parametrize("format_", ["binary", "ascii"])
async def test_another_library_reads_the_same_triangles(bench: Bench, format_: str) -> None:
    triangles = sphere(8)
    result = await bench.good(
        {"ball.stl": binary_stl(triangles)}, Output("stl", "out.stl", {"format": format_})
    )
    assert [(made_.type, made_.name, made_.role) for made_ in result.made] == [("stl", "out.stl", None)]
    assert (bench.output / "out.stl").read_bytes().startswith(b"solid") == (format_ == "ascii")
    mesh = trimesh.load_mesh(bench.output / "out.stl")
    assert len(mesh.faces) == len(triangles)
    assert mesh.bounds == pytest.approx(np.array([[-1.0] * 3, [1.0] * 3]), abs=1e-6)
    assert mesh.is_watertight


async def test_nodes_that_mirror_keep_the_outside_outside(bench: Bench) -> None:
    nodes = [{"mesh": 0, "scale": [1, 1, -1], "translation": [0, 0, 2]}]
    document, data = triangle(nodes=nodes)
    await bench.good({"car.glb": glb(document, data)}, Output("stl", "out.stl"))
    mesh = trimesh.load_mesh(bench.output / "out.stl")
    assert mesh.bounds[0][2] == 2
    assert mesh.face_normals[0] == pytest.approx([0, 0, -1])


def _attributes(data: bytes) -> set[int]:
    record = np.dtype([("numbers", "<f4", 12), ("attribute", "<u2")])
    return set(np.frombuffer(data, record, offset=84)["attribute"].tolist())


async def test_colours_are_in_the_attribute_bytes_unless_they_are_not_wanted(bench: Bench) -> None:
    """Five bits each of red, green and blue, below a bit that says that there is a colour."""
    await bench.good({"a.x3d": made.x3d()}, Output("stl", "out.stl"))
    assert _attributes((bench.output / "out.stl").read_bytes()) == {0b1_11111_00000_00000}
    await bench.good({"a.x3d": made.x3d()}, Output("stl", "out.stl", {"exportColor": False}))
    assert _attributes((bench.output / "out.stl").read_bytes()) == {0}


async def test_a_text_has_no_colours_and_that_is_a_warning_where_there_were_any(bench: Bench) -> None:
    ascii_ = {"format": "ascii"}
    result = await bench.good({"a.x3d": made.x3d()}, Output("stl", "out.stl", ascii_))
    assert [warning.code for warning in result.warnings] == ["dropped-colors"]
    for files, options in (
        ({"a.x3d": made.x3d()}, {**ascii_, "exportColor": False}),
        ({"a.off": made.off()}, ascii_),
    ):
        assert (await bench.good(files, Output("stl", "out.stl", options))).warnings == ()


async def test_each_object_may_have_a_file_of_its_own(bench: Bench) -> None:
    nodes = [{"name": "left", "mesh": 0}, {"name": "../right", "mesh": 0, "translation": [5, 0, 0]}]
    document, data = triangle(nodes=nodes, scenes=[{"nodes": [0, 1]}])
    output = Output("stl", "out.stl", {"exportFileStructure": "multiple"})
    result = await bench.good({"a.glb": glb(document, data)}, output)
    assert [made_.name for made_ in result.made] == ["out.1.left.stl", "out.2.right.stl"]
    assert trimesh.load_mesh(bench.output / "out.2.right.stl").bounds[0][0] == 5


async def test_more_objects_than_files_may_be_are_refused(bench: Bench) -> None:
    nodes = [{"mesh": 0} for _ in range(1001)]
    document, data = triangle(nodes=nodes, scenes=[{"nodes": list(range(1001))}])
    output = Output("stl", "out.stl", {"exportFileStructure": "multiple"})
    result = await bench.convert({"a.glb": glb(document, data)}, output)
    assert result.error is not None and "1000 objects" in result.error.message
