"""The embedded service's requests: accepted once, worked off at least once, ended exactly once.

A request is one private blob, ``<api>/<id>.json`` in the embedded container; every change of it is a
conditional write, and a queue message says that there is work. The APIs in ``api/`` translate to and
from these records and know nothing else; :mod:`shared.embedded.worker` does the work.

A SAS rests in the record only, and is erased from it when the request ends.
"""

import asyncio
import base64
import binascii
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.embedded.engine.job import Output
from shared.settings import Settings
from shared.storage import Conflict, Storage
from shared.telemetry import event

# A message can be lost between the record and the queue. Each new message doubles the wait for the
# next, so that a long queue does not fill up with repeats.
_STALE = timedelta(seconds=60)
_MOST_DOUBLINGS = 6

# On top of the time that the converter may take: fetching the files, and writing the outputs.
_CLAIM_MARGIN = timedelta(minutes=10)

_ATTEMPTS = 10


class State(StrEnum):
    """Where a request is; the last two are final."""

    CREATED = "created"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class _Value(BaseModel):
    # A record that cannot be read is told without its content: a SAS may rest in it.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Location(_Value):
    """A folder of a container, and the right to use it.

    ``prefix`` is empty or ends with a slash. ``linked``: reached with the bundle's own identity, because
    the settings say so; otherwise with ``sas``, a query string without ``?`` (None once it is erased).
    """

    account: str
    container: str
    prefix: str = ""
    linked: bool = False
    sas: str | None = Field(None, repr=False)

    def without_secret(self) -> "Location":
        return self.model_copy(update={"sas": None})


class Request(_Value):
    """What to convert, and into what.

    ``model`` is a path relative to ``source.prefix``; ``root`` names the model inside it, if it is a zip.
    The outputs go into ``target``, under their names. ``callback`` is POSTed to when the request ends.
    ``files``, where it is given, says what lies in the model's folder instead of the folder itself: names
    relative to the model -> blobs of the source container. ``tree``: the model's objects are wanted too.
    ``watched``: somebody may want to hear how the request fares, of the worker's watcher.
    ``conversion_id`` is the caller's own name for it, where an Idempotency-Key told it; the log repeats it.
    """

    api: str
    id: str
    conversion_id: str | None = None
    source: Location
    model: str
    root: str | None = None
    target: Location
    outputs: tuple[Output, ...]
    callback: str | None = Field(None, repr=False)
    files: Mapping[str, str] | None = None
    tree: bool = False
    watched: bool = False

    @property
    def key(self) -> str:
        """The request's name in the queue and in storage."""
        return f"{self.api}/{self.id}"

    def without_secrets(self) -> "Request":
        """What makes two requests the same: everything but the rights they bring."""
        return self.model_copy(
            update={
                "source": self.source.without_secret(),
                "target": self.target.without_secret(),
                "callback": None,
            }
        )


class Claim(_Value):
    """Whose turn it is: ``token`` names the run, ``message`` the queue message that started it."""

    token: str
    message: str
    until: datetime


class Error(_Value):
    """Why a request failed: a code of :class:`shared.problems.Code`, and what to do."""

    code: str
    message: str


class Record(_Value):
    """A request and what became of it. Times are the storage service's.

    ``result`` is the end's: ``outputs`` (a list of ``path`` in the target container, ``type``, ``size``,
    ``sha256``, ``contentType``, and ``role`` where a file only belongs to another), ``warnings`` (``code``,
    ``title``, ``details``), ``statistics``, and of the model that was read ``modelETag`` and ``modelMD5``
    (hexadecimal). ``fault`` is what ended the last try and may not end the next.
    """

    request: Request
    state: State = State.CREATED
    created: datetime
    enqueued: datetime
    nudges: int = 0
    tries: int = 0
    claim: Claim | None = None
    fault: Error | None = None
    finished: datetime | None = None
    error: Error | None = None
    result: Mapping[str, Any] | None = None
    rev: str = Field(default_factory=lambda: secrets.token_hex(8))

    @property
    def final(self) -> bool:
        return self.state in (State.SUCCEEDED, State.FAILED)

    def changed(self, **values: Any) -> "Record":
        """A copy with other values, and a ``rev`` of its own by which to know the write again."""
        return self.model_copy(update={**values, "rev": secrets.token_hex(8)})


