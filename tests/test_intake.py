"""Intake: what is read of a model, how much of it, and what it names."""

from collections.abc import AsyncIterator

import pytest

from local.azurite import Azurite
from shared.intake import Companions
from shared.problems import Code, Problem
from tests.pipeline import Pipeline, start
from tests.shapes import sample

READ_BYTES = 64 * 1024


@pytest.fixture
async def pipeline(azurite: Azurite) -> AsyncIterator[Pipeline]:
    async with start(azurite, reference_read_bytes=READ_BYTES) as running:
        yield running


async def companions(pipeline: Pipeline, path: str) -> Companions:
    head = await pipeline.app.tools.head(path)
    assert head
    intake = pipeline.app.tools.intake
    return await intake.companions_of(head, (await intake.settings_of(path)).checked())


async def test_an_obj_names_its_materials_and_they_their_pictures(pipeline: Pipeline) -> None:
    for name in ("cube.obj", "cube.mtl", "checks.png"):
        await pipeline.upload(f"a/{name}", sample(name))
    found = await companions(pipeline, "a/cube.obj")
    assert [item.path for item in found.found] == ["a/cube.mtl", "a/checks.png"]
    assert [item.size for item in found.found] == [len(sample("cube.mtl")), len(sample("checks.png"))]
    assert found.missing == ()


async def test_what_is_missing_is_told_apart(pipeline: Pipeline) -> None:
    await pipeline.upload("cube.gltf", sample("cube.gltf"))
    found = await companions(pipeline, "cube.gltf")
    assert set(found.missing) == {"cube.bin", "checks.png"}
    assert found.required == ("cube.bin",)


async def test_a_model_without_references_needs_no_listing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.upload("cube.stl", sample("cube.stl"))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("listed")

    monkeypatch.setattr(pipeline.app.storage, "list", never)
    assert await companions(pipeline, "cube.stl") == Companions()


async def test_no_more_than_the_limit_is_read_of_a_model(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.upload("big.obj", b"mtllib near.mtl\n" + b"v 0 0 0\n" * 20_000 + b"mtllib far.mtl\n")
    real = pipeline.app.storage.read
    lengths = []

    async def read(
        container: str, name: str, *, offset: int | None = None, length: int | None = None
    ) -> object:
        blob = await real(container, name, offset=offset, length=length)
        lengths.append(len(blob.data) if blob else 0)
        return blob

    monkeypatch.setattr(pipeline.app.storage, "read", read)
    found = await companions(pipeline, "big.obj")
    assert found.missing == ("near.mtl",)
    assert max(lengths) <= READ_BYTES


async def test_materials_that_name_each_other_for_ever_come_to_an_end(pipeline: Pipeline) -> None:
    await pipeline.upload("a.obj", b"mtllib a.mtl\nmtllib A.MTL a.mtl\n")
    await pipeline.upload("a.mtl", b"newmtl a\nmap_Kd a.mtl\nmap_Kd gone.png\nmap_Ks gone.png\n")
    found = await companions(pipeline, "a.obj")
    assert [item.path for item in found.found] == ["a.mtl"]
    assert found.missing == ("gone.png",)


async def test_a_format_that_no_service_reads_is_refused(pipeline: Pipeline) -> None:
    intake = pipeline.app.tools.intake
    settings = (await intake.settings_of("house.rvt")).checked()
    with pytest.raises(Problem) as caught:
        intake.service_for("house.rvt", settings)
    assert caught.value.code is Code.UNSUPPORTED_FORMAT


async def test_equal_settings_have_one_digest_whatever_file_they_come_from(pipeline: Pipeline) -> None:
    intake = pipeline.app.tools.intake
    default = await intake.settings_of("a/cube.stl")
    await pipeline.upload("conversion.json", b'{"service": "remote-rendering"}')
    same = await intake.settings_of("a/cube.stl")
    await pipeline.upload("a/conversion.json", b'\xef\xbb\xbf {"formats": [{"type": "stl"}]}')
    other = await intake.settings_of("a/cube.stl")
    assert default.digest == same.digest != other.digest
    assert default.settings == same.settings


async def test_a_name_that_leaves_the_container_reads_no_sidecar(pipeline: Pipeline) -> None:
    resolved = await pipeline.app.tools.intake.settings_of("../x.stl")
    with pytest.raises(Problem) as caught:
        resolved.checked()
    assert caught.value.code is Code.INVALID_NAME


async def test_an_fbx_waits_for_nothing(pipeline: Pipeline) -> None:
    name = b"RelativeFilename"
    value = b"S" + (8).to_bytes(4, "little") + b"gone.png"
    head = b"Kaydara FBX Binary  \x00\x1a\x00" + (7400).to_bytes(4, "little")
    node = (1).to_bytes(4, "little") + len(value).to_bytes(4, "little") + bytes([len(name)]) + name + value
    await pipeline.upload("a.fbx", head + (0).to_bytes(4, "little") + node)
    found = await companions(pipeline, "a.fbx")
    assert found.missing == ("gone.png",)
    assert not found.awaited
