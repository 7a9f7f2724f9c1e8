"""The bundle as two parties that share nothing but storage, so that each one's requests can be counted.

The pipeline and the embedded service are two apps with the same settings. What either asks of storage, and
what goes between them over HTTP, is written down; what many conversions share (the tick's listing and its
lock), and what the platform does (events, and taking messages from queues), is not.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from azure.core.pipeline.transport import AioHttpTransport

from local.azurite import Azurite
from shared.app import App
from shared.embedded.worker import Converts
from shared.settings import Settings, read_settings
from shared.tick import LOCK
from tests.pipeline import Kept, Loop, Pipeline, ShiftedClock, settings_for

_ROLES = ("models", "converted", "in_flight", "embedded")
_SIDECAR = re.compile(r"(.*[/.])?conversion\.json")
# What the embedded service keeps of others: models, outputs and reports, but no record of its own.
_FILES = re.compile(r"(api2convert-files|oss/data|derivatives/[^/]+/[^/]+/[^/]+)/.+")


@dataclass
class Ledger:
    """The requests of each party, in order: to storage as ``PUT in_flight``, ``GET models file`` or ``POST
    queue``, the pipeline's to its service (and to addresses it gave) as ``GET /v2/jobs/…``, and the
    service's to the pipeline (and to such addresses)."""

    pipeline: list[str] = field(default_factory=list)
    service: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    callbacks: list[str] = field(default_factory=list)

    def take(self) -> "Ledger":
        """What was written down since it was taken last."""
        taken = Ledger(self.pipeline[:], self.service[:], self.calls[:], self.callbacks[:])
        for lines in (self.pipeline, self.service, self.calls, self.callbacks):
            lines.clear()
        return taken


class _Storage(AioHttpTransport):  # type: ignore[misc]
    """Storage, as one party asks it."""

    def __init__(self, lines: list[str], settings: Settings, queues: str) -> None:
        super().__init__()
        self._lines = lines
        self._queues = urlsplit(queues).netloc
        self._names = {getattr(settings, f"{role}_container"): role for role in _ROLES}

    async def send(self, request: Any, **options: Any) -> Any:
        url = urlsplit(str(request.url))
        container, _, name = unquote(url.path).split("/", 2)[2].partition("/")
        is_queue = url.netloc == self._queues
        role = "queue" if is_queue else self._names[container]
        query = parse_qs(url.query)
        comp = query.get("comp", [""])[0]
        is_ticks = role == "in_flight" and (name == LOCK or (comp == "list" and "prefix" not in query))
        if not is_ticks:
            what = comp or _kind(role, name)
            self._lines.append(" ".join(filter(None, (request.method, role, what))))
        return await super().send(request, **options)

    async def __aexit__(self, *exception: object) -> None:
        """One of several clients that use it has ended."""


def _kind(role: str, name: str) -> str:
    """``file`` for a model, a companion, an output or a report."""
    if role == "models":
        return "sidecar" if _SIDECAR.fullmatch(name) else "file"
    if role == "converted":
        return "manifest" if name.endswith("/manifest.json") else "file"
    return "file" if role == "embedded" and _FILES.fullmatch(name) else ""


class _Calls(httpx.AsyncBaseTransport):
    """HTTP of one party to the other, or to storage."""

    def __init__(self, lines: list[str], other: Loop) -> None:
        self._lines = lines
        self._other = other

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._lines.append(f"{request.method} {request.url.path}")
        return await self._other.handle_async_request(request)


@dataclass
class Parted(Pipeline):
    """The two parties, and an app of the test's own (``app``) whose requests nobody counts."""

    pipeline: App
    service: App
    ledger: Ledger

    async def event(self, path: str) -> None:
        """Delivers a blob event to the pipeline."""
        await self.pipeline.lifecycle.consider(path)

    async def transfer(self) -> None:
        """Works off what the pipeline's `transfer_files` would."""
        while message := await self._receive(self.app.settings.transfer_queue):
            record, moved = message["record"], message.get("moved")
            await self.pipeline.lifecycle.advance(record, transfers=True, moved=moved)

    async def run(self, request: str) -> None:
        """The embedded service works off one request."""
        await self.service.worker.run(request, request)

    async def settle(self, *, rounds: int = 12, seconds: float = 10) -> None:
        """Ticks and works until nothing is in flight."""
        for _ in range(rounds):
            await self.work()
            if not await self.records():
                return
            self.later(seconds)
            await self.pipeline.tick.run()
        raise AssertionError(f"still in flight: {await self.records()}")


@asynccontextmanager
async def parted(
    azurite: Azurite, *, converter: Converts | None = None, **changes: Any
) -> AsyncIterator[Parted]:
    """A bundle in two parts, with some settings changed."""
    settings = read_settings(**settings_for(azurite, **changes))
    ledger = Ledger()
    to_service, to_pipeline = Loop(azurite.blob_url), Loop(azurite.blob_url)
    app = App(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(app.close)
        await app.ready()
        clock = ShiftedClock(app.storage.clock)
        parties = []
        for lines, calls, other in (
            (ledger.pipeline, ledger.calls, to_service),
            (ledger.service, ledger.callbacks, to_pipeline),
        ):
            transport = _Storage(lines, settings, azurite.queue_url)
            stack.push_async_callback(transport.close)
            party = App(settings, http=_Calls(calls, other), transport=transport)
            stack.push_async_callback(party.close)
            party.storage.clock = clock
            await party.ready()
            parties.append(party)
        to_pipeline.app, to_service.app = parties
        if converter is not None:
            vars(parties[1])["_converter"] = Kept(converter)
        app.storage.clock = clock
        yield Parted(app, clock, parties[0], parties[1], ledger)
