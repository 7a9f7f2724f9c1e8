"""A bundle whose processes, events, messages and time a test deals out one by one, and what must hold then.

Storage is Azurite, whose time stands still until :meth:`World.later`. Every call of a function is a process
of its own: they share storage and the service's HTTP, and nothing else.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.core.exceptions import ResourceNotFoundError, ServiceRequestError, ServiceResponseError

from local.azurite import Azurite
from shared import paths
from shared.app import App
from shared.conversion import Conversion, Status
from shared.embedded.worker import Retry
from shared.manifest import Manifest
from shared.problems import Code
from shared.settings import read_settings
from shared.storage import Clock
from shared.tick import LOCK
from tests.copier import Copier
from tests.faults.fates import FATE, Fate, FatefulStorage, FatefulWire
from tests.pipeline import Loop, Pipeline, ShiftedClock, settings_for

DEADLINE = 6 * 3600
_CUT_OFF = (ServiceRequestError, ServiceResponseError)
_SHIM = Path(__file__).with_name("azurite_clock.cjs")
# Long enough for claims, back-offs and repeats to run out, and together much shorter than a deadline.
_SETTLING = (6, 10, 31, 125, 310, 620, 620, 1250, 1250, 1250, 2500)

Work = Callable[[Pipeline], Awaitable[Any]]


class StillClock(ShiftedClock):
    """A time that stands still, here and in the Azurite that reads the file."""

    def __init__(self, file: Path) -> None:
        super().__init__(Clock())
        self._file = file
        file.touch()
        self._begin = datetime.now(UTC).replace(microsecond=0)
        self.later(0)

    def now(self) -> datetime:
        return self._begin + self.ahead

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.ahead += timedelta(seconds=seconds)
        # Thirteen digits over thirteen: Azurite keeps the file open, and reads no half of it.
        with self._file.open("r+b", buffering=0) as file:
            file.write(b"%.0f" % (self.now().timestamp() * 1000))


def start_azurite(file: Path) -> Azurite:
    """An Azurite whose time is what the file says."""
    environment = {"AZURITE_CLOCK": str(file), "NODE_OPTIONS": f"--require {json.dumps(str(_SHIM))}"}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        return Azurite.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


class _Bugs(logging.Handler):
    """Collects the events that tell of bugs.

    Storage that cannot be reached is none, and neither is a queue message whose reply was lost: nobody may
    send it twice, so that call fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "bug", _CUT_OFF[0].__name__) not in [each.__name__ for each in _CUT_OFF]:
            self.found.append(record.getMessage())


@dataclass
class History:
    """What has landed and what was written since the sequence began."""

    # ETag -> the bytes of that version of a model, the oldest first.
    versions: dict[str, bytes] = field(default_factory=dict)
    # How often a model or its settings went back to what they had been.
    returns: Counter[str] = field(default_factory=Counter)
    # Conversion id -> its record when its start was claimed.
    ordered: dict[str, Conversion] = field(default_factory=dict)
    # Path -> its manifests, the oldest first.
    manifests: dict[str, list[Manifest]] = field(default_factory=dict)
    # Those that nobody has looked at yet.
    written: list[Manifest] = field(default_factory=list)
    # How many fates have struck, and how many seconds have passed: a failure may be right then.
    struck: int = 0
    passed: float = 0.0


