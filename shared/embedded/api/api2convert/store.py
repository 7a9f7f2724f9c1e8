"""The jobs of one bundle: private blobs, changed by conditional writes alone."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.embedded.api.api2convert.model import Job
from shared.embedded.requests import Location, Request, Requests
from shared.formats import API2CONVERT
from shared.settings import Settings
from shared.storage import BlobHead, Conflict, Storage

#: How long outputs can be downloaded, and a job that nobody starts is kept.
LIFETIME = timedelta(hours=24)

_ATTEMPTS = 20
_JOBS = "api2convert-jobs/"
_FILES = "api2convert-files/"
_PRESETS = "api2convert-presets/"


class Gone(Exception):
    """There is no such job, or no more."""


class Preset(BaseModel):
    """Options under a name."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    target: str
    category: str
    scope: str = "private"
    options: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Listed:
    """What a listing tells of a job."""

    id: str
    status: str
    token: str
    created: str
    keep_until: datetime | None


@dataclass(frozen=True)
class Seen:
    """A job, and the version of its blob that was read or written."""

    job: Job
    etag: str


class Jobs:
    """The job records, and the files that belong to them."""

    def __init__(self, storage: Storage, settings: Settings, requests: Requests) -> None:
        self.storage = storage
        self.container = settings.embedded_container
        self._requests = requests

    def now(self) -> datetime:
        """The time at the storage service."""
        return self.storage.now()

    async def create(self, job: Job) -> Seen:
        """Keeps a new job; the one that is there already, if its id is not new."""
        for _ in range(_ATTEMPTS):
            try:
                etag = await self.storage.create(
                    self.container, _job(job.id), _dump(job), metadata=_metadata(job)
                )
            except Conflict:
                existing = await self.see(job.id)
                if existing is None:
                    continue
                return existing
            return Seen(job, etag)
        raise Conflict(f"{job.id} kept changing")

    async def read(self, job_id: str) -> Job | None:
        """The job, or None."""
        found = await self.see(job_id)
        return None if found is None else found.job

    async def see(self, job_id: str) -> Seen | None:
        """The job, for a :meth:`change` that is to begin from it; None if there is none."""
        blob = await self.storage.read(self.container, _job(job_id))
        return None if blob is None else Seen(Job.model_validate_json(blob.data), blob.etag)

    async def change(self, job_id: str, apply: Callable[[Job], Job], seen: Seen | None = None) -> Seen:
        """The job after ``apply``, which is called again when somebody else was faster.

        It begins from the job as it was ``seen`` last: no read, where nobody has changed it since.

        Raises:
            Gone: there is no such job.
        """
        found = seen or await self.see(job_id)
        for _ in range(_ATTEMPTS):
            if found is None:
                raise Gone
            changed = apply(found.job)
            if changed is found.job:
                return found
            try:
                etag = await self.storage.replace(
                    self.container, _job(job_id), _dump(changed), found.etag, metadata=_metadata(changed)
                )
            except Conflict:
                # The client sends again a write whose reply was lost, and then meets its own first one.
                found = await self.see(job_id)
                if found is not None and found.job.rev == changed.rev:
                    return found
                continue
            return Seen(changed, etag)
        raise Conflict(f"{job_id} kept changing")

    async def submit(self, job: Job) -> None:
        """Has the worker told that the job is pending; as often as one likes."""
        await self._requests.accept(request_of(job, self.storage.account, self.container))

    async def look_after(self, job: Job) -> None:
        """Submits again a job in progress whose message must have been lost."""
        if job.is_staged or job.is_final:
            return
        if await self._requests.status(f"{API2CONVERT}/{job.id}") is None:
            await self.submit(job)

    async def delete(self, job_id: str) -> bool:
        """Deletes a job and its files; a run that is at it notices, and stops. False if it was gone."""
        was_there = await self.storage.delete(self.container, _job(job_id))
        await self._requests.forget(f"{API2CONVERT}/{job_id}")
        await self.drop(job_id)
        return was_there

    async def drop(self, job_id: str, folder: str = "") -> None:
        """Deletes the files of a job, or those in one folder of them."""
        async for blob in self.storage.list(self.container, file(job_id, folder)):
            await self.storage.delete(self.container, blob.name)

    async def listing(self) -> list[Listed]:
        """Every job there is, the newest first."""
        found = [_listed(head) async for head in self.storage.list(self.container, _JOBS, metadata=True)]
        return sorted(found, key=lambda item: (item.created, item.id), reverse=True)

    async def tidy(self) -> int:
        """Deletes the files of jobs that ended long enough ago, jobs that nobody has started in as long, and
        files as old that have no job; how many jobs that were."""
        kept = await self._last_written()
        listed = await self.listing()
        due = [item for item in listed if item.keep_until and item.keep_until <= self.now()]
        for item in due:
            found = await self.see(item.id)
            if found is None:
                continue
            job, etag = found.job, found.etag
            try:
                if job.is_staged:
                    await self.storage.delete(self.container, _job(job.id), etag)
                    await self.drop(job.id)
                elif job.is_final:
                    await self.drop(job.id)
                    dropped = job.changed(job.modified, kept=False)
                    await self.storage.replace(
                        self.container, _job(job.id), _dump(dropped), etag, metadata=_metadata(dropped)
                    )
            except Conflict:
                continue  # somebody uses it; next time
        there = {item.id for item in listed}
        # What a request or a run that died has left.
        lost = [
            job_id for job_id, last in kept.items() if job_id not in there and last + LIFETIME <= self.now()
        ]
        for job_id in lost:
            await self.delete(job_id)
        return len(due) + len(lost)

    async def _last_written(self) -> dict[str, datetime]:
        """When the newest file of each job was written; of those too that are no more, or not yet."""
        newest: dict[str, datetime] = {}
        async for blob in self.storage.list(self.container, _FILES):
            job_id = blob.name.removeprefix(_FILES).partition("/")[0]
            newest[job_id] = max(blob.last_modified, newest.get(job_id, blob.last_modified))
        return newest

    async def preset(self, preset_id: str) -> Preset | None:
        """A preset, or None."""
        blob = await self.storage.read(self.container, f"{_PRESETS}{preset_id}.json")
        return None if blob is None else Preset.model_validate_json(blob.data)

    async def presets(self) -> list[Preset]:
        """Every preset there is."""
        names = [head.name async for head in self.storage.list(self.container, _PRESETS)]
        found = [await self.preset(name[len(_PRESETS) : -len(".json")]) for name in names]
        return [preset for preset in found if preset is not None]

    async def keep_preset(self, preset: Preset) -> None:
        """Writes a preset, over what there was."""
        name = f"{_PRESETS}{preset.id}.json"
        await self.storage.put(self.container, name, preset.model_dump_json().encode())

    async def delete_preset(self, preset_id: str) -> bool:
        """False if it was gone."""
        return await self.storage.delete(self.container, f"{_PRESETS}{preset_id}.json")


