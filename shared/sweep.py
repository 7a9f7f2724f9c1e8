"""The sweep: finds models whose event was lost, and outputs that nothing refers to."""

import asyncio
import hashlib
from datetime import datetime, timedelta

from shared import formats, paths
from shared.in_flight import InFlight
from shared.lifecycle import Lifecycle
from shared.manifest import SETTLED, Manifests
from shared.settings import Settings
from shared.storage import Storage
from shared.telemetry import event, unexpected
from shared.tick import INSTALLED, LOCK
from shared.tools import Tools

_AT_ONCE = 16
# A lost event of a sidecar is found for a day.
_RECENT = timedelta(days=1)
_MARGIN = timedelta(hours=1)
# The host's names for where it puts what has failed too often.
_POISON = "-poison"
_POISON_BLOBS = "webjobs-blobtrigger-poison"


class Sweep:
    """Compares what is in ``models`` with the manifests in ``converted`` (rule R9).

    It reads each container's listing once, assumes no order in it, and keeps a short digest of what it
    has seen, not the names.
    """

    def __init__(self, settings: Settings, tools: Tools, lifecycle: Lifecycle) -> None:
        self._settings = settings
        self._tools = tools
        self._storage: Storage = tools.storage
        self._lifecycle = lifecycle
        self._in_flight: InFlight = tools.in_flight
        self._manifests: Manifests = tools.manifests

    async def run(self) -> int:
        """How many conversions it began."""
        since = await self._since()
        done = await self._converted()
        in_flight = {_digest(item.name) async for item in self._in_flight.list()}
        found: list[str] = []
        seen = 0
        async for blob in self._storage.list(self._tools.models):
            if formats.is_model(blob.name):
                seen += 1
                is_done = _digest(paths.manifest(blob.name), blob.etag) in done
                if (
                    blob.last_modified >= since
                    and not is_done
                    and _digest(paths.record(blob.name)) not in in_flight
                ):
                    found.append(blob.name)
            elif formats.model_of_sidecar(blob.name) and await self._is_news(blob.name, blob.last_modified):
                found.append(blob.name)
        begun = await self._consider(found)
        event("sweep", models=seen, found=len(found), begun=begun)
        await self._tell_queues()
        return begun

    async def _tell_queues(self) -> None:
        """Says how many messages wait, and how many were given up: the platform's own count is a day old."""
        names = self._settings
        poison = [f"{name}{_POISON}" for name in (names.embedded_queue, names.transfer_queue)]
        event(
            "queues",
            embedded=await self._storage.depth(names.embedded_queue),
            transfer=await self._storage.depth(names.transfer_queue),
            poison=sum([await self._storage.depth(name) for name in (*poison, _POISON_BLOBS)]),
        )

    async def _since(self) -> datetime:
        """Older models are an archive that nobody asked to convert."""
        if self._settings.convert_since is not None:
            return self._settings.convert_since
        lock = await self._storage.head(self._settings.in_flight_container, LOCK)
        if lock is None or INSTALLED not in lock.metadata:
            return self._storage.now()
        return datetime.fromisoformat(lock.metadata[INSTALLED]).replace(microsecond=0)

    async def _converted(self) -> set[bytes]:
        """The versions that have a manifest; orphaned outputs are dropped on the way."""
        done: set[bytes] = set()
        named: set[bytes] = set()
        unnamed: dict[bytes, tuple[str, str, datetime]] = {}
        async for blob in self._storage.list(self._tools.converted, metadata=True):
            folder, _, name = blob.name.rpartition("/")
            if name == paths.MANIFEST and "sourceetag" in blob.metadata:
                done.add(_digest(blob.name, paths.from_metadata(blob.metadata["sourceetag"])))
                key = _digest(folder, blob.metadata.get("conversion", ""))
                # By name an output comes before its manifest: what is settled need not be kept.
                if unnamed.pop(key, None) is None:
                    named.add(key)
            elif owner := paths.owner_of_output(blob.name):
                key = _digest(*owner)
                if key not in named:
                    newest = max(blob.last_modified, unnamed.get(key, (*owner, blob.last_modified))[2])
                    unnamed[key] = (*owner, newest)
        for folder, conversion_id, newest in unnamed.values():
            await self._drop_orphan(folder, conversion_id, newest)
        return done

    async def _drop_orphan(self, folder: str, conversion_id: str, newest: datetime) -> None:
        """Deletes outputs that no manifest names and no conversion in flight will: what a superseded
        job wrote late. Nobody can write there any more once its SAS has expired."""
        written_until = timedelta(seconds=self._settings.deadline_seconds) + _MARGIN
        if self._storage.now() - newest < written_until:
            return
        blob = await self._storage.head(self._tools.converted, f"{folder}/{paths.MANIFEST}")
        if blob is not None and blob.metadata.get("conversion") == conversion_id:
            return
        if not folder.startswith("~long/"):
            held = await self._in_flight.of(folder)
            if held is not None and conversion_id in (held.conversion.id, *held.conversion.drop):
                return
        elif any([item.path is None async for item in self._in_flight.list()]):
            return  # it may be that one's; the next sweep looks again
        event("sweep.orphan", folder=folder, conversion_id=conversion_id)
        await self._tools.drop_outputs(f"{folder}/{conversion_id}")

    async def _is_news(self, sidecar: str, changed: datetime) -> bool:
        """Whether a sidecar is newer than the settings that its model was converted with."""
        model = formats.model_of_sidecar(sidecar)
        assert model is not None
        if self._storage.now() - changed > _RECENT:
            return False
        current = await self._storage.head(self._tools.converted, paths.manifest(model))
        if current is None:
            return False
        settled = current.metadata.get(SETTLED)
        return changed > (datetime.fromisoformat(settled) if settled else current.last_modified)

    async def _consider(self, found: list[str]) -> int:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def consider(name: str) -> bool:
            async with limit:
                try:
                    return await self._lifecycle.consider(name)
                except Exception as trouble:
                    unexpected("sweep.trouble", trouble, model=name)
                    return False

        return sum(await asyncio.gather(*(consider(name) for name in found)))


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).digest()
