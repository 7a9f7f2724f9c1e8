"""The tick: one run of the polling timer, over everything that is due."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator

from azure.core.exceptions import HttpResponseError
from azure.storage.blob.aio import BlobLeaseClient

from shared.conversion import Step
from shared.in_flight import InFlight, Listed
from shared.lifecycle import Lifecycle
from shared.storage import Conflict, Storage
from shared.telemetry import event

LOCK = "tick.lock"
INSTALLED = "installed"

_LEASE_SECONDS = 60
_AT_ONCE = 32


class Tick:
    """Advances what is due. A lease keeps a second tick from doing the same work beside it; were the
    lease lost, the records would still be safe."""

    def __init__(
        self,
        storage: Storage,
        container: str,
        lifecycle: Lifecycle,
        in_flight: InFlight,
        *,
        max_in_flight: int,
    ) -> None:
        """``max_in_flight`` is how many conversions a service may have at once; 0 is no limit."""
        self._storage = storage
        self._container = container
        self._lifecycle = lifecycle
        self._in_flight = in_flight
        self._most = max_in_flight

    async def run(self) -> int:
        """How many conversions were due; 0 where another tick is at work."""
        async with self._lease() as is_ours:
            if not is_ours:
                return 0
            now = self._storage.now()
            listed = [item async for item in self._in_flight.list()]
            due = sorted((item for item in listed if item.due_at <= now), key=lambda item: item.due_at)
            due = self._handed_out(listed, due)
            limit = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._advance(item, limit) for item in due))
        if listed:
            oldest = max((now - item.due_at).total_seconds() for item in due) if due else 0.0
            event("tick", in_flight=len(listed), due=len(due), latest_seconds=round(oldest, 1))
        return len(due)

    def _handed_out(self, listed: list[Listed], due: list[Listed]) -> list[Listed]:
        """What is due, less the starts that would put a service over its limit."""
        if not self._most:
            return due
        running = Counter(item.service for item in listed if item.step in (Step.POLL, Step.COLLECT))
        chosen = []
        for item in due:
            if item.step == Step.START:
                if running[item.service] >= self._most:
                    continue
                running[item.service] += 1
            chosen.append(item)
        return chosen

    async def _advance(self, item: Listed, limit: asyncio.Semaphore) -> None:
        async with limit:
            try:
                await self._lifecycle.advance(item.name)
            except Exception:
                # One conversion's trouble must not end the tick of all others; its claim runs out.
                logging.getLogger(__name__).exception(
                    "a conversion could not be advanced", extra={"record": item.name}
                )

    @contextlib.asynccontextmanager
    async def _lease(self) -> AsyncIterator[bool]:
        lease = BlobLeaseClient(self._storage.blob(self._container, LOCK))
        if not await self._acquire(lease):
            yield False
            return
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
