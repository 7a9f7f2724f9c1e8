"""The records of conversions in flight: one blob each, and the only concurrency control there is.

Body and metadata always go in one write. Metadata repeat what a tick needs, so that one page of a
listing (5,000 records) tells what is due.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from pydantic import ValidationError

from shared import paths
from shared.conversion import Conversion, ServiceName
from shared.storage import BlobHead, Conflict, Storage

# Of a write that storage refuses although nobody else has written.
_MOST_TRIES = 5


class NotOurs(Exception):
    """Somebody else has changed, replaced or deleted the record.

    ``id`` is the conversion that the record is about now, None where there is none.
    """

    def __init__(self, conversion_id: str | None) -> None:
        super().__init__("the record was changed by another run")
        self.id = conversion_id


class Unreadable(Exception):
    """The record is not one that this release wrote: it was edited, or another release is, or was, at work.

    ``path`` is the model's, None where the metadata do not say; ``due_at`` when something was to happen.
    """

    def __init__(self, etag: str, path: str | None, due_at: datetime) -> None:
        super().__init__("the record cannot be read")
        self.etag = etag
        self.path = path
        self.due_at = due_at


@dataclass(frozen=True)
class Listed:
    """A record as a listing shows it. ``path`` is None where it is too long for metadata; ``ordered`` says
    that the service may have the conversion, ``resume_at`` until when it had asked to be left alone."""

    name: str
    path: str | None
    step: str
    accepted_at: datetime
    due_at: datetime
    service: ServiceName | None
    status: str
    ordered: bool
    resume_at: datetime | None


@dataclass(frozen=True)
class Held:
    """A record and the version that was read or written."""

    conversion: Conversion
    etag: str


class InFlight:
    """The ``in-flight`` container."""

    def __init__(self, storage: Storage, container: str) -> None:
        self._storage = storage
        self._container = container

    async def read(self, name: str) -> Held | None:
        """The record called ``name``.

        Raises:
            Unreadable
        """
        blob = await self._storage.read(self._container, name)
        if blob is None:
            return None
        try:
            return Held(Conversion.model_validate_json(blob.data), blob.etag)
        except ValidationError:
            listed = _listed(blob.head)
            path = listed.path if listed else None
            raise Unreadable(blob.etag, path, listed.due_at if listed else blob.head.last_modified) from None

    async def of(self, path: str) -> Held | None:
        """The record of the model at ``path``."""
        return await self.read(paths.record(path))

    async def create(self, conversion: Conversion) -> Held:
        """Writes a record where there must be none.

        Raises:
            NotOurs: there is one.
        """
        name = paths.record(conversion.path)
        try:
            etag = await self._storage.create(
                self._container, name, body(conversion), metadata=metadata(conversion)
            )
        except Conflict:
            return _if_ours(await self.of(conversion.path), conversion)
        return Held(conversion, etag)

    async def save(self, held: Held, **changes: Any) -> Held:
        """Changes the record, if it still is the version that is held.

        Raises:
            NotOurs: it is another by now.
        """
        return await self.replace(held, held.conversion.changed(**changes))

    async def replace(self, held: Held, conversion: Conversion) -> Held:
        """Puts another conversion of the same model in the place of the held one.

        Raises:
            NotOurs: the record is another by now.
        """
        return await self._replace(held.etag, conversion)

    async def take_over(self, unreadable: Unreadable, conversion: Conversion) -> Held:
        """Puts a conversion in the place of a record that nobody can read.

        Raises:
            NotOurs: the record is another by now.
        """
        return await self._replace(unreadable.etag, conversion)

    async def delete(self, held: Held) -> None:
        """Deletes the record if it still is the version that is held (rule R7)."""
        name = paths.record(held.conversion.path)
        for _ in range(_MOST_TRIES):
            try:
                await self._storage.delete(self._container, name, held.etag)
                return
            except Conflict:
                head = await self._storage.head(self._container, name)
                if head is None or head.etag != held.etag:
                    return

    async def list(self) -> AsyncIterator[Listed]:
        """Every record, by its metadata."""
        async for head in self._storage.list(self._container, metadata=True):
            if listed := _listed(head):
                yield listed

    async def _replace(self, etag: str, conversion: Conversion) -> Held:
        name = paths.record(conversion.path)
        for _ in range(_MOST_TRIES):
            try:
                new = await self._storage.replace(
                    self._container, name, body(conversion), etag, metadata=metadata(conversion)
                )
                return Held(conversion, new)
            except Conflict:
                current = await self.of(conversion.path)
                if current is None or current.etag != etag:
                    break
                # Nobody has written it: storage refused without a reason.
        return _if_ours(current, conversion)


def _if_ours(current: Held | None, conversion: Conversion) -> Held:
    """A refused write may be our own, whose reply was lost and which was sent again (rule R4)."""
    if current is None:
        raise NotOurs(None)
    if current.conversion.rev != conversion.rev:
        raise NotOurs(current.conversion.id)
    return current


def body(conversion: Conversion) -> bytes:
    """The record of a conversion, as it is stored."""
    return conversion.model_dump_json(by_alias=True, exclude_none=True).encode()


def metadata(conversion: Conversion) -> dict[str, str]:
    """What a listing of the records is to tell."""
    path = paths.to_metadata(conversion.path)
    told = {
        "step": conversion.step,
        "accepted": conversion.accepted_at.isoformat(),
        "due": conversion.due_at.isoformat(),
        "status": conversion.status,
    }
    if len(path) <= paths.LONGEST_METADATA:
        told["path"] = path
    if conversion.service is not None:
        told["service"] = conversion.service
    if conversion.ordered:
        told["ordered"] = "true"
    if conversion.resume_at is not None:
        told["resume"] = conversion.resume_at.isoformat()
    return told


def _listed(head: BlobHead) -> Listed | None:
    metadata = head.metadata
    path = metadata.get("path")
    try:
        accepted_at = datetime.fromisoformat(metadata["accepted"])
        due_at = datetime.fromisoformat(metadata["due"])
        step = metadata["step"]
        resume_at = datetime.fromisoformat(metadata["resume"]) if "resume" in metadata else None
    except (KeyError, ValueError):
        return (
            None  # the tick's lock, or a record that somebody edited: an event or the sweep finds its model
        )
    return Listed(
        name=head.name,
        path=None if path is None else paths.from_metadata(path),
        step=step,
        accepted_at=accepted_at,
        due_at=due_at,
        service=cast("ServiceName | None", metadata.get("service")),
        status=metadata.get("status", "pending"),
        ordered="ordered" in metadata,
        resume_at=resume_at,
    )
