"""The client against the bundle's own API: from a model that lands to its manifest."""

import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.azurite import Azurite
from shared.conversion import Status
from shared.embedded.converter import Converter
from tests.embedded.models import mtl, obj, png, read_glb
from tests.pipeline import Pipeline, start

SETTINGS = {"embedded_apis": "remote-rendering,api2convert", "default_service": "api2convert"}


@pytest.fixture
async def pipeline(azurite: Azurite, converter: Converter) -> AsyncIterator[Pipeline]:
    async with start(azurite, converter=converter, **SETTINGS) as running:
        yield running


async def test_a_model_is_converted_and_its_job_deleted(pipeline: Pipeline) -> None:
    manifest = await pipeline.convert("box.obj", obj())
    assert manifest.status is Status.SUCCESS, manifest.errors
    (derivative,) = manifest.derivatives
    assert (derivative.name, derivative.output_type) == ("box.glb", "glb")
    assert derivative.content_type == "model/gltf-binary"
    read_glb(await pipeline.read(derivative.path))
    assert manifest.service is not None
    assert (manifest.service.name, manifest.source.path) == ("api2convert", "box.obj")
    left = [
        blob.name
        async for blob in pipeline.app.storage.list(pipeline.app.settings.embedded_container, "api2convert-")
    ]
    assert left == []
