"""Kills a process of the bundle at every point between two I/O steps, and looks at what comes of it.

Processes are real and so are their deaths. What a process does is found by running it until it survives,
so a new I/O step is a new crash point. Between two requests all that matters is what storage holds: the
moment after a reply is the one before the next request. The conversion is taken up in both ways that there
are: after a death before a request the event or the message comes again; after one that follows a reply
only timers go on.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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
from tests.faults.whole import measured
from tests.pipeline import ACCOUNT_KEY, Pipeline, settings_for, start

MODEL = "parts/box.obj"
OBJ = b"mtllib box.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
MTL = b"newmtl red\nKd 1 0 0\n"
#: API2Convert as if it were somebody else's: model and companions go there as a zip, made for it.
VENDOR: dict[str, Any] = {
    "embedded_apis": "remote-rendering,api2convert",
    "api2convert_api_key": ACCOUNT_KEY,
    "api2convert_url": "http://127.0.0.1:1/v2",
    "default_service": "api2convert",
    "default_formats": '[{"type": "glb"}, {"type": "stl"}]',
}
#: The bundle's own Model Derivative, which is sent the files, and keeps what it made of them.
TRANSLATED: dict[str, Any] = {
    "embedded_apis": "remote-rendering,model-derivative",
    "default_service": "model-derivative",
    "default_formats": '[{"type": "obj"}, {"type": "stl"}]',
}
_CLAIM = 30
# A worker's claim lasts as long as its engine may take, and ten minutes.
_WORKER_CLAIM = 620
_MOST_STEPS = 100


@dataclass(frozen=True)
class Interruption:
    """``function`` is killed ``ahead`` seconds after ``prepare``, which gives its arguments.

    ``points`` is the least number of I/O steps that it can have. In the end the service lists so many
    ``jobs``, and the manifest has the codes ``warnings`` and ``errors``. ``settings`` are app settings.
    """

    prepare: Callable[[Pipeline], Awaitable[tuple[str, ...]]]
    function: str
    points: int
    jobs: int = 1
    ahead: float = 0.0
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


# The platform brings their events and messages again; a timer only has its next time.
_REDELIVERED = ("start_conversion", "embedded_worker", "callback", "transfer_files")


def both_ways(*interruptions: Interruption) -> pytest.MarkDecorator:
    """Parameters ``interruption`` and ``again``: whether what the process had been given comes again."""
    return pytest.mark.parametrize(
        ("interruption", "again"),
        [
            pytest.param(
                each, again, id=f"{each.prepare.__name__}-{each.function}-{'again' if again else 'timers'}"
            )
            for each in interruptions
            for again in ((True, False) if each.function in _REDELIVERED else (False,))
        ],
    )


class Victims:
    """The process that forks those which are killed; ``temporary`` is where workers keep their files."""

    def __init__(self, process: asyncio.subprocess.Process, temporary: Path) -> None:
        self._process = process
        self.temporary = temporary

    @classmethod
    @asynccontextmanager
    async def running(cls, temporary: Path) -> AsyncIterator["Victims"]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.faults.victim", str(temporary)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        yield cls(process, temporary)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()

    async def kill(self, order: Order) -> bool:
        """Whether the process died at its step; False if it came to its end before."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order.encode().encode() + b"\n")
        status = int(await self._process.stdout.readline())
        assert status in (0, -9), f"{order.function} failed by itself, with status {status}"
        return status == -9


async def kill_everywhere(
    azurite: Azurite, victims: Victims, interruption: Interruption, *, again: bool
) -> None:
    """Whatever the step at which it is killed, the conversion ends, once, and nothing is left."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(victims.temporary))
        for step in range(1, _MOST_STEPS):
            if not await _is_killed_at(step, azurite, victims, interruption, again=again):
                break
        else:
            raise AssertionError(f"{interruption.function} has no end")
        measured("crash points", points=step - 1)
        assert step > interruption.points
        # The next worker takes away what dead ones have left on the disk.
        async with start(azurite, converter=Stub()) as next_one:
            assert (await next_one.convert("box.obj", OBJ.partition(b"\n")[2])).status is Status.SUCCESS
        assert await asyncio.to_thread(lambda: list(victims.temporary.iterdir())) == []


async def _is_killed_at(
    step: int, azurite: Azurite, victims: Victims, interruption: Interruption, *, again: bool
) -> bool:
    settings = settings_for(
        azurite,
        convert_since="2020-01-01T00:00:00Z",
        claim_seconds=_CLAIM,
        engine_wall_seconds=1,
        **interruption.settings,
    )
    async with _bundle(azurite, settings) as before:
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
    async with _bundle(azurite, settings) as after:
        after.later(order.ahead)
        await _bring_to_an_end(after, order, again=again)
        await _assert_whole(after, interruption, where=f"step {step} of {interruption.function}")
    return died


@asynccontextmanager
async def _bundle(azurite: Azurite, settings: dict[str, Any]) -> AsyncIterator[Pipeline]:
    """A process's own view of the storage that the settings name; its engine is done at once."""
    async with start(azurite, converter=Stub(), **settings) as pipeline:
        yield pipeline


