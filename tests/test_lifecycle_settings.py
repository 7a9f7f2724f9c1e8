"""Sidecars: which one counts, when it lands, and what is said of a wrong one."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.azurite import Azurite
from shared.conversion import Status
from shared.manifest import Manifest
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import sample

CUBE = sample("cube.stl")
SIDECAR = "cube.stl.conversion.json"


@pytest.fixture
async def pipeline(azurite: Azurite) -> AsyncIterator[Pipeline]:
    """No model is converted for real here: only what is ordered matters."""
    async with start(azurite, converter=Copier(), default_formats='[{"type": "glb"}]') as running:
        yield running


def asks_for(*types: str, **more: Any) -> bytes:
    return json.dumps({"formats": [{"type": item} for item in types], **more}).encode()


def types(manifest: Manifest) -> list[str]:
    assert manifest.status is Status.SUCCESS, manifest.messages
    return [item.output_type for item in manifest.derivatives]


async def refused(pipeline: Pipeline, sidecar: bytes, path: str = "cube.stl") -> tuple[str, str]:
    """The code and message of a model that lands beside this sidecar; no service is asked."""
    await pipeline.upload(f"{path}.conversion.json", sidecar)
    manifest = await pipeline.convert(path, CUBE)
    assert manifest.status is Status.FAILED
    assert await pipeline.jobs() == []
    return str(manifest.errors[0].code), manifest.errors[0].message


async def test_the_nearest_sidecar_counts_whole(pipeline: Pipeline) -> None:
    await pipeline.upload("conversion.json", asks_for("stl"))
    await pipeline.upload("a/conversion.json", asks_for("obj"))
    await pipeline.upload("a/own.stl.conversion.json", asks_for("stl", "glb"))
    assert types(await pipeline.convert("a/own.stl", CUBE)) == ["glb", "stl"]
    assert types(await pipeline.convert("a/folder.stl", CUBE)) == ["obj"]
    assert types(await pipeline.convert("a/b/root.stl", CUBE)) == ["stl"]
    assert types(await pipeline.convert("root.stl", CUBE)) == ["stl"]


async def test_without_a_sidecar_the_app_settings_count(pipeline: Pipeline) -> None:
    assert types(await pipeline.convert("cube.stl", CUBE)) == ["glb"]


async def test_what_a_sidecar_leaves_out_is_the_app_default(pipeline: Pipeline) -> None:
    await pipeline.upload(SIDECAR, b"{}")
    manifest = await pipeline.convert("cube.stl", CUBE)
    assert types(manifest) == ["glb"]
    assert manifest.settings and manifest.settings.service == "remote-rendering"


async def test_a_sidecar_before_its_model_starts_nothing(pipeline: Pipeline) -> None:
    await pipeline.drop(SIDECAR, asks_for("stl"))
    assert await pipeline.records() == []
    assert types(await pipeline.convert("cube.stl", CUBE)) == ["stl"]


async def test_a_sidecar_before_the_start_is_the_one_that_counts(azurite: Azurite) -> None:
    # With a limit the trigger only records, so there is a time between landing and start.
    async with start(azurite, converter=Copier(), max_in_flight=1) as pipeline:
        await pipeline.drop("cube.stl", CUBE)
        await pipeline.drop(SIDECAR, asks_for("stl"))
        await pipeline.settle()
        assert types(await pipeline.manifest("cube.stl")) == ["stl"]
        assert len(await pipeline.jobs()) == 1


async def test_a_sidecar_in_mid_flight_starts_over(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    await pipeline.drop(SIDECAR, asks_for("stl"))
    await pipeline.settle()
    manifest = await pipeline.manifest("cube.stl")
    assert types(manifest) == ["stl"]
    assert len(await pipeline.jobs()) == 2


async def test_a_sidecar_after_the_end_converts_again(pipeline: Pipeline) -> None:
    await pipeline.convert("cube.stl", CUBE)
    await pipeline.drop(SIDECAR, asks_for("stl"))
    await pipeline.settle()
    manifest = await pipeline.manifest("cube.stl")
    assert types(manifest) == ["stl"]
    assert list(await pipeline.outputs("cube.stl")) == [manifest.id]


async def test_the_same_sidecar_again_changes_nothing(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    for _ in range(2):
        await pipeline.drop(SIDECAR, asks_for("glb"))
    await pipeline.settle()
    first = await pipeline.manifest("cube.stl")
    await pipeline.drop(SIDECAR, asks_for("glb"))
    await pipeline.settle()
    assert await pipeline.manifest("cube.stl") == first
    assert len(await pipeline.jobs()) == 1


async def test_settings_there_and_back_again_end_with_what_they_were(pipeline: Pipeline) -> None:
    first = await pipeline.convert("cube.stl", CUBE)
    await pipeline.drop(SIDECAR, asks_for("stl"))
    await pipeline.drop(SIDECAR, asks_for("glb"))
    await pipeline.settle()
    assert types(await pipeline.manifest("cube.stl")) == ["glb"]
    for item in (await pipeline.manifest("cube.stl")).derivatives:
        assert len(await pipeline.read(item.path)) == item.size
    assert (await pipeline.manifest("cube.stl")).source.etag == first.source.etag


async def test_a_sidecar_counts_although_the_models_metadata_changed_too(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    await pipeline.upload("cube.stl", CUBE, colour="red")
    await pipeline.drop(SIDECAR, asks_for("stl"))
    await pipeline.settle()
    assert types(await pipeline.manifest("cube.stl")) == ["stl"]


async def test_the_same_bytes_with_other_settings_are_converted_again(pipeline: Pipeline) -> None:
    await pipeline.convert("cube.stl", CUBE)
    await pipeline.upload(SIDECAR, asks_for("stl"))  # whose event is late
    assert types(await pipeline.convert("cube.stl", CUBE)) == ["stl"]


async def test_a_corrected_sidecar_converts_a_model_that_failed(pipeline: Pipeline) -> None:
    await refused(pipeline, b"{")
    await pipeline.drop(SIDECAR, asks_for("stl"))
    await pipeline.settle()
    assert types(await pipeline.manifest("cube.stl")) == ["stl"]


@pytest.mark.parametrize(
    ("sidecar", "named"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"service": "remote-rendering", "options": {"x": NaN}}', "not JSON"),
        (b"[]", "the file"),
        (b"null", "the file"),
        (b'{"format": []}', "'format'"),
        (b'{"formats": []}', "'formats'"),
        (b'{"formats": [{}]}', "'formats.0.type'"),
        (b'{"formats": [{"type": 7}]}', "'formats.0.type'"),
        (b'{"service": "acme"}', "'service'"),
        (b'{"rootFilename": 3}', "'rootFilename'"),
        (b'{"options": {"acces": "sas"}}', "'acces'"),
        (b'{"options": {"access": "public"}}', "options.access"),
        (b'{"options": {"outputAssetFileName": "a/b.arrAsset"}}', "options.outputAssetFileName"),
        (b'{"options": {"outputAssetFileName": "\\ud800.arrAsset"}}', "surrogates"),
        (b'{"service": "model-derivative"}', "model-derivative"),
        (b" " * 300_000, "256 KiB"),
    ],
)
async def test_a_wrong_sidecar_is_refused_by_the_key(pipeline: Pipeline, sidecar: bytes, named: str) -> None:
    code, message = await refused(pipeline, sidecar)
    assert code == "invalid-settings"
    assert named in message
    assert len(message) < 1000


async def test_the_message_names_the_file_that_is_wrong(pipeline: Pipeline) -> None:
    await pipeline.upload("a/conversion.json", b'{"formatz": []}')
    manifest = await pipeline.convert("a/cube.stl", CUBE)
    assert manifest.errors[0].message.startswith("a/conversion.json: unknown key 'formatz'")


@pytest.mark.parametrize(
    ("sidecar", "code", "named"),
    [
        (asks_for("glb", "glb"), "invalid-settings", "'.glb'"),
        (asks_for("svf2"), "unsupported-output", "svf2"),
        (
            json.dumps({"formats": [{"type": "glb", "advanced": {"colour": 1}}]}).encode(),
            "invalid-settings",
            "colour",
        ),
    ],
)
async def test_formats_that_cannot_be_made_are_refused(
    pipeline: Pipeline, sidecar: bytes, code: str, named: str
) -> None:
    found, message = await refused(pipeline, sidecar)
    assert found == code
    assert named in message
    if code == "unsupported-output":
        assert "glb" in message.replace("svf2", "")


async def test_linked_storage_that_is_not_linked_says_so(pipeline: Pipeline) -> None:
    await pipeline.upload(SIDECAR, json.dumps({"options": {"access": "linked"}}).encode())
    manifest = await pipeline.convert("cube.stl", CUBE)
    assert manifest.errors[0].code == "service-refused"
    assert "connected storage account" in manifest.errors[0].message


async def test_linked_storage_is_used_without_a_sas(azurite: Azurite) -> None:
    models, converted = "linked-models", "linked-converted"
    async with start(
        azurite,
        converter=Copier(),
        models_container=models,
        converted_container=converted,
        embedded_linked_containers=f"devstoreaccount1/{models},devstoreaccount1/{converted}",
    ) as pipeline:
        await pipeline.upload(SIDECAR, asks_for("glb", options={"access": "linked"}))
        assert types(await pipeline.convert("cube.stl", CUBE)) == ["glb"]