class World:
    """One bundle, for many sequences; each begins with :meth:`clear`."""

    def __init__(self, azurite: Azurite, clock: StillClock) -> None:
        self.history = History()
        self.clock = clock
        self.names = read_settings(
            **settings_for(
                azurite,
                default_formats='[{"type": "glb"}]',
                convert_since="2020-01-01T00:00:00Z",
                deadline_seconds=DEADLINE,
                engine_wall_seconds=1,
            )
        )
        self._transport = FatefulStorage(self._see)
        self._loop = Loop()
        # A process that nothing befalls.
        self.observer = self._process()
        self._loop.app = self.observer.app
        self._storage = self.observer.app.storage
        self._stalled: list[tuple[Fate, asyncio.Task[None]]] = []
        self._logged = _Bugs()
        logging.getLogger("conversions").addHandler(self._logged)

    async def close(self) -> None:
        """Ends what has stalled, and closes the connections."""
        await self.abandon()
        logging.getLogger("conversions").removeHandler(self._logged)
        await self._transport.close()

    async def clear(self) -> None:
        """Everything goes: what is in storage, and what a sequence that failed has left."""
        with contextlib.suppress(Exception):
            await self.abandon()
        self._logged.found.clear()
        self.history = History()
        service = self._storage.blob_service
        queues = self._storage.queue_service
        for container in self._containers:
            with contextlib.suppress(ResourceNotFoundError):
                await service.delete_container(container)
            await service.create_container(container)
        for queue in (self.names.embedded_queue, self.names.transfer_queue):
            with contextlib.suppress(ResourceNotFoundError):
                await queues.delete_queue(queue)
            await queues.create_queue(queue)

    @property
    def _containers(self) -> tuple[str, ...]:
        names = self.names
        return (
            names.models_container,
            names.converted_container,
            names.in_flight_container,
            names.embedded_container,
        )

    def _process(self) -> Pipeline:
        app = App(self.names, http=FatefulWire(self._loop), transport=self._transport)
        vars(app)["_converter"] = Copier()
        app.storage.clock = self.clock
        return Pipeline(app, self.clock)

    def _see(self, request: Any, status: int) -> None:
        """Keeps what was written."""
        if request.method != "PUT" or status != 201:
            return
        _, container, *parts = unquote(urlsplit(request.url).path).strip("/").split("/")
        name = "/".join(parts)
        if container == self.names.in_flight_container and name.endswith(".json"):
            record = Conversion.model_validate_json(request.data)
            if record.ordered:
                self.history.ordered.setdefault(record.id, record)
        if container == self.names.converted_container and name.endswith(paths.MANIFEST):
            manifest = Manifest.model_validate_json(request.data)
            self._check_order(manifest)

    def _check_order(self, manifest: Manifest) -> None:
        """An older version never replaces a newer one, and no conversion has two ends."""
        history = self.history
        manifests = history.manifests.setdefault(manifest.source.path, [])
        if manifests:
            last = manifests[-1]
            etags, etag, before = list(history.versions), manifest.source.etag, last.source.etag
            is_same = history.versions[etag] == history.versions[before]
            assert is_same or etags.index(etag) > etags.index(before), "an older version won"
            # One that is kept is written again as it is, so that nobody else can replace it.
            assert last.id != manifest.id or etag != before or manifest == last, "two ends of a conversion"
        manifests.append(manifest)
        history.written.append(manifest)

    # --- What happens -------------------------------------------------------------------------

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.clock.later(seconds)
        self.history.passed += seconds

    async def upload(self, path: str, data: bytes) -> None:
        """A version of a model lands."""
        etag = await self._storage.put(self.names.models_container, path, data)
        self.history.versions[etag] = data

    async def delete(self, path: str) -> None:
        """Somebody deletes a blob of the models container."""
        await self._storage.delete(self.names.models_container, path)

    async def run(self, work: Work, fate: Fate | None = None) -> bool:
        """One process, until it ends, dies or stalls; whether it came to its end."""
        task = asyncio.create_task(self._live(work, fate))
        if fate is not None:
            stall = asyncio.create_task(fate.stalled.wait())
            await asyncio.wait((task, stall), return_when=asyncio.FIRST_COMPLETED)
            stall.cancel()
            self.history.struck += fate.has_struck
            if not task.done():
                self._stalled.append((fate, task))
                return False
        await task
        return not (fate and fate.is_dead)

    async def _live(self, work: Work, fate: Fate | None) -> None:
        FATE.set(fate)
        try:
            await work(self._process())
        except (Retry, *_CUT_OFF):
            return  # the platform brings the event or the message again, or loses it
        except BaseException:
            if fate is None or not fate.is_dead:
                raise

    @property
    def stalled(self) -> int:
        """How many processes have stalled."""
        return len(self._stalled)

    async def resume(self, number: int) -> None:
        """A process that has stalled goes on, to its end."""
        fate, task = self._stalled.pop(number)
        fate.goes_on.set()
        await task

    async def call_back(self, conversion: Conversion) -> None:
        """The service, or somebody who has listened to it, calls back."""
        url = self.observer.app.callbacks.url(conversion)
        assert url is not None
        async with self.observer.http() as client:
            reply = await client.post(urlsplit(url).path)
            assert reply.status_code == 204
            reply = await client.post(urlsplit(url).path[:-1] + "x")
            assert reply.status_code == 404

    # --- And in the end -----------------------------------------------------------------------

    async def abandon(self) -> None:
        """What has stalled never goes on."""
        while self._stalled:
            fate, task = self._stalled.pop()
            fate.is_dead = True
            fate.goes_on.set()
            await task

    async def settle(self, *, resumed: bool) -> None:
        """Everything is left to itself, until nothing is in flight and a sweep finds nothing."""
        while resumed and self._stalled:
            await self.resume(0)
        await self.abandon()
        await self._work_off()
        for _ in range(5):
            if not await self._finds_anything():
                return
        raise AssertionError("every sweep finds another version")

    async def _finds_anything(self) -> bool:
        """Whether a sweep makes a difference: a sidecar that says the same is looked at for a day."""
        before = {path: len(manifests) for path, manifests in self.history.manifests.items()}
        await self.observer.app.sweep.run()
        await self._work_off()
        return before != {path: len(manifests) for path, manifests in self.history.manifests.items()}

    async def _work_off(self) -> None:
        for seconds in _SETTLING:
            for request in await self.observer.requests():
                await self.observer.run(request)
            await self.observer.transfer()
            if not await self.observer.records():
                return
            self.later(seconds)
            await self.observer.app.tick.run()
        raise AssertionError(f"still in flight: {await self.observer.records()}")

    async def check(self) -> None:
        """The promises."""
        assert not self._logged.found, self._logged.found
        models = {blob.name: blob async for blob in self._storage.list(self.names.models_container)}
        # What a superseded job wrote late is dropped when nobody can write any more.
        self.later(DEADLINE + 2 * 3600)
        assert not await self._finds_anything()
        there = {blob.name: blob async for blob in self._storage.list(self.names.converted_container)}
        named: set[str] = set()
        for name in [name for name in there if name.rpartition("/")[2] == paths.MANIFEST]:
            path = name.removesuffix(f"/{paths.MANIFEST}")
            manifest = await self._manifest(path)
            named |= (
                {name} | {file.path for file in manifest.derivatives} | {log.path for log in manifest.logs}
            )
            await self._check_derivatives(manifest)
        assert set(there) == named, f"orphans, or files that are missing: {set(there) ^ named}"
        for path, blob in models.items():
            if path.endswith(".stl"):
                await self._check_model(path, blob.etag)
        await self._check_jobs()
        left = [blob.name async for blob in self._storage.list(self.names.in_flight_container)]
        assert left in ([], [LOCK])
        assert not self._logged.found, self._logged.found

    async def check_written(self) -> None:
        """No manifest that has just been written names derivatives of another version than its own."""
        while self.history.written:
            manifest = self.history.written.pop()
            if manifest is self.history.manifests[manifest.source.path][-1]:
                await self._check_derivatives(manifest)

    async def _check_derivatives(self, manifest: Manifest) -> None:
        for file in manifest.derivatives:
            # The engine's outputs are copies.
            assert await self.observer.read(file.path) == self.history.versions[manifest.source.etag], (
                f"{file.path} is of another version"
            )

    async def _manifest(self, path: str) -> Manifest:
        stored = await self.observer.app.tools.manifests.of(path)
        assert stored is not None and stored.manifest is not None, f"{path} has no manifest"
        return stored.manifest

    async def _check_model(self, path: str, etag: str) -> None:
        """Its manifest is about its newest version, and made with its newest settings."""
        manifest = await self._manifest(path)
        assert manifest.source.etag == etag, f"{path}: of an older version"
        sidecar = await self._storage.read(self.names.models_container, f"{path}.conversion.json")
        content = json.loads(sidecar.data) if sidecar else {}
        if manifest.status is not Status.SUCCESS:
            code = manifest.errors[0].code
            if "formatz" in content and code == "invalid-settings":
                return
            # Two deaths, or outages, end a request of the service, three deaths a step; and the clock may
            # have gone on by days.
            assert self.history.struck >= 2 or self.history.passed >= DEADLINE, f"{path}: {manifest.errors}"
            assert code in (Code.GAVE_UP, Code.SERVICE_UNAVAILABLE, Code.TIMEOUT), (
                f"{path}: {manifest.errors}"
            )
            return
        assert manifest.settings is not None
        assert manifest.settings.root_filename == content.get("rootFilename"), f"{path}: with older settings"
        formats = [item["type"] for item in content.get("formats", [{"type": "glb"}])]
        assert [item.output_type for item in manifest.derivatives] == formats

    async def _check_jobs(self) -> None:
        """One job for a conversion; one conversion for a version with the same settings."""
        jobs: Counter[str] = Counter()
        async for blob in self._storage.list(self.names.embedded_container):
            found = await self._storage.read(self.names.embedded_container, blob.name)
            assert found is not None
            jobs[json.loads(found.data)["request"]["conversion_id"]] += 1
        assert set(jobs.values()) <= {1}, "two jobs for one conversion"
        failed = {
            path
            for path, manifests in self.history.manifests.items()
            if any(item.status is not Status.SUCCESS for item in manifests)
        }
        versions = Counter(
            (record.path, self.history.versions[record.etag], record.settings_hash)
            for record in (self.history.ordered[job] for job in jobs)
            # The same bytes again are another try of what has failed.
            if record.path not in failed
        )
        for (path, _, _), count in versions.items():
            assert count <= 1 + self.history.returns[path], f"{path}: one version was converted twice"
