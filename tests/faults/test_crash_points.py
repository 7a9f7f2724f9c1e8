"""Killed at every point between two I/O steps: the conversion ends, once, and nothing is left (promise 4).

Processes are real and so are their deaths. What a process does is found by running it until it survives,
so a new I/O step is a new crash point. Between two requests all that matters is what storage holds: the
moment after a reply is the one before the next request. The conversion is taken up in both ways that there
are: after a death before a request the event or the message comes again; after one that follows a reply
only timers go on.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob.aio import BlobLeaseClient

from local.azurite import Azurite
from local.places import ROOT
from shared import paths
from shared.conversion import Status
from shared.tick import LOCK
from tests.faults.victim import Order, Stub
from tests.pipeline import Pipeline, settings_for, start

MODEL = "parts/box.obj"
OBJ = b"mtllib box.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
MTL = b"newmtl red\nKd 1 0 0\n"
CLAIM = 30
# A worker's claim lasts as long as its engine may take, and ten minutes.
WORKER_CLAIM = 620
MOST_STEPS = 100


class Victims:
    """The process that forks those which are killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def kill(self, order: Order) -> bool:
        """Whether the process died at its step; False if it came to its end before."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order.encode().encode() + b"\n")
        status = int(await self._process.stdout.readline())
        assert status in (0, -9), f"{order.function} failed by itself, with status {status}"
        return status == -9


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where workers keep their files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
async def victims(temporary: Path) -> AsyncIterator[Victims]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.faults.victim", str(temporary)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield Victims(process)
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


@pytest.fixture(autouse=True)
def _workers_share_a_folder(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))


@asynccontextmanager
async def bundle(azurite: Azurite, settings: dict[str, Any]) -> AsyncIterator[Pipeline]:
    """A process's own view of the storage that the settings name; its engine is done at once."""
    async with start(azurite, converter=Stub(), **settings) as pipeline:
        yield pipeline


# --- What is interrupted ------------------------------------------------------------------------


async def landed(pipeline: Pipeline) -> tuple[str, ...]:
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.upload(MODEL, OBJ)
    return (MODEL,)


async def landed_with_a_wrong_sidecar(pipeline: Pipeline) -> tuple[str, ...]:
    await pipeline.upload("parts/conversion.json", b'{"formatz": []}')
    await pipeline.upload(MODEL, OBJ)
    return ()


async def landed_in_mid_flight(pipeline: Pipeline) -> tuple[str, ...]:
    """Another version, while the first is at the service."""
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.drop(MODEL, OBJ)
    await pipeline.upload(MODEL, OBJ + b"# newer\n")
    return (MODEL,)


async def waits_for_the_tick(pipeline: Pipeline) -> tuple[str, ...]:
    """Recorded only: the service has a limit, and the tick counts."""
    await pipeline.drop(MODEL, OBJ.partition(b"\n")[2])
    return ()


async def ordered(pipeline: Pipeline) -> tuple[str, ...]:
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.drop(MODEL, OBJ)
    (request,) = await pipeline.requests()
    return (request, "message")


async def converted(pipeline: Pipeline) -> tuple[str, ...]:
    """By the service, which has called back; the pipeline has not looked yet."""
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.drop(MODEL, OBJ)
    await run_requests(pipeline)
    record = await pipeline.record(MODEL)
    assert record is not None
    return (paths.record(MODEL), record.id)


async def run_requests(pipeline: Pipeline) -> None:
    for request in await pipeline.requests():
        await pipeline.run(request)


async def converted_again(pipeline: Pipeline) -> tuple[str, ...]:
    """A newer version is converted, and the manifest is about the older one."""
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.convert(MODEL, OBJ)
    await pipeline.drop(MODEL, OBJ + b"# newer\n")
    await run_requests(pipeline)
    return ()


async def called_back(pipeline: Pipeline) -> tuple[str, ...]:
    await converted(pipeline)
    record = await pipeline.record(MODEL)
    assert record is not None
    url = pipeline.app.callbacks.url(record)
    assert url is not None
    return (url[url.index("/callbacks/") :],)


@dataclass(frozen=True)
class Interruption:
    """``function`` is killed ``ahead`` seconds after ``prepare``, which gives its arguments.

    ``points`` is the least number of I/O steps that it can have, ``jobs`` what the service lists in the end.
    """

    prepare: Callable[[Pipeline], Awaitable[tuple[str, ...]]]
    function: str
    points: int
    jobs: int = 1
    ahead: float = 0.0
    max_in_flight: int = 0


# The platform brings their events and messages again; a timer only has its next time.
REDELIVERED = ("start_conversion", "embedded_worker", "callback", "transfer_files")