async def run_requests(pipeline: Pipeline) -> None:
    """The embedded service does what it was asked for."""
    for request in await pipeline.requests():
        await pipeline.run(request)


async def _bring_to_an_end(pipeline: Pipeline, order: Order, *, again: bool) -> None:
    """What the platform does after a death: events and messages come again; timers always go on."""
    await _lease_runs_out(pipeline)
    if order.function == "embedded_worker" and again:
        await pipeline.app.worker.run(*order.arguments)
    elif order.function == "embedded_worker":
        # Its message is lost as well: the poll finds that nobody is at it.
        pipeline.later(_WORKER_CLAIM)
    elif order.function == "start_conversion" and again:
        await pipeline.event(*order.arguments)
    elif order.function == "transfer_files" and again:
        record, conversion_id = order.arguments
        await pipeline.app.lifecycle.advance(record, transfers=True, moved=conversion_id)
    elif order.function == "callback" and again:
        async with pipeline.http() as client:
            assert (await client.post(order.arguments[0])).status_code == 204
    await pipeline.app.sweep.run()
    await pipeline.settle(seconds=_CLAIM + 1)


async def _lease_runs_out(pipeline: Pipeline) -> None:
    """A dead tick's lease lasts a minute of real time."""
    lock = pipeline.app.storage.blob(pipeline.app.settings.in_flight_container, LOCK)
    if await lock.exists() and (await lock.get_blob_properties()).lease.state == "leased":
        await BlobLeaseClient(lock).break_lease(0)


async def _assert_whole(pipeline: Pipeline, interruption: Interruption, *, where: str) -> None:
    """One conversion of the newest version, told by one manifest; and no trace of anything else."""
    names = pipeline.app.settings
    storage = pipeline.app.storage
    manifest = await pipeline.manifest(MODEL)
    model = await storage.head(names.models_container, MODEL)
    assert model is not None
    assert manifest.source.etag == model.etag, where
    assert tuple(str(error.code) for error in manifest.errors) == interruption.errors, where
    assert tuple(str(warning.code) for warning in manifest.warnings) == interruption.warnings, where
    assert len(manifest.messages) == len(interruption.errors + interruption.warnings), where
    ended = (Status.FAILED, 0) if interruption.errors else (Status.SUCCESS, 2)
    assert (manifest.status, len(manifest.derivatives)) == ended, where
    there = {blob.name: blob.size async for blob in storage.list(names.converted_container)}
    del there[paths.manifest(MODEL)]
    named = {file.path: file.size for file in manifest.derivatives}
    named |= {file.path: file.size for file in manifest.logs}
    assert there == named, where
    jobs = [job["id"] for job in await pipeline.jobs()]
    assert len(jobs) == interruption.jobs, (where, jobs)
    assert not jobs or (manifest.service and manifest.service.id in jobs), where
    async for blob in storage.list(names.embedded_container):
        # Of API2Convert's jobs none is wanted when it has been collected, or superseded.
        assert not blob.name.startswith("api2convert"), where
        request = await storage.read(names.embedded_container, blob.name)
        assert request is not None
        assert b"sig=" not in request.data, where
        if blob.name.startswith("remote-rendering/"):
            assert json.loads(request.data)["state"] in ("succeeded", "failed"), where
    left = [blob.name async for blob in storage.list(names.in_flight_container)]
    assert left in ([], [LOCK]), where
    assert not await pipeline.requests(), where
