"""The life of a conversion, on real storage and with real conversions."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.azurite import Azurite
from shared.conversion import Status
from tests.pipeline import Pipeline, start

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
CUBE = (SAMPLES / "cube" / "cube.stl").read_bytes()


@pytest.fixture
async def pipeline(azurite: Azurite) -> AsyncIterator[Pipeline]:
    async with start(azurite) as running:
        yield running


async def test_a_model_that_lands_is_converted(pipeline: Pipeline) -> None:
    manifest = await pipeline.convert("cube.stl", CUBE)
    assert manifest.status is Status.SUCCESS
    assert [item.output_type for item in manifest.derivatives] == ["thumbnail", "glb"]
    for item in manifest.derivatives:
        assert len(await pipeline.read(item.path)) == item.size
    assert len(await pipeline.jobs()) == 1
