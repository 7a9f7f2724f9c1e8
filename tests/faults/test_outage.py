"""R8: a service that is down for an hour, then takes so many starts a minute: none lost, none over that."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.conversion import Status, Step
from tests.copier import Copier
from tests.faults.crowd import CREATE, Between, each, ended, seeded, stop_clock
from tests.pipeline import Pipeline, settings_for, start

N = 80
LIMIT = 25
TICK = 31
SEED = 8081
MODEL = b"solid any\nendsolid\n"


class Limited(Between):
    """A service that is down until it is up, and then refuses what is over its limit."""

    def __init__(self, own: httpx.AsyncBaseTransport) -> None:
        super().__init__(own)
        self.pipeline: Pipeline | None = None
        self.is_up = False
        self.starts: list[tuple[datetime, str]] = []
        self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert self.pipeline is not None
        if not self.is_up:
            raise httpx.ConnectError("down")
        if request.url.path.endswith(CREATE):
            now = self.pipeline.app.storage.now()
            lately = [when for when, _ in self.starts if when > now - timedelta(minutes=1)]
            if len(lately) >= LIMIT:
                self.refused += 1
                return httpx.Response(429, json={"error": "too many"}, headers={"Retry-After": "30"})
            self.starts.append((now, json.loads(request.content)["input"]["inputAssetPath"]))
        return await super().handle_async_request(request)


@asynccontextmanager
async def limited(azurite: Azurite, **changes: Any) -> AsyncIterator[tuple[Pipeline, Limited]]:
    """A bundle whose Remote Rendering takes LIMIT starts a minute, and is down."""
    wires: list[Limited] = []

    def wrap(own: httpx.AsyncBaseTransport) -> Limited:
        wires.append(Limited(own))
        return wires[0]

    async with start(azurite, converter=Copier(), wrap=wrap, **changes) as pipeline:
        stop_clock(pipeline, ago=timedelta(hours=1))
        wires[0].pipeline = pipeline
        pipeline.app.services["remote-rendering"].starts_per_minute = LIMIT
        yield pipeline, wires[0]


async def test_after_an_hour_without_the_service_all_start_at_its_limit_and_none_over_it(
    azurite: Azurite,
) -> None:
    with seeded(SEED) as chances:
        models = [f"{number}.stl" for number in range(N)]
        chances.shuffle(models)
        async with limited(azurite, default_formats='[{"type": "glb"}]') as (pipeline, wire):
            landing = list(models)
            for _ in range(4):  # an hour
                first, landing = landing[: N // 4], landing[N // 4 :]
                await each(first, lambda path: pipeline.drop(path, MODEL))
                await pipeline.app.tick.run()
                pipeline.later(900)
            assert len(await pipeline.records()) == N
            wire.is_up = True
            for _ in range(round(N / LIMIT * 60 / TICK * 1.5) + 20):
                await pipeline.app.tick.run()
                if len({path for _, path in wire.starts}) == N:
                    break
                pipeline.later(TICK)
            begun = sorted(wire.starts)
            await pipeline.settle(rounds=30, seconds=30)
            manifests = await ended(pipeline, models)
            assert len(await pipeline.jobs()) == N
        assert {manifest.status for manifest in manifests.values()} == {Status.SUCCESS}
        # An overloaded machine may have failed one, which then is asked for again: that counts as well.
        first_of = {path: when for when, path in reversed(begun)}
        assert first_of.keys() == set(models)
        assert wire.refused == 0
        last = max(first_of.values())
        # The first minute's share went at once; from then on each tick has its own, but the last has less.
        steady = [when for when, _ in begun if begun[0][0] < when < last]
        minutes = (last - steady[0]) / timedelta(minutes=1)
        used = len(steady) / (minutes * LIMIT)
        print(f"{N} starts; {len(steady)} in {minutes:.2f} minutes: {used:.0%} of the limit")
        assert used >= 0.9


async def test_a_429_that_another_process_met_is_heeded_by_the_tick(azurite: Azurite) -> None:
    settings = settings_for(azurite)
    async with limited(azurite, **settings) as (one, first), limited(azurite, **settings) as (other, second):
        first.is_up = second.is_up = True
        first.starts = [(one.app.storage.now() + timedelta(days=1), "others")] * LIMIT
        await one.drop("a.stl", MODEL)
        for _ in range(2):  # the first share is less than one start
            await one.app.tick.run()
            one.later(5)
        assert first.refused == 1
        await other.drop("b.stl", MODEL)
        for ahead in (10, 10):
            other.later(ahead)
            await other.app.tick.run()
        assert second.starts == []
        record = await other.record("b.stl")
        assert record and (record.step, record.ordered) == (Step.START, False)
        other.later(30)
        await other.app.tick.run()
        assert sorted(path for _, path in second.starts) == ["a.stl", "b.stl"]


@pytest.mark.parametrize("died", [True, False])
async def test_a_start_that_died_has_its_place_at_the_service(azurite: Azurite, died: bool) -> None:
    async with start(azurite, max_in_flight=2, claim_seconds=30, converter=Copier()) as pipeline:
        for name in "abc":
            await pipeline.drop(f"{name}.stl", MODEL)
            pipeline.later(2)
        if died:
            held = await pipeline.app.tools.in_flight.of("a.stl")
            assert held
            await pipeline.app.lifecycle._claim(held)
        await pipeline.app.tick.run()
        running = [path for path in await pipeline.records() if await _is_polled(pipeline, path)]
        assert running == (["b.stl"] if died else ["a.stl", "b.stl"])
        await pipeline.settle(rounds=20)
        assert len(await pipeline.jobs()) == 3


async def _is_polled(pipeline: Pipeline, path: str | None) -> bool:
    record = await pipeline.record(path or "")
    return record is not None and record.step is Step.POLL
