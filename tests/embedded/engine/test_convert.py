"""Real models from many programs, through the whole engine, against readers that are not ours."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import trimesh
from PIL import Image

from shared.embedded.engine.formats import READS
from shared.embedded.engine.job import Output
from tests.conftest import MODELS
from tests.embedded.engine.conftest import Bench
from tests.embedded.models import mtl, obj, png

Validate = Callable[[Path], dict[str, Any]]


class Expected(NamedTuple):
    """What another reader finds: triangles as drawn (points of a cloud), textures, and the size along each
    axis and the area, in metres. None where no other reader here reads the file, or reads it rightly."""

    triangles: int
    textures: int
    size: tuple[float, float, float] | None = None
    area: float | None = None


# FBX by ufbx, 3MF and DAE by trimesh with its optional packages, DXF by ezdxf, USD by usd-core, IFC by
# ifcopenshell (without rooms and openings), STEP and IGES by OpenCASCADE's own measures of the exact
# surfaces, LAZ and LAS by their headers, XYZ by numpy's loadtxt. How many triangles an IFC, a STEP or an
# IGES has follows from the tolerance. The others are compared with trimesh in the test itself.
_MODELS = {
    "fbx/Y_Bot.fbx": Expected(55320, 0, (1.9468, 1.8047, 0.3643)),
    "fbx/animation_with_skeleton.fbx": Expected(2112, 0, (71.2114, 1.8333, 1.8333)),
    "fbx/box.FBX": Expected(12, 1, (1.2, 1.2, 1.2)),
    "fbx/maya_slime_7500_ascii.fbx": Expected(4880, 1, (0.6595, 0.6415, 0.6579)),
    "fbx/spider.fbx": Expected(1368, 0, (150.5915, 79.7378, 193.3824)),
    "3mf/cube_gears.3mf": Expected(25692, 0, (0.167996, 0.033601, 0.125102), 0.04191932),
    "3mf/heartgears.3mf": Expected(30636, 0, (0.079571, 0.076432, 0.047667), 0.03371901),
    "3mf/multipletextures.3mf": Expected(96692, 2, (0.140104, 0.099644, 0.15), 0.07330036),
    "dae/COLLADA.dae": Expected(6722, 0, (8.0, 1.08098, 4.0), 63.92308),
    "dae/blue_cube.dae": Expected(12, 0, (2.0, 2.000001, 2.0), 24.0),
    "dae/duck/duck.dae": Expected(4212, 1, (1.654784, 1.540406, 1.152534), 7.025555),
    "dxf/wuson.dxf": Expected(3732, 0, (0.919952, 3.244484, 1.515817), 9.025804),
    "gltf/2CylinderEngine.glb": Expected(121496, 0),
    "gltf/BoxDraco/Box.gltf": Expected(12, 0),
    "gltf/BoxMeshopt.glb": Expected(12, 0),
    "gltf/CesiumMilkTruck.glb": Expected(3624, 1),
    "gltf/DamagedHelmet.glb": Expected(15452, 5),
    "gltf/Morph/MorphStressTest.gltf": Expected(2412, 3),
    "gltf/Sparse/SimpleSparseAccessor.gltf": Expected(12, 0),
    "gltf/TexTransform/TextureTransformTest.gltf": Expected(24, 5),
    "gltf/nested.glb": Expected(36, 0),
    "gltf/quad_skin.glb": Expected(2, 0),
    "ifc/AC20-FZK-Haus.ifc": Expected(19614, 0, (18.0, 7.317691, 16.0), 2051.132),
    "ifc/IfcOpenHouse_IFC4.ifc": Expected(1124, 0, (20.0, 13.91, 20.0), 1138.367),
    "ifc/duplex.ifc": Expected(28928, 0, (9.283, 8.1848, 26.565468), 4578.509),
    "iges/as1_pe_203.igs": Expected(16512, 0, (5.08, 2.2098, 3.81), 91.38357),
    "las/autzen_trim.laz": Expected(110000, 0, (358.889808, 34.8234, 171.510960)),
    "las/simple1_4.las": Expected(22600, 0, (225.0, 210.0, 99.0)),
    "obj/box-complex-material/box-complex-material.obj": Expected(12, 6),
    "obj/box-subdirectories/box-textured.obj": Expected(12, 1),
    "obj/chair_model.obj": Expected(12756, 0),
    "obj/fuze/fuze.obj": Expected(1000, 1),
    "obj/hundred_cubes.obj": Expected(1200, 0),
    "obj/spider/spider.obj": Expected(1368, 5),
    "obj/wuson/WusonOBJ.obj": Expected(3732, 0),
    "off/ballA.off": Expected(3796, 0),
    "ply/bunny.ply": Expected(16301, 0),
    "ply/cow.ply": Expected(5804, 0),
    "ply/cube_blender_uv.ply": Expected(12, 0),
    "ply/cycloidal.ply": Expected(43368, 0),
    "ply/points_emptyface.ply": Expected(1024, 0),
    "step/as1-oc-214.stp": Expected(5180, 0, (0.2, 0.15, 0.084), 0.1410793),
    "step/box_sides.STEP": Expected(2776, 0, (0.18415, 0.1143, 0.09525), 0.1895291),
    "step/dm1-oc-214.stp": Expected(1928, 0, (0.0525, 0.1, 0.084), 0.03155868),
    "stl/3DSMaxExport.STL": Expected(2000, 0),
    "stl/Spider_ascii.stl": Expected(1368, 0),
    "stl/counter.unitsmm.STL": Expected(83750, 0),
    "stl/two_objects_mixed_case_names.stl": Expected(24, 0),
    "usd/BrainStem.usdz": Expected(61666, 0, (2.414662, 1.834897, 0.597109), 9.411504),
    "usd/RoughnessTest.usdz": Expected(504, 4, (13.243825, 5.228451, 1.89333), 69.2563),
    "usd/teapot.usda": Expected(25200, 0, (0.021672, 0.014661, 0.015998), 0.0008943175),
    "xyz/points_agisoft.xyz": Expected(100, 0, (16.495951, 41.399664, 12.389218)),
}
# trimesh ignores sparse accessors, lacks other formats here, or does not make metres of them.
_UNLIKE_TRIMESH = (
    "SimpleSparseAccessor", "BoxMeshopt", ".fbx", ".FBX", ".stp", ".STEP", ".3mf", ".dae", ".dxf", ".ifc",
    ".igs", ".las", ".laz", ".usda", ".usdz", ".xyz",
)  # fmt: skip
# How far the area may be off: triangles are inside of curves, and walls may be cut in another way.
_AREA_TOLERANCE = {".stp": 0.01, ".STEP": 0.01, ".igs": 0.01, ".ifc": 0.01}

needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")


@needs_models
def test_every_shared_model_of_the_engines_formats_is_in_the_table() -> None:
    found = {str(path.relative_to(MODELS)) for path in MODELS.rglob("*") if path.suffix.lower() in READS}
    assert found == set(_MODELS)


@needs_models
@pytest.mark.parametrize("name", _MODELS)
async def test_a_real_model_becomes_a_valid_glb_and_a_picture(
    bench: Bench, gltf_validate: Validate, name: str
) -> None:
    path, expected = MODELS / name, _MODELS[name]
    thumbnail = Output("thumbnail", "out.png", {"width": 100})
    result = await bench.run(path.parent, path.name, Output("glb", "out.glb"), thumbnail)
    assert result.error is None
    drawn = result.statistics["triangles"] or result.statistics["points"]
    assert drawn == expected.triangles
    assert result.statistics["textures"] == expected.textures
    box = result.statistics["boundingBox"]
    if expected.size is not None:
        assert np.subtract(box["max"], box["min"]) == pytest.approx(expected.size, rel=1e-5, abs=1e-4)
    if expected.area is not None:
        area = trimesh.load_scene(bench.output / "out.glb").to_mesh().area
        assert area == pytest.approx(expected.area, rel=_AREA_TOLERANCE.get(path.suffix, 1e-4))

    report = gltf_validate(bench.output / "out.glb")
    assert report["issues"]["numErrors"] == 0, report["issues"]
    _same_as_trimesh(bench.output / "out.glb", path, expected, box)
    _good_picture(bench.output / "out.png")


def _same_as_trimesh(written: Path, source: Path, expected: Expected, box: dict[str, list[float]]) -> None:
    if source.name.endswith(_UNLIKE_TRIMESH) or source.stem.endswith(_UNLIKE_TRIMESH):
        return
    for path in (written, source):
        scene = trimesh.load_scene(path)
        triangles = 0
        for node in scene.graph.nodes_geometry:
            triangles += len(getattr(scene.geometry[scene.graph[node][1]], "faces", ()))
        assert triangles in (expected.triangles, 0 if "points" in source.stem else None)
        assert scene.bounds is not None
        size = float(np.ptp(scene.bounds, axis=0).max())
        assert scene.bounds == pytest.approx(np.array([box["min"], box["max"]]), abs=1e-6 * size)


def _good_picture(path: Path) -> None:
    with Image.open(path) as image:
        pixels = np.asarray(image)
    seen = pixels[..., 3] > 0
    assert 0.025 <= seen.mean() <= 0.95  # the least is a cloud of a hundred points
    assert not (seen[0].any() or seen[-1].any() or seen[:, 0].any() or seen[:, -1].any())
    assert len(np.unique(pixels[seen], axis=0)) > 16


async def test_the_result_says_what_was_made_and_from_what(bench: Bench) -> None:
    files = {"car.OBJ": obj("car.mtl"), "car.mtl": mtl("a.png"), "a.png": png()}
    result = await bench.good(files, Output("glb", "car.arrAsset"), settings={"scaling": 2})
    (made,) = result.made
    data = (bench.output / "car.arrAsset").read_bytes()
    assert data[:4] == b"glTF"
    assert (made.type, made.name, made.size) == ("glb", "car.arrAsset", len(data))
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    assert made.content_type == "model/gltf-binary"
    assert result.statistics == {
        "meshes": 1,
        "triangles": 4,
        "points": 0,
        "vertices": result.statistics["vertices"],
        "materials": 1,
        "textures": 1,
        "animations": 0,
        "boundingBox": {"min": [0, 0, 0], "max": [2, 2, 2]},
        "sourceUnit": None,
    }
    assert result.info["conversionSettings"] == {"scaling": 2}
    assert result.info["inputInfo"] == {
        "sourceAssetExtension": ".obj",
        "sourceAssetFormat": "OBJ",
        "sourceAssetFormatVersion": "",
        "sourceAssetGenerator": "",
    }
    counted = result.info["inputStatistics"]
    assert counted["numFaces"] == 4 and counted["maxNodeDepth"] == 2 and counted["numMeshUsagesInScene"] == 1
    assert result.info["outputStatistics"]["boundingBox"]["max"] == [2, 2, 2]


async def test_several_outputs_are_made_at_once(bench: Bench) -> None:
    outputs = (Output("glb", "a.glb"), Output("obj", "b.obj"), Output("stl", "c.stl"))
    result = await bench.good({"car.obj": obj()}, *outputs)
    assert [made.name for made in result.made if made.role is None] == ["a.glb", "b.obj", "c.stl"]


async def test_an_unknown_format_and_an_unknown_output_fail_by_name(bench: Bench) -> None:
    result = await bench.convert({"car.dwg": b"AC1032"})
    assert result.error is not None
    assert result.error.code == "unsupported-format" and ".dwg" in result.error.message
    result = await bench.convert({"car.obj": obj()}, Output("dwg", "car.dwg"))
    assert result.error is not None
    assert result.error.code == "unsupported-output" and "'dwg'" in result.error.message
