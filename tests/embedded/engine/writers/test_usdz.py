import zipfile

import pytest
import tinyusdz

from shared.embedded.engine.job import Output
from tests.conftest import MODELS
from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench
from tests.embedded.models import mtl, obj, png

OUT = Output("usdz", "out.usdz")


async def test_another_library_reads_the_same_mesh_material_and_texture(bench: Bench) -> None:
    files = {"in.obj": obj("in.mtl"), "in.mtl": mtl("a.png"), "a.png": png()}
    await bench.good(files, OUT)
    stage = tinyusdz.load_bytes((bench.output / "out.usdz").read_bytes())
    assert (stage.get_metadata("metersPerUnit"), stage.get_metadata("upAxis")) == (1, "Y")
    scene = tinyusdz.tydra.convert_to_render_scene(stage)
    (mesh,) = scene.meshes()
    assert len(memoryview(mesh.face_vertex_counts)) == 4
    assert mesh.texcoord(0) is not None
    (material,) = scene.materials()
    assert material.preview_surface is not None
    assert material.preview_surface["diffuse_color"]["texture_id"] == 0
    assert scene.images()[0].asset_identifier == "textures/texture0.png"


async def test_files_inside_are_uncompressed_and_aligned(bench: Bench) -> None:
    files = {"in.obj": obj("in.mtl"), "in.mtl": mtl("a.png"), "a.png": png()}
    await bench.good(files, OUT)
    data = (bench.output / "out.usdz").read_bytes()
    with zipfile.ZipFile(bench.output / "out.usdz") as package:
        entries = package.infolist()
        assert entries[0].filename.endswith(".usda")
        for entry in entries:
            assert entry.compress_type == zipfile.ZIP_STORED
            head = data[entry.header_offset :]
            names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            assert (entry.header_offset + 30 + names) % 64 == 0


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")
@pytest.mark.parametrize(
    "name", ["gltf/DamagedHelmet.glb", "gltf/CesiumMilkTruck.glb", "step/as1-oc-214.stp"]
)
async def test_a_real_model_comes_back_the_same(bench: Bench, name: str) -> None:
    path = MODELS / name
    first = await bench.run(path.parent, path.name, OUT)
    assert first.error is None
    second = await bench.run(bench.output, "out.usdz", Output("glb", "again.glb"))
    assert second.error is None, second.error
    assert second.statistics["triangles"] == first.statistics["triangles"]
    for key in ("min", "max"):
        assert second.statistics["boundingBox"][key] == pytest.approx(
            first.statistics["boundingBox"][key], abs=1e-6
        )
    used = 4 if "Helmet" in name else first.statistics["textures"]  # roughness and metal come back in one
    assert second.statistics["textures"] >= used - 1


async def test_points_and_names_with_quotes_are_written(bench: Bench) -> None:
    await bench.good({'a "quoted" \\ name.xyz': made.xyz()}, OUT)
    stage = tinyusdz.load_bytes((bench.output / "out.usdz").read_bytes())
    assert any(prim.type_name == "Points" for prim, _, _ in tinyusdz.tydra.list_prims_by_type(stage))
