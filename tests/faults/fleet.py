"""A function app on several instances that die, and the platform around it: a test delivers what lands.

Instances are processes (`tests.faults.instance`). The platform is as unreliable as the real one: events and
messages come at least once, again after a death or a failure, and are given up after five tries.
"""

import asyncio
import base64
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobLeaseClient

from local.places import ROOT
from local.processes import tethered
from shared.tick import LOCK
from tests.faults.instance import DEATHS, Plan, SharedClock
from tests.faults.proxy import Proxy
from tests.pipeline import Pipeline

# How many orders of each kind an instance takes at once; the embedded worker's queue has batches of one.
_AT_ONCE = 8
_MOST_TRIES = 5
_LONGEST = timedelta(hours=3)


@dataclass(frozen=True)
class Ended:
    """How an invocation ended, and how many requests it made; 0 where it died."""

    how: Literal["done", "failed", "died"]
    requests: int = 0


@dataclass
class _Connected:
    writer: asyncio.StreamWriter
    orders: dict[int, tuple[str, asyncio.Future[Ended]]] = field(default_factory=dict)

    def has_room(self, function: str) -> bool:
        running = Counter(name for name, _ in self.orders.values())
        return running[function] < (1 if function == "embedded_worker" else _AT_ONCE)


class Fleet:
    """The instances. One that dies is replaced, and what it was at has died with it."""

    def __init__(self, folder: Path, clock: SharedClock, lot: random.Random) -> None:
        self.folder = folder
        self.clock = clock
        self._lot = lot
        self._connected: dict[str, _Connected] = {}
        self._changed = asyncio.Condition()
        self._number = 0

    @property
    def deaths(self) -> Counter[str]:
        """How often an instance died while it was at a record or a request; `-` counts all deaths."""
        return Counter((self.folder / DEATHS).read_text().splitlines())

    def logs(self) -> Iterator[bytes]:
        """All that the instances have logged or printed, one after the other."""
        for path in sorted(self.folder.glob("*.log")):
            yield path.read_bytes()

    async def call(self, function: str, argument: str = "", *, message: str = "", on: str = "") -> Ended:
        """Invokes a function on an instance that has room, or on the one whose name begins with ``on``."""
        async with self._changed:
            while not (free := self._free(function, on)):
                await self._changed.wait()
            instance = self._lot.choice(free)
            self._number += 1
            number = self._number
            future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
            instance.orders[number] = (function, future)
        order = {"order": number, "function": function, "argument": argument, "message": message}
        instance.writer.write(json.dumps(order).encode() + b"\n")
        return await future

    def _free(self, function: str, on: str) -> list[_Connected]:
        return [
            each
            for name, each in sorted(self._connected.items())
            if name.startswith(on) and each.has_room(function)
        ]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An instance, from its first word to its death."""
        name = (await reader.readline()).decode().strip()
        instance = _Connected(writer)
        async with self._changed:
            self._connected[name] = instance
            self._changed.notify_all()
        with suppress(ConnectionError):
            while (line := await reader.readline()).endswith(b"\n"):
                said = json.loads(line)
                async with self._changed:
                    _, future = instance.orders.pop(said["order"])
                    self._changed.notify_all()
                future.set_result(Ended(said["how"], said["requests"]))
        async with self._changed:
            del self._connected[name]
            self._changed.notify_all()
        for _, future in instance.orders.values():
            if not future.done():
                future.set_result(Ended("died"))
        writer.close()

    def later(self, seconds: float) -> None:
        """Time passes, for all processes."""
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        settings: Mapping[str, Any],
        service: Proxy,
        folder: Path,
        *,
        seed: int,
        instances: int = 4,
        lives: tuple[int, int] | None = None,
    ) -> AsyncIterator["Fleet"]:
        """Instances with these app settings, that serve HTTP behind ``service``; ``folder`` holds
        what is theirs. They die after a number of I/O steps between the two of ``lives``.

        Their clock begins six hours ago: storage checks by its own time that a SAS has begun.
        """
        (folder / DEATHS).touch()
        begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
        fleet = cls(folder, SharedClock.make(folder, begin), random.Random(seed))
        control = str(folder / "control")
        server = await asyncio.start_unix_server(fleet._take, control)
        process = await asyncio.create_subprocess_exec(
            *tethered([sys.executable, "-m", "tests.faults.instance"]),
            cwd=ROOT,
            env={**_environment(settings), "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(Plan(control, str(folder), instances, lives, seed).encode())
            service.upstream = f"http://127.0.0.1:{int(await process.stdout.readline())}"
            yield fleet
            assert process.returncode is None, (await process.stdout.read()).decode()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            server.close()


def _environment(settings: Mapping[str, Any]) -> dict[str, str]:
    names = {name: name if "__" in name else name.upper() for name in settings}
    return {names[name]: str(value) for name, value in settings.items() if value is not None}


@dataclass
class _Message:
    """What waits to be delivered: ``done`` is called when it is."""

    function: str
    argument: str
    at: datetime
    message: str = ""
    queue: str = ""
    receipt: Any = None
    tries: int = 0


class Platform:
    """Delivers events and messages, runs timers, and moves the clock, until nothing is left to do."""

    TICK = 30
    SWEEP = 900

    def __init__(
        self,
        fleet: Fleet,
        pipeline: Pipeline,
        lot: random.Random,
        *,
        work_seconds: tuple[float, float] = (0, 120),
        step: int = 5,
    ) -> None:
        """``pipeline`` is a view of the same storage which nothing disturbs. The embedded service takes
        ``work_seconds`` for a conversion, by lot; time moves on by ``step`` seconds."""
        self._fleet = fleet
        self._pipeline = pipeline
        self._lot = lot
        self._work_seconds = work_seconds
        self._step = step
        self._waiting: list[_Message] = []
        self._begun = fleet.clock.now()
        self._lease_until: datetime | None = None
        self.given_up: list[str] = []
        # How invocations ended, by function.
        self.ended: Counter[str] = Counter()

    @property
    def seconds(self) -> float:
        """How much time has passed."""
        return (self._fleet.clock.now() - self._begun).total_seconds()

    def event(self, path: str, after: float = 0) -> None:
        """A blob event that comes so many seconds from now."""
        at = self._fleet.clock.now() + timedelta(seconds=after)
        self._waiting.append(_Message("start_conversion", path, at))

    async def settle(self, *, swept: bool = False) -> None:
        """Goes on until nothing waits and nothing is in flight; ``swept``: and a sweep finds nothing more."""
        end = self._fleet.clock.now() + _LONGEST
        while self._fleet.clock.now() < end:
            await self.go_on()
            if not self._waiting and not await self._pipeline.records():
                if not swept:
                    return
                swept = (await self._deliver("find_missed_models")).how != "done" or bool(
                    await self._pipeline.records()
                )
            self._fleet.later(self._step)
        raise AssertionError(f"{len(self._waiting)} wait, in flight: {await self._pipeline.records()}")

    async def go_on(self) -> None:
        """All that is due at this moment."""
        timers: list[asyncio.Task[Any]] = []
        if self.seconds % self.TICK == 0:
            timers.append(asyncio.create_task(self._tick()))
        if self.seconds % self.SWEEP == 0 and self.seconds:
            timers.append(asyncio.create_task(self._deliver("find_missed_models")))
        while True:
            await self._receive()
            now = self._fleet.clock.now()
            due = [each for each in self._waiting if each.at <= now]
            if not due and all(timer.done() for timer in timers):
                break
            self._waiting = [each for each in self._waiting if each.at > now]
            if due:
                await asyncio.gather(*(self._bring(each) for each in due))
            else:
                await asyncio.wait(timers, timeout=0.2)
        await asyncio.gather(*timers)

    async def _deliver(self, function: str, argument: str = "", message: str = "") -> Ended:
        ended = await self._fleet.call(function, argument, message=message)
        self.ended[f"{function} {ended.how}"] += 1
        return ended

    async def _tick(self) -> None:
        now = self._fleet.clock.now()
        if self._lease_until and now >= self._lease_until:
            await break_lease(self._pipeline)
            self._lease_until = None
        if (await self._deliver("poll_conversions")).how != "done" and self._lease_until is None:
            # A dead tick's lease lasts a minute, of which storage has its own opinion.
            self._lease_until = now + timedelta(seconds=60)

    async def _bring(self, message: _Message) -> None:
        message.tries += 1
        ended = await self._deliver(message.function, message.argument, message.message)
        if ended.how != "done" and message.tries < _MOST_TRIES:
            message.at = self._fleet.clock.now() + timedelta(seconds=self._lot.choice((0, self._step)))
            self._waiting.append(message)
            return
        if ended.how != "done":
            self.given_up.append(f"{message.function} {message.argument}")
        if message.queue:
            client = self._pipeline.app.storage.queue_service.get_queue_client(message.queue)
            with suppress(ResourceNotFoundError):
                await client.delete_message(message.receipt)

    async def _receive(self) -> None:
        """Takes what the queues hold: the platform's own way to them is not disturbed."""
        names = self._pipeline.app.settings
        for function, queue in (
            ("embedded_worker", names.embedded_queue),
            ("transfer_files", names.transfer_queue),
        ):
            client = self._pipeline.app.storage.queue_service.get_queue_client(queue)
            async for each in client.receive_messages(messages_per_page=32, visibility_timeout=24 * 3600):
                seconds = self._lot.uniform(*self._work_seconds) if function == "embedded_worker" else 0.0
                at = self._fleet.clock.now() + timedelta(seconds=seconds)
                body = base64.b64decode(each.content).decode()
                self._waiting.append(_Message(function, body, at, each.id, queue, each))


async def break_lease(pipeline: Pipeline) -> None:
    """The lease of a tick that is no more runs out."""
    lock = pipeline.app.storage.blob(pipeline.app.settings.in_flight_container, LOCK)
    if await lock.exists() and (await lock.get_blob_properties()).lease.state == "leased":
        await BlobLeaseClient(lock).break_lease(0)