class Mismatch(Exception):
    """The id was used before, for another request."""


class Lost(Exception):
    """Another run has taken the request over."""


@dataclass(frozen=True)
class Held:
    """A record, the version of it that was seen, and the claim under which it may be changed."""

    record: Record
    etag: str
    token: str


class Requests:
    """The request records of one bundle."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._container = settings.embedded_container
        self._queue = settings.embedded_queue
        self._claim_time = timedelta(seconds=settings.engine_wall_seconds) + _CLAIM_MARGIN

    def now(self) -> datetime:
        """The time at the storage service."""
        return self._storage.now()

    async def accept(self, request: Request) -> tuple[Record, bool]:
        """Records the request and enqueues it; the record, and whether it is new.

        A repeat with the same id and the same content is the same request: it brings the newer SAS, and
        is enqueued again as long as it has not started.

        Raises:
            Mismatch: the id belongs to a request with other content.
        """
        now = self.now()
        record = Record(request=request, created=now, enqueued=now)
        for _ in range(_ATTEMPTS):
            try:
                await self._storage.create(
                    self._container, _name(request.key), _dump(record), metadata=_metadata(record)
                )
            except Conflict:
                existing = await self._read(request.key)
                if existing is None:
                    continue
                stored, etag = existing
                if stored.rev != record.rev:
                    repeated = await self._repeat(stored, etag, request)
                    if repeated is None:
                        continue
                    return repeated, False
            await self._enqueue(request.key)
            return record, True
        raise Conflict(f"{request.key} kept changing")

    async def status(self, key: str) -> Record | None:
        """The record, or None if there is none; enqueues a request that its message must have missed."""
        found = await self._read(key)
        if found is None:
            return None
        record, etag = found
        if self._is_stale(record):
            nudged = record.changed(enqueued=self.now(), nudges=record.nudges + 1)
            try:
                await self._replace(nudged, etag)
            except Conflict:
                return record
            await self._enqueue(key)
        return record

    async def list(self, api: str, *, after: str | None, limit: int) -> tuple[list[Record], str | None]:
        """``limit`` records of an API, oldest first, and the token to go on ``after`` (None at the end).

        Raises:
            ValueError: ``after`` is no token of ours.
        """
        begin = _token_place(after) if after is not None else ("", "")
        places = sorted(
            [
                (head.metadata.get("created", ""), head.name)
                async for head in self._storage.list(self._container, f"{api}/", metadata=True)
            ]
        )
        rest = [place for place in places if place > begin]
        page = rest[:limit]
        found = await asyncio.gather(*(self._read(name.removesuffix(".json")) for _, name in page))
        token = _place_token(page[-1]) if len(rest) > limit else None
        return [entry[0] for entry in found if entry is not None], token

    async def forget(self, key: str) -> None:
        """Deletes the record; a run that is at it ends without an effect on any record."""
        await self._storage.delete(self._container, _name(key))

    async def claim(self, key: str, message: str) -> Held | None:
        """Takes the request for one run, or None if there is nothing to do.

        Storage queues deliver at least once. A second message about a running request is dropped; the
        same message again means that its first run died, and takes over at once.
        """
        for _ in range(_ATTEMPTS):
            found = await self._read(key)
            if found is None:
                service, _, service_id = key.partition("/")
                event("request.unknown", level=logging.WARNING, service=service, service_id=service_id)
                return None
            record, etag = found
            now = self.now()
            if record.final:
                return None
            running = record.claim
            if running is not None and running.until > now and running.message != message:
                return None
            token = secrets.token_hex(8)
            claimed = record.changed(
                state=State.RUNNING,
                tries=record.tries + 1,
                claim=Claim(token=token, message=message, until=now + self._claim_time),
            )
            try:
                return Held(claimed, await self._replace(claimed, etag), token)
            except Conflict:
                continue
        raise Conflict(f"{key} kept changing")

    async def finish(
        self, held: Held, state: State, *, error: Error | None = None, result: Mapping[str, Any]
    ) -> Record:
        """Ends the request and erases its secrets.

        Raises:
            Lost: another run has taken it over.
        """
        return await self._change(
            held,
            lambda record: record.changed(
                request=record.request.without_secrets(),
                state=state,
                claim=None,
                finished=self.now(),
                error=error,
                result=result,
            ),
        )

    async def release(self, held: Held, fault: Error) -> Record:
        """Gives the request back for another try, with what ended this one.

        Raises:
            Lost: another run has taken it over.
        """
        return await self._change(
            held,
            lambda record: record.changed(
                state=State.CREATED, claim=None, enqueued=self.now(), nudges=0, fault=fault
            ),
        )

    async def _change(self, held: Held, apply: Callable[[Record], Record]) -> Record:
        record, etag = held.record, held.etag
        for _ in range(_ATTEMPTS):
            changed = apply(record)
            try:
                await self._replace(changed, etag)
                return changed
            except Conflict:
                # A repeat may have brought a newer SAS; that does not end the run.
                found = await self._read(record.request.key)
                if found is None or found[0].claim is None or found[0].claim.token != held.token:
                    raise Lost from None
                record, etag = found
        raise Conflict(f"{record.request.key} kept changing")

    async def _repeat(self, stored: Record, etag: str, request: Request) -> Record | None:
        """The stored record after a repeat of its request; None if it changed meanwhile."""
        if stored.request.without_secrets() != request.without_secrets():
            raise Mismatch
        if stored.final:
            return stored
        if stored.request != request:
            stored = stored.changed(request=request)
            try:
                await self._replace(stored, etag)
            except Conflict:
                return None
        if stored.state is State.CREATED:
            await self._enqueue(request.key)
        return stored

    def _is_stale(self, record: Record) -> bool:
        if record.final:
            return False
        now = self.now()
        if record.claim is not None and record.claim.until > now:
            return False
        return bool(now - record.enqueued > _STALE * 2 ** min(record.nudges, _MOST_DOUBLINGS))

    async def _read(self, key: str) -> tuple[Record, str] | None:
        blob = await self._storage.read(self._container, _name(key))
        return None if blob is None else (Record.model_validate_json(blob.data), blob.etag)

    async def _replace(self, record: Record, etag: str) -> str:
        name = _name(record.request.key)
        try:
            return await self._storage.replace(
                self._container, name, _dump(record), etag, metadata=_metadata(record)
            )
        except Conflict:
            # The client sends again a write whose reply was lost, and then meets its own first one.
            found = await self._read(record.request.key)
            if found is not None and found[0].rev == record.rev:
                return found[1]
            raise

    async def _enqueue(self, key: str) -> None:
        await self._storage.enqueue(self._queue, {"id": key})


def _name(key: str) -> str:
    return f"{key}.json"


def _dump(record: Record) -> bytes:
    return record.model_dump_json().encode()


def _metadata(record: Record) -> dict[str, str]:
    """What a listing needs to know without reading every record."""
    return {"created": record.created.isoformat(timespec="microseconds")}


def _place_token(place: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


def _token_place(token: str) -> tuple[str, str]:
    try:
        created, name = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, UnicodeError, ValueError, TypeError) as error:
        raise ValueError("not a token of ours") from error
    if not isinstance(created, str) or not isinstance(name, str):
        raise ValueError("not a token of ours")
    return created, name
