"""The containers that requests name: which may be used, and how files get in and out of them.

A storage account is named by its name alone, or by a URL of the one shape that the settings allow, so
that no request can point the service at another host. Failures are told in words of our own: an SDK's
message may quote an address with its SAS.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import ContainerClient

from shared import paths
from shared.embedded.requests import Location
from shared.problems import Code, Problem
from shared.settings import Settings
from shared.storage import Storage

_CHUNK = 4 * 1024 * 1024

_READ = "read and list"
_WRITE = "write"

# A listing of 5,000 names a request; a folder with more than this is not a model's.
_MOST_LISTED = 50_000


class NotLinked(Exception):
    """The container may be used with a SAS only."""


class Unreachable(Exception):
    """Storage did not answer as it should; another try may succeed."""


class Containers:
    """Access to the containers that requests name."""

    def __init__(self, settings: Settings, storage: Storage, **client_options: Any) -> None:
        """``client_options`` are those of :meth:`Storage.connect`, whose identity is not for others' SAS."""
        client_options.pop("credential", None)
        self._url = settings.embedded_blob_url
        self._linked = settings.linked_containers
        self._own = {
            (storage.account, settings.in_flight_container),
            (storage.account, settings.embedded_container),
        }
        self._storage = storage
        self._options = {"retry_total": 4, "initial_backoff": 1, "increment_base": 2} | client_options
        before, after = (re.escape(part) for part in self._url.split("{account}"))
        self._uri = re.compile(f"(?i:{before})([a-z0-9]{{3,24}})(?i:{after})/([^/?#\\s]+)/?")

    def locate(self, uri: str) -> tuple[str, str]:
        """The (account, container) of a container's address.

        Raises:
            Problem: it is not an address of a container at the storage this service uses.
        """
        match = self._uri.fullmatch(uri)
        if match is None:
            raise Problem(
                Code.STORAGE_DENIED,
                f"A container's address must look like {self._url.format(account='<account>')}/<container>, "
                "without a query string; no other storage host is used.",
            )
        return match[1], match[2]

    def url(self, location: Location) -> str:
        """The address of the container; no SAS."""
        return f"{self._url.format(account=location.account)}/{location.container}"

    def check(self, location: Location) -> None:
        """Whether a request may use ``location`` at all.

        Raises:
            Problem: a name that cannot be, or a container with the bundle's own state.
            NotLinked: no SAS, and not in the settings' list of linked containers.
        """
        if not paths.is_account_name(location.account):
            raise Problem(
                Code.STORAGE_DENIED,
                "A storage account's name is 3 to 24 lower-case letters and digits, "
                "without .blob.core.windows.net.",
            )
        if not paths.is_container_name(location.container):
            raise Problem(
                Code.STORAGE_DENIED,
                "A container's name is 3 to 63 lower-case letters, digits and single hyphens.",
            )
        if location.prefix:
            paths.check(location.prefix)
        place = (location.account, location.container)
        if place in self._own:
            raise Problem(Code.STORAGE_DENIED, f"The container {location.container} is not for models.")
        if location.linked and place not in self._linked:
            raise NotLinked

    @asynccontextmanager
    async def open(self, location: Location) -> AsyncIterator["Container"]:
        """The container of a location that :meth:`check` let pass."""
        if location.linked and location.account == self._storage.account:
            # Not closed here: it shares the connections of the bundle's own client.
            yield Container(self._storage.blob_service.get_container_client(location.container))
            return
        if location.linked and self._storage.credential is None:
            raise Problem(
                Code.STORAGE_DENIED,
                f"The storage account {location.account} can be used with the bundle's identity only, "
                "and the bundle has none: it runs on a connection string.",
            )
        client = ContainerClient(
            self._url.format(account=location.account),
            location.container,
            credential=self._storage.credential
            if location.linked
            else AzureSasCredential(location.sas or ""),
            **self._options,
        )
        async with client:
            yield Container(client)


@dataclass(frozen=True)
class Read:
    """A file as it was read: its size in bytes; of a blob its ETag, and its MD5 in hexadecimal where storage
    knows it."""

    size: int
    etag: str | None = None
    md5: str | None = None


