"""The tick: one at a time, cheap when idle, and not ended by one conversion's trouble."""

import asyncio
from typing import Any

import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import BlobLeaseClient

from local.azurite import Azurite
from shared import paths, tick
from shared.conversion import Status, Step
from shared.tick import LOCK
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import sample

CUBE = sample("cube.stl")
LONG_AGO = "2020-01-01T00:00:00+00:00"


class Counts(AioHttpTransport):  # type: ignore[misc]
    """Counts the requests to storage."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []

    async def send(self, request: Any, **kwargs: Any) -> Any:
        self.requests.append(f"{request.method} {request.url}")
        return await super().send(request, **kwargs)

    async def __aexit__(self, *exception: object) -> None:
        """One of several clients that use it has ended."""


def lock(pipeline: Pipeline) -> BlobLeaseClient:
    settings = pipeline.app.settings
    return BlobLeaseClient(pipeline.app.storage.blob(settings.in_flight_container, LOCK))


async def test_a_tick_beside_another_is_one_request(azurite: Azurite) -> None:
    counts = Counts()
    async with start(azurite, client_options={"transport": counts}) as pipeline:
        await pipeline.app.tick.run()
        lease = lock(pipeline)
        await lease.acquire(15)
        await pipeline.upload("cube.stl", CUBE)
        await pipeline.app.lifecycle._accept("cube.stl")
        pipeline.later(1000)
        before = len(counts.requests)
        assert await pipeline.app.tick.run() == 0
        assert len(counts.requests) == before + 1
        assert await pipeline.records() == ["cube.stl"]
        await lease.release()
        assert await pipeline.app.tick.run() == 1


async def test_a_long_tick_keeps_its_lease(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = asyncio.Event()

    class Renewals(AioHttpTransport):  # type: ignore[misc]
        async def send(self, request: Any, **kwargs: Any) -> Any:
            if request.headers.get("x-ms-lease-action") == "renew":
                renewed.set()
            return await super().send(request, **kwargs)

    async def lasting(name: str, **_: Any) -> None:
        await asyncio.wait_for(renewed.wait(), 30)

    monkeypatch.setattr(tick, "_RENEW_SECONDS", 0.05)
    async with start(azurite, client_options={"transport": Renewals()}) as pipeline:
        await pipeline.upload("cube.stl", CUBE)
        await pipeline.app.lifecycle._accept("cube.stl")
        pipeline.later(1000)
        monkeypatch.setattr(pipeline.app.lifecycle, "advance", lasting)
        assert await pipeline.app.tick.run() == 1
        assert renewed.is_set()


async def test_an_idle_tick_is_three_requests(azurite: Azurite) -> None:
    counts = Counts()
    async with start(azurite, client_options={"transport": counts}) as pipeline:
        await pipeline.app.tick.run()
        before = len(counts.requests)
        await pipeline.app.tick.run()
        assert len(counts.requests) == before + 3  # lease, list, release


async def test_a_tick_reads_only_what_is_due(azurite: Azurite) -> None:
    counts = Counts()
    async with start(azurite, client_options={"transport": counts}) as pipeline:
        for name in "abc":
            await pipeline.drop(f"{name}.stl", CUBE)
        await pipeline.app.tick.run()
        before = len(counts.requests)
        assert await pipeline.app.tick.run() == 0
        assert len(counts.requests) == before + 3


async def test_the_first_ticks_at_once_agree_on_the_installation(azurite: Azurite) -> None:
    async with start(azurite) as one:
        await one.app.tick.run()
        head = await one.app.storage.head(one.app.settings.in_flight_container, LOCK)
        pipeline_time = one.app.tools.now()
        one.later(500)
        await one.app.tick.run()
        again = await one.app.storage.head(one.app.settings.in_flight_container, LOCK)
        assert head and again
        assert head.metadata["installed"] == again.metadata["installed"]
        assert head.metadata["installed"][:16] <= pipeline_time.isoformat()[:16]


async def test_a_broken_record_does_not_end_the_tick_of_the_others(
    azurite: Azurite, caplog: pytest.LogCaptureFixture
) -> None:
    async with start(azurite, converter=Copier()) as pipeline:
        await pipeline.drop("good.stl", CUBE)
        await pipeline.app.storage.put(
            pipeline.app.settings.in_flight_container,
            paths.record("bad.stl"),
            b"{this is no record",
            metadata={"step": "poll", "status": "pending", "due": LONG_AGO, "accepted": LONG_AGO},
        )
        await pipeline.work()
        pipeline.later(10)
        await pipeline.app.tick.run()
        assert (await pipeline.manifest("good.stl")).status is Status.SUCCESS
        assert "tick.trouble" in caplog.text


async def test_what_waits_longest_is_handed_out_first(azurite: Azurite) -> None:
    async with start(azurite, max_in_flight=1) as pipeline:
        for name in "abc":
            await pipeline.drop(f"{name}.stl", CUBE)
            pipeline.later(2)
        await pipeline.app.tick.run()
        steps = {name: (await pipeline.record(f"{name}.stl")) for name in "abc"}
        assert [name for name, found in steps.items() if found and found.step is Step.POLL] == ["a"]
