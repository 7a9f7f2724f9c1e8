"""Bad models, and the files that models need: companions, zips."""

import io
import json
import zipfile
from collections.abc import AsyncIterator

import pytest

from local.azurite import Azurite
from shared.conversion import Status
from shared.embedded.converter import Converter
from shared.manifest import Manifest
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import glb_json, sample

CUBE = sample("cube.stl")
GRACE = 60


@pytest.fixture
async def pipeline(azurite: Azurite, converter: Converter) -> AsyncIterator[Pipeline]:
    async with start(
        azurite, converter=converter, default_formats='[{"type": "glb"}]', grace_seconds=GRACE
    ) as running:
        yield running


def error(manifest: Manifest) -> tuple[str, str]:
    assert manifest.status is Status.FAILED
    assert manifest.derivatives == ()
    return str(manifest.errors[0].code), manifest.errors[0].message


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return data.getvalue()


async def images(pipeline: Pipeline, path: str) -> int:
    """How many pictures the glb of a model holds."""
    manifest = await pipeline.manifest(path)
    assert manifest.status is Status.SUCCESS, manifest.messages
    return len(glb_json(await pipeline.read(manifest.derivatives[0].path)).get("images", []))


async def test_a_format_that_another_service_reads_is_refused_by_its_name(pipeline: Pipeline) -> None:
    code, message = error(await pipeline.convert("house.rvt", b"anything"))
    assert code == "unsupported-format"
    assert "model-derivative" in message
    assert await pipeline.jobs() == []


@pytest.mark.parametrize("name", ["a.stl", "a.obj", "a.glb", "a.gltf", "a.fbx", "a.step", "a.ply", "a.zip"])
async def test_a_corrupt_model_fails_and_says_so(pipeline: Pipeline, name: str) -> None:
    code, message = error(await pipeline.convert(name, b"\x00\x01 this is no model \xff" * 30))
    assert code == "corrupt-model"
    assert message.endswith(".")


async def test_a_failed_conversion_keeps_the_services_report(pipeline: Pipeline) -> None:
    manifest = await pipeline.convert("a.stl", b"not an STL")
    [log] = manifest.logs
    assert log.path.endswith("/a.result.json")
    assert b"failed" in await pipeline.read(log.path)


