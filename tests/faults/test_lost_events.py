"""A tenth of all events is lost, in a folder of many models: one sweep finds them all (row R7).

``N`` in the environment is the number that ``make faults`` was given; here it is five models for each.
"""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from math import ceil
from urllib.parse import parse_qs, urlsplit

import pytest

from shared import paths
from tests.faults.whole import enduring_azurite
from tests.pipeline import Pipeline, start
from tests.shapes import sample
from tests.test_tick import Counts

MODELS = 5 * int(os.environ.get("N") or 200)
SEED = 7
AT_ONCE = 16
PAGE = 5000


@pytest.mark.timeout(300 + MODELS)
async def test_one_sweep_finds_every_model_whose_event_was_lost() -> None:
    # Half of them no service reads, so that they have a manifest at once; the others wait for the tick.
    names = [f"one folder/{number:06}.{'rvt' if number % 2 else 'stl'}" for number in range(MODELS)]
    delivered = list(names)
    random.Random(SEED).shuffle(delivered)
    lost = {delivered.pop() for _ in range(MODELS // 10)}
    counts = Counts()
    with enduring_azurite() as azurite:
        async with start(
            azurite,
            client_options={"transport": counts},
            convert_since="2020-01-01T00:00:00Z",
            max_in_flight=1,
        ) as pipeline:
            await each(names, lambda name: pipeline.upload(name, sample("cube.stl")))
            await each(delivered, pipeline.event)
            assert lost.isdisjoint(await known(pipeline))
            before = await known(pipeline)
            assert before.keys() == set(delivered)
            sent = len(counts.requests)
            assert await pipeline.app.sweep.run() == len(lost)
            listings = listed(counts.requests[sent:])
            after = await known(pipeline)
            assert after.keys() == set(names)
            assert {name: after[name] for name in delivered} == before
            assert await pipeline.app.sweep.run() == 0
            assert await known(pipeline) == after
            settings = pipeline.app.settings
            for container in (
                settings.models_container,
                settings.converted_container,
                settings.in_flight_container,
            ):
                blobs = len([blob async for blob in pipeline.app.storage.list(container)])
                assert 1 <= listings[container] <= ceil(blobs / PAGE)


async def each(names: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
    """The work for each name, some at once."""
    waiting = iter(names)

    async def one_after_the_other() -> None:
        for name in waiting:
            await work(name)

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))


async def known(pipeline: Pipeline) -> dict[str | None, str]:
    """The models that are in flight or have a manifest, with the version of the blob that says so."""
    settings = pipeline.app.settings
    storage = pipeline.app.storage
    found: dict[str | None, str] = {}
    async for blob in storage.list(settings.in_flight_container, metadata=True):
        if "path" in blob.metadata:
            found[paths.from_metadata(blob.metadata["path"])] = blob.etag
    async for blob in storage.list(settings.converted_container):
        folder, _, name = blob.name.rpartition("/")
        if name == paths.MANIFEST:
            assert folder not in found
            found[folder] = blob.etag
    return found


def listed(requests: list[str]) -> Counter[str]:
    """How often each container was listed, and not one model's folder of it."""
    found: Counter[str] = Counter()
    for request in requests:
        parts = urlsplit(request.partition(" ")[2])
        query = parse_qs(parts.query)
        if query.get("comp") == ["list"] and "prefix" not in query and re.search("-[0-9a-f]{8}$", parts.path):
            found[parts.path.rpartition("/")[2]] += 1
    return found
