"""What was translated of each source design, in each region: the state behind manifests.

A design is one blob, changed by conditional writes only. It holds the worker's requests themselves, so
that a crash between the write and the queue loses nothing: whoever looks next hands them in again.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.embedded.requests import Record, Request, Requests
from shared.formats import MODEL_DERIVATIVE
from shared.settings import Settings
from shared.storage import Conflict, Storage

_ROOT = "derivatives/"
_REFERENCES = "references/"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Derivative(_Value):
    """One derivative that was asked for: made by ``request`` as the file ``name``. ``asked`` are the
    options as the caller wrote them; two with the same ``signature`` are the same."""

    type: str
    asked: Mapping[str, Any]
    signature: str
    request: str
    name: str
    notes: tuple[str, ...] = ()


class Job(_Value):
    """One call of the job operation, and the requests it made; ``attribute`` goes to its webhooks."""

    requests: tuple[str, ...]
    workflow: str | None = None
    attribute: Mapping[str, Any] | None = None


class Design(_Value):
    """A source design in a region; ``urn`` is unpadded base64url. ``root``, ``compressed`` and
    ``references`` are how it was last said to be read."""

    urn: str
    region: str
    name: str
    compressed: bool = False
    root: str | None = None
    references: bool = False
    derivatives: tuple[Derivative, ...] = ()
    jobs: tuple[Job, ...] = ()
    requests: Mapping[str, Request] = Field(default_factory=dict)
    rev: str = Field(default_factory=lambda: secrets.token_hex(8))

    def changed(self, **values: Any) -> "Design":
        """A copy with other values, and a ``rev`` of its own by which to know the write again."""
        return self.model_copy(update={**values, "rev": secrets.token_hex(8)})


class Reference(_Value):
    """A file that a design needs: ``urn`` is the object's own, ``path`` its place beside the design."""

    urn: str
    path: str


class References(_Value):
    """The files of a design of several; ``filename`` is what its top is called, if that was said."""

    filename: str | None = None
    files: tuple[Reference, ...] = ()


class Designs:
    """The designs of one bundle."""

    def __init__(self, storage: Storage, settings: Settings, requests: Requests) -> None:
        self._storage = storage
        self._container = settings.embedded_container
        self._requests = requests

    def now(self) -> datetime:
        """The time at the storage service."""
        return self._storage.now()

    async def read(self, urn: str, region: str) -> tuple[Design, str] | None:
        """A design and the version of it that was seen."""
        return await self._read(_manifest(urn, region))

    async def read_of(self, request: Request) -> Design | None:
        """The design that a request of the worker belongs to."""
        folder = request.target.prefix.rstrip("/").rpartition("/")[0]
        found = await self._read(f"{folder}/{_STATE}")
        return None if found is None else found[0]

    async def _read(self, name: str) -> tuple[Design, str] | None:
        blob = await self._storage.read(self._container, name)
        return None if blob is None else (Design.model_validate_json(blob.data), blob.etag)

    async def write(self, design: Design, etag: str | None) -> None:
        """Writes a design whose version must still be ``etag``, or that must not exist yet.

        Raises:
            Conflict: somebody else was faster.
        """
        name, data = _manifest(design.urn, design.region), design.model_dump_json().encode()
        try:
            if etag is None:
                await self._storage.create(self._container, name, data)
            else:
                await self._storage.replace(self._container, name, data, etag)
        except Conflict:
            # The client sends again a write whose reply was lost, and then meets its own first one.
            found = await self._read(name)
            if found is None or found[0].rev != design.rev:
                raise

    async def hand_in(self, requests: Iterable[Request]) -> None:
        """Gives the worker what a design, as it was written just now, asks of it."""
        await asyncio.gather(*(self._requests.accept(request) for request in requests))

    async def records(self, design: Design) -> dict[str, Record]:
        """The worker's record of each request; one that was not handed in is handed in now."""
        found = await asyncio.gather(*(self._record(request) for request in design.requests.values()))
        return dict(zip(design.requests, found, strict=True))

    async def _record(self, request: Request) -> Record:
        record = await self._requests.status(request.key)
        if record is None:
            record, _ = await self._requests.accept(request)
        return record

    async def record(self, urn: str, region: str, identity: str) -> Record | None:
        """The worker's record of one request of a design, without a look at the design: the request goes
        when the design does, or leaves it. One that was not handed in is handed in now."""
        record = await self._requests.status(_key(identity))
        if record is None:
            found = await self.read(urn, region)
            request = None if found is None else found[0].requests.get(identity)
            return None if request is None else await self._record(request)
        return record if record.request.target.prefix == place_of(urn, region, identity) else None

    async def drop(self, urn: str, region: str) -> None:
        """Deletes a design, if there is one, and all that was made of it; a run that is at it ends without
        an effect.

        Raises:
            Conflict: it has changed meanwhile.
        """
        found = await self.read(urn, region)
        if found is not None:
            design, etag = found
            await self._storage.delete(self._container, _manifest(urn, region), etag)
            await self.clear(design)
        await self._sweep(urn, region)

    async def _sweep(self, urn: str, region: str) -> None:
        """Deletes what a call that died has left: what was made, and no design names any more."""
        place = folder(urn, region)
        listed = [head.name.removeprefix(place) async for head in self._storage.list(self._container, place)]
        if left := {name.partition("/")[0] for name in listed if "/" in name}:
            found = await self.read(urn, region)
            named = found[0].requests if found is not None else {}
            await asyncio.gather(*(self._forget(one, f"{place}{one}/") for one in left if one not in named))

    async def clear(self, design: Design) -> None:
        """Deletes what was made of a design, as of the version given."""
        await asyncio.gather(*(self.forget(request) for request in design.requests.values()))

    async def forget(self, request: Request) -> None:
        """Deletes a request of the worker and what it wrote."""
        await self._forget(request.id, request.target.prefix)

    async def _forget(self, identity: str, prefix: str) -> None:
        await self._requests.forget(_key(identity))
        async for head in self._storage.list(self._container, prefix):
            await self._storage.delete(self._container, head.name)

    async def set_references(self, urn: str, region: str, references: References) -> None:
        """Says which files a design needs; replaces what was said before."""
        name = _references(urn, region)
        await self._storage.put(self._container, name, references.model_dump_json().encode())

    async def references(self, urn: str, region: str) -> References:
        """The files that a design needs, as far as anybody said."""
        blob = await self._storage.read(self._container, _references(urn, region))
        return References() if blob is None else References.model_validate_json(blob.data)


_STATE = "design.json"


def folder(urn: str, region: str) -> str:
    """Where everything of a design is, in the private container; ends with a slash."""
    return f"{_ROOT}{region.lower()}/{hashlib.sha256(urn.encode()).hexdigest()}/"


def place_of(urn: str, region: str, identity: str) -> str:
    """Where a request of a design writes; ends with a slash."""
    return f"{folder(urn, region)}{identity}/"


def _key(identity: str) -> str:
    return f"{MODEL_DERIVATIVE}/{identity}"


def _manifest(urn: str, region: str) -> str:
    return f"{folder(urn, region)}{_STATE}"


def _references(urn: str, region: str) -> str:
    return f"{_REFERENCES}{region.lower()}/{hashlib.sha256(urn.encode()).hexdigest()}.json"
