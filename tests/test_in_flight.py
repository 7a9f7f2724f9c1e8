"""Records are read as they were written; and those that this release cannot read: edited by hand, or written
by another release."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.azurite import Azurite
from shared import paths
from shared.conversion import Status
from shared.in_flight import Held, NotOurs
from shared.storage import Conflict
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import block


@pytest.fixture
async def pipeline(azurite: Azurite) -> AsyncIterator[Pipeline]:
    async with start(azurite, converter=Copier()) as running:
        yield running


async def begun(pipeline: Pipeline) -> Held:
    """A model has landed; the record of its conversion."""
    await pipeline.drop("block.stl", block(1))
    held = await pipeline.app.tools.in_flight.of("block.stl")
    assert held is not None
    return held


async def damage(pipeline: Pipeline, *, keeps_metadata: bool) -> None:
    storage, container = pipeline.app.storage, pipeline.app.settings.in_flight_container
    name = paths.record("block.stl")
    blob = await storage.read(container, name)
    assert blob is not None
    content = json.loads(blob.data) | {"addedByALaterRelease": 1}
    metadata = dict(blob.head.metadata) if keeps_metadata else {"step": "poll"}
    await storage.put(container, name, json.dumps(content).encode(), metadata=metadata)


@pytest.mark.parametrize("service_id", ["its own", None], ids=["named", "not named yet"])
async def test_a_record_that_took_the_place_of_another_is_read_as_it_was_written(
    pipeline: Pipeline, service_id: str | None
) -> None:
    in_flight = pipeline.app.tools.in_flight
    held = await begun(pipeline)
    replaced = held.conversion.changed(service_id=service_id)
    written = await in_flight.save(held, **replaced.left_behind)
    assert [left.service_id for left in written.conversion.abandoned] == [service_id]
    assert await in_flight.of("block.stl") == written


@pytest.mark.parametrize("times", [1, 4])
async def test_a_write_that_is_refused_although_nobody_has_written_is_made_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    in_flight = pipeline.app.tools.in_flight
    held = await begun(pipeline)
    replace, left = pipeline.app.storage.replace, iter(range(times))

    async def refuses(*args: Any, **options: Any) -> str:
        if next(left, None) is not None:
            raise Conflict
        return await replace(*args, **options)

    monkeypatch.setattr(pipeline.app.storage, "replace", refuses)
    written = await in_flight.save(held, percent=17)
    assert await in_flight.of("block.stl") == written
    assert written.conversion.percent == 17


async def test_a_record_whose_deletion_is_refused_without_a_reason_goes(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_flight = pipeline.app.tools.in_flight
    older = await begun(pipeline)
    newer = await in_flight.save(older, percent=17)
    delete, asked = pipeline.app.storage.delete, []

    async def refuses(*args: Any) -> bool:
        asked.append(args)
        if len(asked) < 3:
            raise Conflict
        return await delete(*args)

    monkeypatch.setattr(pipeline.app.storage, "delete", refuses)
    await in_flight.delete(older)
    assert await in_flight.of("block.stl") == newer
    assert len(asked) == 1
    await in_flight.delete(newer)
    assert await in_flight.of("block.stl") is None
    assert len(asked) == 3


async def test_a_write_that_is_refused_for_ever_is_given_up(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_flight = pipeline.app.tools.in_flight
    held = await begun(pipeline)

    async def refuses(*_: Any, **__: Any) -> str:
        raise Conflict

    monkeypatch.setattr(pipeline.app.storage, "replace", refuses)
    with pytest.raises(NotOurs):
        await in_flight.save(held, percent=17)


async def test_a_record_of_another_release_is_left_to_it_for_a_while(pipeline: Pipeline) -> None:
    await pipeline.drop("block.stl", block(1))
    await damage(pipeline, keeps_metadata=True)
    await pipeline.event("block.stl")
    await pipeline.app.tick.run()
    assert len(await pipeline.jobs()) == 1


async def test_a_record_that_nobody_moves_any_more_is_begun_again(pipeline: Pipeline) -> None:
    await pipeline.drop("block.stl", block(1))
    await damage(pipeline, keeps_metadata=True)
    pipeline.later(pipeline.app.settings.claim_seconds + 10)
    await pipeline.settle()
    assert (await pipeline.manifest("block.stl")).status is Status.SUCCESS


async def test_a_record_without_its_metadata_stops_no_listing_and_is_found_by_the_sweep(
    pipeline: Pipeline,
) -> None:
    await pipeline.app.tick.run()
    await pipeline.drop("block.stl", block(1))
    await damage(pipeline, keeps_metadata=False)
    await pipeline.convert("other.stl", block(2))
    pipeline.later(pipeline.app.settings.claim_seconds + 10)
    await pipeline.app.sweep.run()
    await pipeline.settle()
    assert (await pipeline.manifest("block.stl")).status is Status.SUCCESS
