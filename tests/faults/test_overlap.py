"""R3: two ticks at once over a thousand conversions in flight, and two sweeps beside them."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from local.azurite import Azurite
from shared import paths
from shared.conversion import Conversion, Outcome, Status, Step
from tests.faults.fleet import Ended, Fleet, break_lease
from tests.faults.proxy import Call, Fault, seeded
from tests.faults.whole import LONG, Scene, measured, scene

SEED = 8003
IN_FLIGHT = 1000


@dataclass
class Seen:
    """What storage and the service have accepted, as far as it must not happen twice."""

    leased: asyncio.Event = field(default_factory=asyncio.Event)
    starts: Counter[str] = field(default_factory=Counter)
    manifests: Counter[str] = field(default_factory=Counter)
    _marks: dict[int, asyncio.Event] = field(default_factory=dict)

    def watch(self, call: Call, fault: Fault | None, status: int) -> None:
        if call.kind == "Lease Blob" and call.headers.get("x-ms-lease-action") == "acquire" and status == 201:
            self.leased.set()
        if "idempotency-key" in call.headers:
            self.starts[call.headers["idempotency-key"]] += 1
        if call.kind == "Put Blob" and call.name.endswith(f"/{paths.MANIFEST}") and status == 201:
            self.manifests[call.name] += 1
            if mark := self._marks.get(len(self.manifests)):
                mark.set()

    async def sweep(self, fleet: Fleet, on: str, *, after: int) -> Ended:
        """A sweep that begins when there are so many manifests."""
        await self._marks.setdefault(after, asyncio.Event()).wait()
        return await fleet.call("find_missed_models", on=on)


@pytest.fixture
async def here() -> AsyncIterator[Azurite]:
    """One of its own: it gets slow with what it holds."""
    with Azurite.start() as azurite:
        yield azurite


@LONG
async def test_ticks_that_overlap_start_and_tell_everything_once(here: Azurite, tmp_path: Path) -> None:
    with seeded(SEED):
        async with scene(here, tmp_path, seed=SEED) as scenery:
            fleet, pipeline, names = scenery.fleet, scenery.pipeline, scenery.pipeline.app.settings
            starting, ending = await in_flight(scenery)
            # The first tick ever makes the lock.
            assert (await fleet.call("poll_conversions")).how == "done"
            fleet.later(60)
            seen = Seen()
            scenery.storage.follow(watch=seen.watch)
            scenery.service.watch = seen.watch

            first = asyncio.create_task(fleet.call("poll_conversions", on="0"))
            await seen.leased.wait()
            second = await fleet.call("poll_conversions", on="1")
            assert (second.how, second.requests) == ("done", 1)
            assert not first.done()
            # Were the lease lost, the records would still be safe.
            await break_lease(pipeline)
            ended = await asyncio.gather(
                first,
                fleet.call("poll_conversions", on="1"),
                seen.sweep(fleet, "2", after=10),
                seen.sweep(fleet, "3", after=IN_FLIGHT // 4),
            )
            assert {each.how for each in ended} == {"done"}

            assert seen.manifests == Counter({paths.manifest(path): 1 for path in ending})
            assert seen.starts == Counter(starting.values())
            assert len(await pipeline.jobs()) == len(starting)
            in_poll = {
                item.path async for item in pipeline.app.tools.in_flight.list() if item.step == Step.POLL
            }
            assert in_poll == set(starting)
            left = [blob.name async for blob in pipeline.app.storage.list(names.in_flight_container)]
            assert len(left) == len(starting) + 1
            measured(
                "R3",
                in_flight=IN_FLIGHT,
                requests_of_the_second_tick=second.requests,
                started=len(seen.starts),
                manifests=len(seen.manifests),
                requests_of_the_ticks_and_sweeps=[each.requests for each in ended],
            )
            # The ticks did meet: the one that came later alone would have had nothing left to do.
            assert ended[1].requests > IN_FLIGHT


async def in_flight(scenery: Scene) -> tuple[dict[str, str], set[str]]:
    """Records that are due in a minute: of half of them the conversion is to be started, of the others its
    manifest to be written. The ids of those by path, and the paths of these."""
    fleet, pipeline = scenery.fleet, scenery.pipeline
    storage = pipeline.app.storage
    settings = (await pipeline.app.tools.intake.settings_of("model.stl")).checked()
    now = fleet.clock.now()
    due = now + timedelta(seconds=60)
    starting: dict[str, str] = {}
    ending: set[str] = set()
    limit = asyncio.Semaphore(16)

    async def put(number: int) -> None:
        async with limit:
            path, data = f"{number % 7}/model {number}.stl", f"solid {number}\nendsolid\n".encode()
            etag = await storage.put(pipeline.app.settings.models_container, path, data)
            md5 = hashlib.md5(data, usedforsecurity=False).digest()
            begun = Conversion.begin(path, etag, len(data), md5, now, due).changed(
                settings=settings, settings_hash=settings.digest, tries=0
            )
            if number % 2:
                starting[path] = begun.id
                record = begun.changed(step=Step.START)
            else:
                ending.add(path)
                outcome = Outcome(status=Status.FAILED, code="service-refused", message="It was refused.")
                record = begun.changed(step=Step.FINISH, outcome=outcome, status=Status.FAILED)
            await pipeline.app.tools.in_flight.create(record)

    await asyncio.gather(*(put(number) for number in range(IN_FLIGHT)))
    return starting, ending
