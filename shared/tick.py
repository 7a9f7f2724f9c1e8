"""The tick: one run of the polling timer, over everything that is due."""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob.aio import BlobLeaseClient

from shared.allowance import Allowance
from shared.conversion import ServiceName, Step
from shared.in_flight import Listed
from shared.lifecycle import Lifecycle
from shared.storage import Conflict
from shared.telemetry import event, unexpected
from shared.tools import Tools

LOCK = "tick.lock"
INSTALLED = "installed"
# With the name of a service behind it: what it was asked to start lately.
HANDED_OUT = "handedout_"

_LEASE_SECONDS = 60
_RENEW_SECONDS = 20.0
#: How many conversions are advanced at a time.
AT_ONCE = 32
_SIGN_OF_LIFE_SECONDS = 60


class Tick:
    """Advances what is due. A lease keeps a second tick from doing the same work beside it; were the
    lease lost, the records would still be safe."""

    def __init__(self, tools: Tools, container: str, lifecycle: Lifecycle) -> None:
        self._tools = tools
        self._storage = tools.storage
        self._container = container
        self._lifecycle = lifecycle
        self._in_flight = tools.in_flight
        self._held_lease: BlobLeaseClient | None = None
        self._quiet_until = 0.0

    async def run(self) -> int:
        """How many conversions were due; 0 where another tick is at work."""
        async with self._lease() as is_ours:
            if not is_ours:
                return 0
            now = self._storage.now()
            listed = [item async for item in self._in_flight.list()]
            self._heed(listed)
            due = sorted((item for item in listed if item.due_at <= now), key=lambda item: item.due_at)
            counted = [item for item in due if self._is_counted(item)]
            names = {item.name for item in counted}
            at_once = asyncio.Semaphore(AT_ONCE)
            _, begun = await asyncio.gather(
                self._advance_all([item for item in due if item.name not in names], at_once),
                self._hand_out(listed, counted, at_once),
            )
            advanced = len(due) - len(counted) + begun
        self._tell(now, listed, due)
        return advanced

    def _tell(self, now: datetime, listed: list[Listed], due: list[Listed]) -> None:
        """Says what is in flight; where nothing is, once a minute, as a sign of life."""
        if not listed and time.monotonic() < self._quiet_until:
            return
        self._quiet_until = time.monotonic() + _SIGN_OF_LIFE_SECONDS
        steps = Counter(item.step for item in listed)
        by_step: dict[str, Any] = {f"in_{step.value}": steps[step] for step in Step}
        event(
            "tick",
            in_flight=len(listed),
            due=len(due),
            oldest_seconds=_longest(now - item.accepted_at for item in listed),
            latest_seconds=_longest(now - item.due_at for item in due),
            **by_step,
        )

    def _heed(self, listed: list[Listed]) -> None:
        """Leaves alone the services that asked for it, also where it was another process that they told."""
        for item in listed:
            if item.service is not None and item.resume_at is not None:
                self._tools.hold_back(item.service, item.resume_at)

    def _is_counted(self, item: Listed) -> bool:
        """Whether it is a start at a service with a limit."""
        return item.step == Step.START and item.service is not None and self._tools.hands_out(item.service)

    async def _hand_out(self, listed: list[Listed], starts: list[Listed], at_once: asyncio.Semaphore) -> int:
        """Starts what puts no service over one of its limits; how many those are."""
        waiting: dict[ServiceName, list[Listed]] = defaultdict(list)
        for item in starts:
            assert item.service is not None
            waiting[item.service].append(item)
        begun = 0
        for service, wanted in waiting.items():
            allowed = self._with_a_place(service, wanted, listed)
            allowed = allowed[: await self._share(service, len(allowed))]
            await self._advance_all(allowed, at_once)
            begun += len(allowed)
        return begun

    def _with_a_place(self, service: ServiceName, starts: list[Listed], listed: list[Listed]) -> list[Listed]:
        """The starts that a service may be asked for, up to MAX_IN_FLIGHT; none while it is left alone. One
        that was begun before, and never ended, has its place already: the service may have it."""
        most = self._tools.max_in_flight
        free = most - sum(item.service == service and _is_at_the_service(item) for item in listed)
        if self._tools.seconds_held_back(service) > 0:
            free = 0
        elif not most:
            free = len(starts)
        begun = [item for item in starts if item.ordered]
        new = [item for item in starts if not item.ordered]
        return begun + new[: max(free, 0)]

    async def _share(self, service: ServiceName, wanted: int) -> int:
        """How many starts the service takes now, by what was started in the last minute, here or on another
        instance."""
        limit = self._tools.starts_per_minute(service)
        if limit is None or not wanted:
            return wanted
        key = HANDED_OUT + service.replace("-", "_")
        client = self._storage.blob(self._container, LOCK)
        metadata = dict((await client.get_blob_properties()).metadata)
        allowance = Allowance.parse(metadata.get(key))
        await asyncio.sleep(allowance.pause(self._storage.now(), limit, wanted))
        granted, rest = allowance.take(self._storage.now(), limit, wanted)
        await client.set_blob_metadata(metadata | {key: rest.text()}, lease=self._held_lease)
        return granted

    async def _advance_all(self, items: list[Listed], limit: asyncio.Semaphore) -> None:
        """Some at a time: thousands may be due, and a task for each would only wait."""
        left = iter(items)

        async def one_after_the_other() -> None:
            for item in left:
                await self._advance(item, limit)

        await asyncio.gather(*(one_after_the_other() for _ in range(min(AT_ONCE, len(items)))))

    async def _advance(self, item: Listed, limit: asyncio.Semaphore) -> None:
        async with limit:
            try:
                await self._lifecycle.advance(item.name)
            except Exception as trouble:
                # One conversion's trouble must not end the tick of all others; its claim runs out.
                unexpected("tick.trouble", trouble, model=item.path, service=item.service)

    @contextlib.asynccontextmanager
    async def _lease(self) -> AsyncIterator[bool]:
        lease = BlobLeaseClient(self._storage.blob(self._container, LOCK))
        if not await self._acquire(lease):
            yield False
            return
        self._held_lease = lease
        renewing = asyncio.create_task(self._renew(lease))
        try:
            yield True
        finally:
            renewing.cancel()
            with contextlib.suppress(HttpResponseError):
                await lease.release()

    async def _acquire(self, lease: BlobLeaseClient) -> bool:
        try:
            await lease.acquire(_LEASE_SECONDS)
        except HttpResponseError as error:
            if error.status_code == 409:
                return False
            if error.status_code != 404:
                raise
        else:
            return True
        # The first tick ever: the lock also says since when there is somebody to convert models.
        with contextlib.suppress(Conflict):
            installed = self._storage.now().isoformat()
            await self._storage.create(self._container, LOCK, b"", metadata={INSTALLED: installed})
        try:
            await lease.acquire(_LEASE_SECONDS)
        except HttpResponseError as error:
            if error.status_code == 409:
                return False
            raise
        return True

    async def _renew(self, lease: BlobLeaseClient) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            with contextlib.suppress(AzureError):
                await lease.renew()


def _is_at_the_service(item: Listed) -> bool:
    """Whether the service has the conversion, or may have it: its start was begun."""
    return item.step in (Step.POLL, Step.COLLECT) or (item.step == Step.START and item.ordered)


def _longest(times: Iterable[timedelta]) -> float:
    return round(max((time.total_seconds() for time in times), default=0.0), 1)