INTERRUPTIONS = (
    Interruption(landed, "start_conversion", points=15),
    Interruption(landed_with_a_wrong_sidecar, "find_missed_models", points=10, jobs=0),
    Interruption(landed_in_mid_flight, "start_conversion", points=15, jobs=2),
    Interruption(waits_for_the_tick, "poll_conversions", points=10, ahead=1, max_in_flight=1),
    Interruption(ordered, "embedded_worker", points=9),
    Interruption(converted, "transfer_files", points=9),
    Interruption(converted_again, "poll_conversions", points=18, jobs=2, ahead=10),
    Interruption(called_back, "callback", points=1),
)


@pytest.mark.parametrize(
    ("interruption", "again"),
    [
        pytest.param(
            each, again, id=f"{each.prepare.__name__}-{each.function}-{'again' if again else 'timers'}"
        )
        for each in INTERRUPTIONS
        for again in ((True, False) if each.function in REDELIVERED else (False,))
    ],
)
async def test_killed_at_any_point_it_ends_once_and_leaves_nothing(
    azurite: Azurite, victims: Victims, temporary: Path, interruption: Interruption, again: bool
) -> None:
    for step in range(1, MOST_STEPS):
        settings = settings_for(
            azurite,
            convert_since="2020-01-01T00:00:00Z",
            claim_seconds=CLAIM,
            engine_wall_seconds=1,
            max_in_flight=interruption.max_in_flight,
        )
        async with bundle(azurite, settings) as before:
            arguments = await interruption.prepare(before)
            # Before a request is the same to storage as after the one before: one of them for each way on.
            order = Order(
                settings,
                interruption.function,
                arguments,
                step,
                after=not again,
                ahead=before.clock.ahead.total_seconds() + interruption.ahead,
            )
        died = await victims.kill(order)
        async with bundle(azurite, settings) as after:
            after.later(order.ahead)
            await bring_to_an_end(after, order, again=again)
            where = f"step {step} of {interruption.function}"
            await assert_whole(after, jobs=interruption.jobs, where=where)
        if not died:
            break
    assert not died
    assert step > interruption.points, f"only {step - 1} crash points"
    # The next worker takes away what dead ones have left on the disk.
    async with start(azurite, converter=Stub()) as next_one:
        assert (await next_one.convert("box.obj", OBJ.partition(b"\n")[2])).status is Status.SUCCESS
    assert await asyncio.to_thread(lambda: list(temporary.iterdir())) == []


async def bring_to_an_end(pipeline: Pipeline, order: Order, *, again: bool) -> None:
    """What the platform does after a death: events and messages come again; timers always go on."""
    await lease_runs_out(pipeline)
    if order.function == "embedded_worker" and again:
        await pipeline.app.worker.run(*order.arguments)
    elif order.function == "embedded_worker":
        # Its message is lost as well: the poll finds that nobody is at it.
        pipeline.later(WORKER_CLAIM)
    elif order.function == "start_conversion" and again:
        await pipeline.event(*order.arguments)
    elif order.function == "transfer_files" and again:
        record, conversion_id = order.arguments
        await pipeline.app.lifecycle.advance(record, transfers=True, moved=conversion_id)
    elif order.function == "callback" and again:
        async with pipeline.http() as client:
            assert (await client.post(order.arguments[0])).status_code == 204
    await pipeline.app.sweep.run()
    await pipeline.settle(seconds=CLAIM + 1)


async def lease_runs_out(pipeline: Pipeline) -> None:
    """A dead tick's lease lasts a minute of real time."""
    lock = pipeline.app.storage.blob(pipeline.app.settings.in_flight_container, LOCK)
    if await lock.exists() and (await lock.get_blob_properties()).lease.state == "leased":
        await BlobLeaseClient(lock).break_lease(0)


async def assert_whole(pipeline: Pipeline, *, jobs: int, where: str) -> None:
    """One conversion of the newest version, told by one manifest; and no trace of anything else."""
    names = pipeline.app.settings
    storage = pipeline.app.storage
    manifest = await pipeline.manifest(MODEL)
    model = await storage.head(names.models_container, MODEL)
    assert model is not None
    assert manifest.source.etag == model.etag, where
    if jobs:
        assert (manifest.status, manifest.messages) == (Status.SUCCESS, ()), where
        assert len(manifest.derivatives) == 2, where
    else:
        assert [error.code for error in manifest.errors] == ["invalid-settings"], where
    there = {blob.name: blob.size async for blob in storage.list(names.converted_container)}
    del there[paths.manifest(MODEL)]
    named = {file.path: file.size for file in manifest.derivatives}
    named |= {file.path: file.size for file in manifest.logs}
    assert there == named, where
    assert len(await pipeline.jobs()) == jobs, where
    async for blob in storage.list(names.embedded_container):
        request = await storage.read(names.embedded_container, blob.name)
        assert request is not None
        assert b"sig=" not in request.data, where
    left = [blob.name async for blob in storage.list(names.in_flight_container)]
    assert left in ([], [LOCK]), where
    assert not await pipeline.requests(), where
