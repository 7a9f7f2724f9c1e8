"""The tick: one run of the polling timer, over everything that is due."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob.aio import BlobLeaseClient

from shared.conversion import Step
from shared.in_flight import Listed
from shared.lifecycle import Lifecycle
from shared.storage import Conflict
from shared.telemetry import event, unexpected
from shared.tools import Tools

LOCK = "tick.lock"
INSTALLED = "installed"
HANDED_OUT = "handedout"

_LEASE_SECONDS = 60
#: How many conversions are advanced at a time.
AT_ONCE = 32
_SIGN_OF_LIFE_SECONDS = 60
# Nothing is known of an earlier tick: as if it had been the one before on a fast schedule.
_LEAST_SECONDS = 2.0


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
            due = sorted((item for item in listed if item.due_at <= now), key=lambda item: item.due_at)
            due = await self._handed_out(listed, due)
            limit = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(self._advance(item, limit) for item in due))
        self._tell(now, listed, due)
        return len(due)

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

    async def _handed_out(self, listed: list[Listed], due: list[Listed]) -> list[Listed]:
        """What is due, less the starts that would put a service over one of its limits."""
        starts = [item for item in due if item.step == Step.START and self._is_handed_out(item)]
        if not starts:
            return due
        most = self._tools.max_in_flight
        running = Counter(item.service for item in listed if item.step in (Step.POLL, Step.COLLECT))
        seconds = await self._since_last()
        refused: set[str] = set()
        begun: Counter[str | None] = Counter()
        for item in starts:
            limit = self._limit(item)
            if (most and running[item.service] >= most) or (
                limit is not None and begun[item.service] >= int(limit * seconds / 60)
            ):
                refused.add(item.name)
                continue
            running[item.service] += 1
            begun[item.service] += 1
        return [item for item in due if item.name not in refused]

    def _is_handed_out(self, item: Listed) -> bool:
        return item.service is not None and self._tools.hands_out(item.service)

    def _limit(self, item: Listed) -> int | None:
        assert item.service is not None
        return self._tools.starts_per_minute(item.service)

    async def _since_last(self) -> float:
        """Seconds since starts were handed out last, here or on another instance; at most a minute."""
        now = self._storage.now()
        client = self._storage.blob(self._container, LOCK)
        metadata = dict((await client.get_blob_properties()).metadata)
        last = metadata.get(HANDED_OUT)
        await client.set_blob_metadata(metadata | {HANDED_OUT: now.isoformat()}, lease=self._held_lease)
        if last is None:
            return _LEAST_SECONDS
        return min(max((now - datetime.fromisoformat(last)).total_seconds(), 0.0), 60.0)

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
            await asyncio.sleep(_LEASE_SECONDS / 3)
            with contextlib.suppress(HttpResponseError):
                await lease.renew()


def _longest(times: Iterable[timedelta]) -> float:
    return round(max((time.total_seconds() for time in times), default=0.0), 1)