class Container:
    """Files in and out of one container, a file at a time and in bounded memory.

    Every method raises :class:`Problem` for what another try would not change, and :class:`Unreachable`
    for what it might.
    """

    def __init__(self, client: ContainerClient) -> None:
        self._client = client

    async def list(self, prefix: str) -> dict[str, int]:
        """The sizes in bytes of the blobs whose names start with ``prefix``; at most the first 50,000."""
        sizes: dict[str, int] = {}
        with _told("list the input container", _READ):
            async for blob in self._client.list_blobs(name_starts_with=prefix or None):
                sizes[blob.name] = blob.size
                if len(sizes) == _MOST_LISTED:
                    break
        return sizes

    async def download(self, name: str, to: Path, *, most: int) -> "Read":
        """Writes the blob to a file.

        Raises:
            Problem: ``too-large`` for more than ``most`` bytes, before they are fetched.
        """
        with _told(f"read {name!r}", _READ):
            stream = await self._client.download_blob(name, max_concurrency=1)
            if stream.size > most:
                raise too_large(name, stream.size, most)
            with await asyncio.to_thread(to.open, "xb") as file:
                async for chunk in stream.chunks():
                    await asyncio.to_thread(file.write, chunk)
            md5 = stream.properties.content_settings.content_md5
            return Read(int(stream.size), str(stream.properties.etag), bytes(md5).hex() if md5 else None)

    async def write(self, name: str, data: bytes, content_type: str) -> None:
        """Writes a small blob, over whatever was there, with its Content-MD5."""
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        settings = ContentSettings(content_type=content_type, content_md5=bytearray(md5))
        with _told(f"write {name!r}", _WRITE):
            await self._client.upload_blob(name, data, overwrite=True, content_settings=settings)

    async def upload(self, name: str, file: Path, content_type: str) -> None:
        """Writes a file to a blob, over whatever was there, with its Content-MD5."""
        md5 = await asyncio.to_thread(_md5, file)
        settings = ContentSettings(content_type=content_type, content_md5=bytearray(md5))
        with _told(f"write {name!r}", _WRITE), await asyncio.to_thread(file.open, "rb") as data:
            await self._client.upload_blob(
                name, data, overwrite=True, content_settings=settings, max_concurrency=1
            )


def too_large(name: str, size: int, most: int) -> Problem:
    """Says that a file, or files, of ``size`` bytes are more than ``most``."""
    return Problem(
        Code.TOO_LARGE,
        f"{name!r} is too large: {_mebibytes(size)} MiB, and at most {_mebibytes(most)} MiB are converted. "
        "Reduce it, or raise ENGINE_INPUT_MB on a larger instance.",
    )


def _mebibytes(size: int) -> str:
    return f"{size / 1024**2:,.1f}"


def _md5(file: Path) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as data:
        for chunk in _chunks(data):
            digest.update(chunk)
    return digest.digest()


def _chunks(data: Any) -> Iterator[bytes]:
    while chunk := data.read(_CHUNK):
        yield chunk


@contextmanager
def _told(what: str, rights: str) -> Iterator[None]:
    """Turns the SDK's exceptions into ours, which tell what failed and never an address."""
    try:
        yield
    except HttpResponseError as error:
        raise _in_our_words(error, what, rights) from None
    except AzureError as error:
        raise Unreachable(f"Could not {what}: {type(error).__name__}.") from None


def _in_our_words(error: HttpResponseError, what: str, rights: str) -> Exception:
    status = error.status_code
    code = getattr(error, "error_code", None)
    # An enum for some codes, and a plain string for others.
    reason = str(getattr(code, "value", code) or f"HTTP {status}")
    if status == 404 and rights != _WRITE:
        return Problem(Code.SOURCE_DELETED, f"Could not {what}: it is not there ({reason}).")
    if status in (401, 403):
        return Problem(
            Code.STORAGE_DENIED,
            f"Could not {what}: storage refused it ({reason}). Check that the SAS has not expired and "
            f"permits {rights}, or that the container is linked with such rights.",
        )
    if status is not None and 400 <= status < 500 and status not in (408, 412, 429):
        return Problem(Code.STORAGE_DENIED, f"Could not {what}: storage refused it ({reason}).")
    return Unreachable(f"Could not {what}: storage answered {reason}.")
