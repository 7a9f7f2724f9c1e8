"""The sweep: finds models whose event was lost, and outputs that nothing refers to."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta

from shared import formats, paths
from shared.digests import Digests
from shared.in_flight import InFlight, Unreadable
from shared.lifecycle import Lifecycle
from shared.manifest import SETTLED, Manifests
from shared.settings import Settings
from shared.storage import Storage
from shared.telemetry import event, unexpected
from shared.tick import INSTALLED, LOCK
from shared.tools import Tools

_AT_ONCE = 16
# How many names are kept until they are looked at.
_BATCH = 500
# A lost event of a sidecar is found for a day.
_RECENT = timedelta(days=1)
_MARGIN = timedelta(hours=1)
# The host's names for where it puts what has failed too often.
_POISON = "-poison"
_POISON_BLOBS = "webjobs-blobtrigger-poison"


class Sweep:
    """Compares what is in ``models`` with the manifests in ``converted`` (rule R9).

    It reads each container's listing once, assumes no order in it, and keeps eight bytes of what it has
    seen, not the names: what it finds is seen to while it lists.
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
        in_flight = Digests()
        async for item in self._in_flight.list():
            in_flight.add(item.name)
        recent = self._storage.now() - _RECENT
        told = Counter(models=0, found=0, begun=0)
        candidates: dict[str, datetime] = {}
        async for blob in self._storage.list(self._tools.models):
            if formats.is_model(blob.name):
                told["models"] += 1
                if (
                    blob.last_modified < since
                    or (paths.manifest(blob.name), blob.etag) in done
                    or (paths.record(blob.name),) in in_flight
                ):
                    continue
            elif not formats.model_of_sidecar(blob.name) or blob.last_modified < recent:
                continue
            candidates[blob.name] = blob.last_modified
            if len(candidates) == _BATCH:
                await self._consider(candidates, told)
        await self._consider(candidates, told)
        event("sweep", models=told["models"], found=told["found"], begun=told["begun"])
        await self._tell_queues()
        return told["begun"]

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

    async def _converted(self) -> Digests:
        """The versions that have a manifest; orphaned outputs are dropped on the way."""
        done = Digests()
        unnamed: dict[tuple[str, str], datetime] = {}
        async for blob in self._storage.list(self._tools.converted, metadata=True):
            folder, _, name = blob.name.rpartition("/")
            if name == paths.MANIFEST and "sourceetag" in blob.metadata:
                done.add(blob.name, paths.from_metadata(blob.metadata["sourceetag"]))
                # By name an output comes before its manifest: what is left has none, it is far away, or a
                # job wrote on when its conversion had ended.
                its = (folder, blob.metadata.get("conversion", ""))
                if unnamed.get(its, blob.last_modified) <= blob.last_modified:
                    unnamed.pop(its, None)
            elif owner := paths.owner_of_output(blob.name):
                unnamed[owner] = max(blob.last_modified, unnamed.get(owner, blob.last_modified))
                if len(unnamed) > _BATCH:
                    await self._drop_orphans(unnamed)
        await self._drop_orphans(unnamed)
        return done

    async def _drop_orphans(self, unnamed: dict[tuple[str, str], datetime]) -> None:
        """Deletes outputs that no manifest names and no conversion in flight will: what a superseded
        job wrote late. Nobody can write there any more once its SAS has expired. Empties ``unnamed``."""
        written_until = timedelta(seconds=self._settings.deadline_seconds) + _MARGIN
        old = [owner for owner, newest in unnamed.items() if self._storage.now() - newest >= written_until]
        unnamed.clear()

        async def drop(owner: tuple[str, str]) -> None:
            folder, conversion_id = owner
            wanted = await self._wanted(folder, conversion_id)
            if wanted is None:
                return
            if await self._tools.drop_outputs(f"{folder}/{conversion_id}", wanted):
                event("sweep.orphan", folder=folder, conversion_id=conversion_id)

        await self._each(old, drop, lambda owner: owner[0])

    async def _wanted(self, folder: str, conversion_id: str) -> frozenset[str] | None:
        """The outputs that the manifest names; None, for all of them, where a record has the conversion. In
        this order, as a conversion that ends has written its manifest before its record goes."""
        try:
            held = await self._in_flight.read(paths.record_of_folder(folder))
        except Unreadable:
            return None
        if held is not None and conversion_id in (held.conversion.id, *held.conversion.drop):
            return None
        stored = await self._manifests.in_folder(folder)
        if stored is None:
            return frozenset()
        if stored.manifest is None:
            return None  # what it names cannot be read
        return stored.manifest.names() if stored.manifest.id == conversion_id else frozenset()

    async def _consider(self, candidates: dict[str, datetime], told: Counter[str]) -> None:
        """Brings in what no event told of, and counts it. Empties ``candidates``: names of models and
        sidecars, and when they last changed."""

        async def consider(name: str) -> None:
            if formats.is_model(name) or await self._is_news(name, candidates[name]):
                told["found"] += 1
                begun = await self._lifecycle.consider(name)
                told["begun"] += begun

        await self._each(candidates, consider, str)
        candidates.clear()

    async def _is_news(self, sidecar: str, changed: datetime) -> bool:
        """Whether a sidecar is newer than the settings that its model was converted with."""
        model = formats.model_of_sidecar(sidecar)
        assert model is not None
        current = await self._storage.head(self._tools.converted, paths.manifest(model))
        if current is None:
            return False
        settled = current.metadata.get(SETTLED)
        return changed > (datetime.fromisoformat(settled) if settled else current.last_modified)

    async def _each[T](
        self, items: Iterable[T], work: Callable[[T], Awaitable[None]], model: Callable[[T], str]
    ) -> None:
        """Does the work for each item, some at once; the trouble with one does not end the sweep."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(item: T) -> None:
            async with limit:
                try:
                    await work(item)
                except Exception as trouble:
                    unexpected("sweep.trouble", trouble, model=model(item))

        await asyncio.gather(*(one(item) for item in items))
