"""The manifest: its shape, its schema, and who may replace it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from local.azurite import Azurite
from shared import manifest
from shared.conversion import Conversion, Message, Outcome, OutputFile, Status, Step
from shared.storage import Conflict
from tests.copier import Copier
from tests.pipeline import SCHEMA, start
from tests.shapes import sample

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def conversion(**changes: object) -> Conversion:
    begun = Conversion.begin("a/car.obj", '"0x1"', 10, bytes(16), NOW, NOW)
    outcome = Outcome(status=Status.SUCCESS)
    return begun.changed(**({"outcome": outcome, "steps": {Step.INTAKE: 1.5}} | changes))


def file(name: str, output_type: str, role: str | None = None) -> OutputFile:
    return OutputFile(path=f"a/car.obj/id/{name}", output_type=output_type, role=role, size=1)


def test_the_published_schema_is_up_to_date() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == manifest.schema(), "run the command in shared/manifest.py"
    jsonschema.Draft202012Validator.check_schema(json.loads(manifest.schema()))


def test_the_schema_refuses_what_is_no_manifest() -> None:
    schema = json.loads(manifest.schema())
    good = json.loads(manifest.build(conversion(), NOW).encode())
    jsonschema.validate(good, schema)
    for changes in ({"status": "done"}, {"derivatives": None}, {"extra": 1}, {"version": "2.0"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(good | changes, schema)
    del good["source"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(good, schema)


def test_it_has_model_derivatives_shape() -> None:
    files = (file("car.glb", "glb"), file("car.400x400.png", "thumbnail"))
    built = json.loads(
        manifest.build(conversion(outcome=Outcome(status=Status.SUCCESS, files=files)), NOW).encode()
    )
    assert built["type"] == "manifest"
    assert (built["status"], built["progress"], built["hasThumbnail"]) == ("success", "complete", "true")
    assert [(item["outputType"], item["hasThumbnail"]) for item in built["derivatives"]] == [
        ("glb", "false"),
        ("thumbnail", "true"),
    ]
    assert built["timings"]["accepted"] == "2026-11-22T12:00:00Z"
    assert built["timings"]["steps"] == {"intake": 1.5}
    assert built["source"]["md5"] == "00" * 16


def test_a_failure_is_told_in_both_vocabularies() -> None:
    warning = Message(type="warning", code="missing-companion", message="No cube.mtl.")
    outcome = Outcome(status=Status.FAILED, code="conversion-failed", message="It broke.")
    built = json.loads(manifest.build(conversion(outcome=outcome, messages=(warning,)), NOW).encode())
    assert [item["code"] for item in built["messages"]] == ["missing-companion", "conversion-failed"]
    [error] = built["errors"]
    assert set(error) == {"source", "id_source", "code", "message"}
    assert (error["source"], error["code"]) == ("conversion", "conversion-failed")
    [told] = built["warnings"]
    assert (told["source"], told["code"]) == ("input", "missing-companion")


def test_files_that_belong_to_another_are_its_children() -> None:
    files = (
        file("car.obj", "obj"),
        file("car.mtl", "obj", "companion"),
        file("car.png", "obj", "companion"),
        file("car.glb", "glb"),
    )
    outcome = Outcome(status=Status.SUCCESS, files=files)
    obj, glb = manifest.build(conversion(outcome=outcome), NOW).derivatives
    assert [child.path.rpartition("/")[2] for child in obj.children] == ["car.mtl", "car.png"]
    assert glb.children == ()


async def test_a_manifest_is_replaced_by_its_version_alone(azurite: Azurite) -> None:
    async with start(azurite) as pipeline:
        manifests = pipeline.app.tools.manifests
        built = manifest.build(conversion(), NOW)
        etag = await manifests.write(built, None, NOW)
        with pytest.raises(Conflict):
            await manifests.write(built, None, NOW)
        await manifests.write(built, etag, NOW)
        with pytest.raises(Conflict):
            await manifests.write(built, etag, NOW)
        stored = await manifests.of("a/car.obj")
        assert stored and stored.manifest == built


async def test_metadata_are_enough_for_a_listing(azurite: Azurite) -> None:
    async with start(azurite) as pipeline:
        outcome = Outcome(status=Status.FAILED, code="Ungültig\u20ac", message="x")
        built = manifest.build(conversion(outcome=outcome, etag='"0x é %"'), NOW)
        await pipeline.app.tools.manifests.write(built, None, NOW)
        [blob] = [
            blob
            async for blob in pipeline.app.storage.list(
                pipeline.app.settings.converted_container, metadata=True
            )
        ]
        assert all(value.isascii() for value in blob.metadata.values())
        assert blob.metadata["status"] == "failed"
        assert blob.metadata["conversion"] == built.id
        assert blob.metadata["sourceetag"] == "%220x%20%C3%A9%20%25%22"
        assert blob.content_type == "application/json"


async def test_a_manifest_that_somebody_broke_is_replaced(azurite: Azurite) -> None:
    async with start(azurite, converter=Copier()) as pipeline:
        for content in (b"{", b"{}", b"\xff", b""):
            await pipeline.app.storage.put(
                pipeline.app.settings.converted_container, "cube.stl/manifest.json", content
            )
            await pipeline.upload("cube.stl", sample("cube.stl"))
            await pipeline.event("cube.stl")
            await pipeline.settle()
            assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS


def test_the_schema_lies_beside_its_source() -> None:
    assert Path(manifest.__file__).with_name("manifest.schema.json") == SCHEMA