async def test_an_empty_model_waits_for_its_bytes(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", b"")
    pipeline.later(GRACE / 2)
    await pipeline.app.tick.run()
    assert await pipeline.records() == ["cube.stl"]
    await pipeline.drop("cube.stl", CUBE)
    await pipeline.settle()
    assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS
    assert len(await pipeline.jobs()) == 1


async def test_an_empty_model_is_refused_after_the_grace_time(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", b"")
    pipeline.later(GRACE - 2)
    await pipeline.app.tick.run()
    assert await pipeline.records() == ["cube.stl"]
    pipeline.later(3)
    await pipeline.app.tick.run()
    code, message = error(await pipeline.manifest("cube.stl"))
    assert code == "empty"
    assert "Upload it again" in message


async def test_companions_that_land_later_are_in_the_one_conversion(pipeline: Pipeline) -> None:
    await pipeline.drop("a/cube.obj", sample("cube.obj"))
    await pipeline.settle_for(10)
    await pipeline.drop("a/cube.mtl", sample("cube.mtl") + b"map_Kd checks.png\n")
    await pipeline.settle_for(10)
    assert await pipeline.records() == ["a/cube.obj"]
    await pipeline.drop("a/checks.png", sample("checks.png"))
    await pipeline.settle()
    assert await images(pipeline, "a/cube.obj") == 1
    manifest = await pipeline.manifest("a/cube.obj")
    assert [item.path for item in manifest.source.companions] == ["a/cube.mtl", "a/checks.png"]
    assert all(item.etag and item.size for item in manifest.source.companions)
    assert manifest.messages == ()
    assert len(await pipeline.jobs()) == 1


async def test_companions_before_their_model_are_no_wait(pipeline: Pipeline) -> None:
    for name in ("cube.mtl", "checks.png"):
        await pipeline.drop(name, sample(name))
    await pipeline.drop("cube.obj", sample("cube.obj"))
    record = await pipeline.record("cube.obj")
    assert record and record.service_id


async def test_companions_are_found_in_any_case_and_below(pipeline: Pipeline) -> None:
    materials = sample("cube.mtl").replace(b"checks.png", rb"C:\work\textures\checks.png")
    await pipeline.upload("a/CUBE.MTL", materials)
    await pipeline.upload("a/Textures/Checks.PNG", sample("checks.png"))
    await pipeline.drop("a/cube.obj", sample("cube.obj"))
    await pipeline.settle()
    assert await images(pipeline, "a/cube.obj") == 1


async def test_a_companion_beside_the_models_folder_is_not_found(pipeline: Pipeline) -> None:
    await pipeline.upload("cube.mtl", sample("cube.mtl"))
    await pipeline.drop("a/cube.obj", sample("cube.obj").replace(b"cube.mtl", b"../cube.mtl"))
    pipeline.later(GRACE)
    await pipeline.settle()
    manifest = await pipeline.manifest("a/cube.obj")
    assert manifest.status is Status.SUCCESS
    assert manifest.source.companions == ()
    assert "cube.mtl" in manifest.warnings[0].message


async def test_a_missing_texture_is_a_warning_that_names_it(pipeline: Pipeline) -> None:
    await pipeline.upload("cube.mtl", sample("cube.mtl"))
    await pipeline.drop("cube.obj", sample("cube.obj"))
    pipeline.later(GRACE - 5)
    await pipeline.app.tick.run()
    assert await pipeline.jobs() == []
    pipeline.later(6)
    await pipeline.settle()
    manifest = await pipeline.manifest("cube.obj")
    assert manifest.status is Status.SUCCESS
    assert manifest.warnings[0].code == "missing-companion"
    assert "'checks.png'" in manifest.warnings[0].message


async def test_a_missing_buffer_is_a_failure_that_names_it(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.gltf", sample("cube.gltf"))
    pipeline.later(GRACE - 5)
    await pipeline.app.tick.run()
    assert await pipeline.records() == ["cube.gltf"]
    pipeline.later(6)
    await pipeline.settle()
    code, message = error(await pipeline.manifest("cube.gltf"))
    assert code == "missing-companion"
    assert "'cube.bin'" in message
    assert await pipeline.jobs() == []


async def test_a_buffer_that_lands_late_is_enough(pipeline: Pipeline) -> None:
    await pipeline.upload("checks.png", sample("checks.png"))
    await pipeline.drop("cube.gltf", sample("cube.gltf"))
    await pipeline.settle_for(20)
    await pipeline.drop("cube.bin", sample("cube.bin"))
    await pipeline.settle()
    assert (await pipeline.manifest("cube.gltf")).status is Status.SUCCESS


async def test_a_companion_that_changes_in_mid_flight_is_a_warning(pipeline: Pipeline) -> None:
    for name in ("cube.mtl", "checks.png"):
        await pipeline.upload(name, sample(name))
    await pipeline.drop("cube.obj", sample("cube.obj"))
    [request] = await pipeline.requests()
    await pipeline.run(request)
    await pipeline.upload("cube.mtl", sample("cube.mtl") + b"\n")
    await pipeline.settle()
    manifest = await pipeline.manifest("cube.obj")
    assert manifest.status is Status.SUCCESS
    [warning] = manifest.warnings
    assert warning.code == "companion-changed"
    assert "cube.mtl" in warning.message


async def test_a_new_companion_and_the_same_model_again_convert_again(pipeline: Pipeline) -> None:
    await pipeline.upload("cube.mtl", b"newmtl checks\nKd 1 0 0\n")
    first = await pipeline.convert("cube.obj", sample("cube.obj"))
    await pipeline.upload("cube.mtl", b"newmtl checks\nKd 0 1 0\n")
    second = await pipeline.convert("cube.obj", sample("cube.obj"))
    assert first.id != second.id
    assert len(await pipeline.jobs()) == 2


async def test_a_zip_with_one_model_is_that_model(pipeline: Pipeline) -> None:
    manifest = await pipeline.convert("cube.zip", sample("cube.zip"))
    assert manifest.source.model_in_zip == "cube.obj"
    assert await images(pipeline, "cube.zip") == 1


async def test_a_zip_with_two_models_lists_them(pipeline: Pipeline) -> None:
    data = zipped(a_stl=CUBE, parts__b_stl=CUBE)
    code, message = error(await pipeline.convert("two.zip", data))
    assert code == "invalid-settings"
    assert "a.stl" in message
    assert "parts/b.stl" in message
    assert "rootFilename" in message


async def test_root_filename_says_which_model_of_a_zip(pipeline: Pipeline) -> None:
    await pipeline.upload("two.zip.conversion.json", json.dumps({"rootFilename": "parts/b.stl"}).encode())
    manifest = await pipeline.convert("two.zip", zipped(a_stl=CUBE, parts__b_stl=CUBE))
    assert manifest.status is Status.SUCCESS
    assert manifest.source.model_in_zip == "parts/b.stl"


async def test_a_zip_without_a_model_says_so(pipeline: Pipeline) -> None:
    code, _ = error(await pipeline.convert("none.zip", zipped(readme_txt=b"nothing here")))
    assert code in ("unsupported-format", "corrupt-model", "invalid-settings")


async def test_the_shadows_of_a_mac_are_no_models(azurite: Azurite) -> None:
    async with start(azurite, converter=Copier()) as pipeline:
        await pipeline.drop("._cube.stl", CUBE)
        await pipeline.drop("__MACOSX/cube.stl", CUBE)
        assert await pipeline.records() == []