def new_id() -> str:
    return str(uuid.uuid4())


def is_id(text: str) -> bool:
    """Whether ``text`` can be an id of ours: only such a one becomes part of a blob's name."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def file(job_id: str, name: str) -> str:
    """The blob of a job's file."""
    return f"{_FILES}{job_id}/{name}"


def token_digest(token: str) -> str:
    """What a listing may know of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def request_of(job: Job, account: str, container: str) -> Request:
    """The request that stands for a job in the service's queue: all it says is which job."""
    own = Location(account=account, container=container, prefix=file(job.id, ""), linked=True)
    return Request(
        api=API2CONVERT, id=job.id, conversion_id=job.key, source=own, model="", target=own, outputs=()
    )


def _job(job_id: str) -> str:
    return f"{_JOBS}{job_id}.json"


def _dump(job: Job) -> bytes:
    return job.model_dump_json().encode()


def _metadata(job: Job) -> dict[str, str]:
    """What a listing needs to know without reading every record."""
    metadata = {
        "created": job.created.isoformat(timespec="microseconds"),
        "status": job.status,
        "token": token_digest(job.token),
    }
    since = job.modified if job.is_staged else job.ended if job.kept else None
    return metadata | ({} if since is None else {"keepuntil": (since + LIFETIME).isoformat()})


def _listed(head: BlobHead) -> Listed:
    metadata = head.metadata
    name = head.name[len(_JOBS) : -len(".json")]
    until = metadata.get("keepuntil")
    return Listed(
        name,
        metadata.get("status", ""),
        metadata.get("token", ""),
        metadata.get("created", ""),
        None if until is None else datetime.fromisoformat(until),
    )
