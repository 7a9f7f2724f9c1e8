"""Blobs and queues, with the conditional writes that everything else rests on."""

import base64
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Literal, Self
from urllib.request import getproxies

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    IncompleteReadError,
    ResourceExistsError,
    ServiceRequestError,
    ServiceResponseError,
    StreamClosedError,
    StreamConsumedError,
)
from azure.core.pipeline.policies import AsyncRetryPolicy
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.blob import BlobBlock, ContentSettings, LocationMode
from azure.storage.blob.aio import BlobClient, BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from shared.denial import denied
from shared.problems import Code, ServiceFault
from shared.settings import Settings

logger = logging.getLogger(__name__)

JSON = "application/json"

# How much of a blob is in memory at a time, in bytes.
_PIECE = 4 * 1024 * 1024
# More than a tick has at work at once.
_CLIENTS_KEPT = 256

_MOST_REFUSALS = 5
_BUSY = [408, 429, 500, 502, 503, 504]

# A reply that is older than this says that our own count of the time is wrong.
_SLOWEST_REPLY = timedelta(minutes=2)


class Conflict(Exception):
    """A conditional write did not find the blob as it had to be (409 or 412, or it is gone)."""


def outage(error: BaseException | None) -> ServiceFault | None:
    """The fault behind an error that a later try may not meet; None where that would not help.

    The error's own text may hold an address with a SAS, and is not told.
    """
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status in _BUSY:
        message = f"Storage answered {status}."
    elif isinstance(error, (ServiceRequestError, ServiceResponseError, IncompleteReadError)):
        message = f"Storage did not answer ({type(error).__name__})."
    elif isinstance(error, HttpResponseError) and status is None:
        return outage(error.inner_exception)  # a download that broke off again and again
    else:
        return None
    return ServiceFault(Code.STORAGE_UNAVAILABLE, message, transient=True)


class _Retry(AsyncRetryPolicy[Any, Any]):
    """azure-core's retries, for a storage client, whose own wait 15 s at first and take 429 for final."""

    def configure_retries(self, options: dict[str, Any]) -> dict[str, Any]:
        # Left by the storage client for its own policy, which fails over to secondary hosts.
        for name in ("hosts", "location_mode", "retry_to_secondary"):
            options.pop(name, None)
        return super().configure_retries(options)

    async def send(self, request: Any) -> Any:
        for left in reversed(range(_MOST_REFUSALS)):
            response = await super().send(request)
            try:
                await _read_refusal(response.http_response)
                break
            except IncompleteReadError:
                if not left:
                    raise
        # Read by the storage client's own deserializers.
        response.http_response.location_mode = LocationMode.PRIMARY
        return response


async def _read_refusal(response: Any) -> None:
    """Of an answer that is to be streamed nothing has been read when the retries end; one that says why there
    is no stream may break off too."""
    if response.status_code >= 400 and response.status_code not in _BUSY:
        with contextlib.suppress(StreamConsumedError, StreamClosedError):
            await response.read()


class Clock:
    """The storage service's time, whatever the instance's own clock says (rule R10).

    Every reply carries the service's Date; between two replies a monotonic counter goes on from it.
    """

    def __init__(self) -> None:
        self._date = datetime.now(UTC)
        self._read_at = time.monotonic()
        self._is_told = False

    def observe(self, response: Any) -> None:
        """Takes the Date of a reply, as the client's ``raw_response_hook``."""
        header = response.http_response.headers.get("Date")
        if not header:
            return
        date = parsedate_to_datetime(header)
        # A Date has no fraction of a second, and a reply may be slow: neither sets the time back.
        if not self._is_told or not timedelta(0) <= self.now() - date < _SLOWEST_REPLY:
            self._date = date
            self._read_at = time.monotonic()
            self._is_told = True

    def now(self) -> datetime:
        """The time at the storage service, aware and in UTC."""
        return self._date + timedelta(seconds=time.monotonic() - self._read_at)


@dataclass(frozen=True)
class BlobHead:
    """What a listing or a HEAD tells of a blob; ``md5`` is absent where storage has none."""

    name: str
    etag: str
    size: int
    last_modified: datetime
    md5: bytes | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Blob:
    """A blob, or the range of it that was asked for; ``head.size`` is the number of bytes read."""

    data: bytes
    head: BlobHead

    @property
    def etag(self) -> str:
        """The version that was read."""
        return self.head.etag


class Storage:
    """The bundle's storage account.

    Reads give None for what is not there. Conditional writes raise :class:`Conflict`. A 403 is a
    :class:`Problem` that says which role is lacking. Any other failure is azure-core's own
    ``HttpResponseError`` or ``ServiceRequestError``, after the retries below.
    """

    def __init__(self, blobs: BlobServiceClient, queues: QueueServiceClient, clock: Clock) -> None:
        self.blob_service = blobs
        self.queue_service = queues
        self.clock = clock
        self.credential: ManagedIdentityCredential | None = None
        self.account_key: str | None = None
        self.account = blobs.account_name or ""
        # What is read is most often written next, and a client takes as long to make as half a request.
        self._client_of = lru_cache(maxsize=_CLIENTS_KEPT)(blobs.get_blob_client)

    @classmethod
    def connect(cls, settings: Settings, **client_options: Any) -> Self:
        """Opens the account that the settings name; nothing is sent yet.

        ``client_options`` go to both clients (``transport``, ``connection_verify``, ``credential``).
        """
        clock = Clock()
        by_identity = settings.model_storage is None

        def policies(service: Literal["blob", "queue"]) -> dict[str, Any]:
            def look_at(response: Any) -> None:
                clock.observe(response)
                if response.http_response.status_code == 403:
                    code = response.http_response.headers.get("x-ms-error-code")
                    raise denied(response.http_request, code, service=service, by_identity=by_identity)

            # One for each pipeline: a policy knows what comes after it.
            retries = _Retry(
                retry_total=4,
                retry_backoff_factor=0.4,
                retry_backoff_max=10,
                retry_on_status_codes=_BUSY,
            )
            return {"raw_response_hook": look_at, "retry_policy": retries}

        options: dict[str, Any] = {
            "connection_timeout": 10,
            "read_timeout": 60,
            # aiohttp would look for a proxy, and for passwords in a .netrc file, with every request anew.
            "use_env_settings": bool(getproxies()),
        } | client_options
        given = options.pop("credential", None)
        if settings.model_storage is not None:
            storage = cls(
                BlobServiceClient.from_connection_string(
                    settings.model_storage, **policies("blob"), **options
                ),
                QueueServiceClient.from_connection_string(
                    settings.model_storage, **policies("queue"), **options
                ),
                clock,
            )
            storage.account_key = getattr(storage.blob_service.credential, "account_key", None)
            return storage
        assert settings.blob_service_uri is not None and settings.queue_service_uri is not None
        credential = given or ManagedIdentityCredential(client_id=settings.identity_client_id)
        opened: dict[str, Any] = {"credential": credential} | options
        storage = cls(
            BlobServiceClient(settings.blob_service_uri, **policies("blob"), **opened),
            QueueServiceClient(settings.queue_service_uri, **policies("queue"), **opened),
            clock,
        )
        storage.credential = credential
        return storage

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self.blob_service.close()
        await self.queue_service.close()
        if self.credential is not None:
            await self.credential.close()

    def now(self) -> datetime:
        """The time at the storage service."""
        return self.clock.now()

    def blob(self, container: str, name: str) -> BlobClient:
        """The client of one blob."""
        return self._client_of(container, name)

    async def head(self, container: str, name: str) -> BlobHead | None:
        """Properties and metadata of a blob."""
        try:
            properties = await self.blob(container, name).get_blob_properties()
        except HttpResponseError as error:
            if error.status_code == 404:
                return None
            raise
        return _head(properties)

    async def read(
        self, container: str, name: str, *, offset: int | None = None, length: int | None = None
    ) -> Blob | None:
        """A blob, or ``length`` bytes of it from ``offset``, in one request."""
        client = self.blob(container, name)
        try:
            stream = await client.download_blob(offset=offset, length=length, max_concurrency=1)
            data = await stream.readall()
        except HttpResponseError as error:
            if error.status_code == 416:  # an empty blob has no range
                head = await self.head(container, name)
                return None if head is None else Blob(b"", head)
            if error.status_code == 404:
                return None
            raise
        return Blob(data, _head(stream.properties))

    async def create(
        self,
        container: str,
        name: str,
        data: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> str:
        """Writes a blob that must not exist yet; its ETag."""
        return await self._write(container, name, data, metadata, content_type, overwrite=False)

    async def replace(
        self,
        container: str,
        name: str,
        data: bytes,
        etag: str,
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> str:
        """Writes a blob whose version must still be ``etag``; the new ETag."""
        return await self._write(container, name, data, metadata, content_type, overwrite=True, etag=etag)

    async def put(
        self,
        container: str,
        name: str,
        data: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> str:
        """Writes a blob whatever was there; its ETag."""
        return await self._write(container, name, data, metadata, content_type, overwrite=True)

    async def _write(
        self,
        container: str,
        name: str,
        data: bytes,
        metadata: Mapping[str, str] | None,
        content_type: str,
        *,
        overwrite: bool,
        etag: str | None = None,
    ) -> str:
        condition: dict[str, Any] = (
            {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        )
        try:
            written = await self.blob(container, name).upload_blob(
                data,
                overwrite=overwrite,
                metadata=dict(metadata or {}),
                content_settings=ContentSettings(content_type=content_type),
                max_concurrency=1,
                **condition,
            )
        except HttpResponseError as error:
            if error.status_code in (409, 412) or (etag is not None and error.status_code == 404):
                raise Conflict(f"{container} {error.status_code}") from None
            raise
        return str(written["etag"])

    async def stream(
        self,
        container: str,
        name: str,
        *,
        offset: int = 0,
        length: int | None = None,
        etag: str | None = None,
    ) -> AsyncIterator[bytes]:
        """A blob's bytes from ``offset`` on, in requests of at most 4 MiB each; of the version ``etag`` where
        one is given.

        Raises:
            Conflict: the blob is, or was while it was read, another version, or gone.
        """
        end = None if length is None else offset + length
        while end is None or offset < end:
            size = _PIECE if end is None else min(_PIECE, end - offset)
            condition: dict[str, Any] = (
                {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}
            )
            try:
                stream = await self.blob(container, name).download_blob(
                    offset=offset, length=size, max_concurrency=1, **condition
                )
                data = await stream.readall()
            except HttpResponseError as error:
                if error.status_code == 416:  # the end
                    return
                if error.status_code in (404, 412):
                    raise Conflict(f"{container} {error.status_code}") from None
                raise
            etag = str(stream.properties.etag)
            yield data
            offset += len(data)
            if len(data) < size:
                return

    async def write_stream(
        self,
        container: str,
        name: str,
        chunks: AsyncIterator[bytes],
        *,
        content_type: str = "application/octet-stream",
    ) -> tuple[BlobHead, str]:
        """Writes a blob from pieces of any size; what is there then, and its SHA-256 in hexadecimal.

        Nothing is there before all of it is. Up to 4 MiB are one request, more are one a piece and one more.
        """
        client = self.blob(container, name)
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        blocks: list[BlobBlock] = []
        pending = bytearray()
        size = 0

        async def stage(data: bytes) -> None:
            block = BlobBlock(f"{len(blocks):08d}")
            await client.stage_block(block.id, data)
            blocks.append(block)

        async for chunk in chunks:
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
            pending += chunk
            while len(pending) > _PIECE:
                with memoryview(pending) as view:
                    piece = bytes(view[:_PIECE])
                del pending[:_PIECE]
                await stage(piece)
        settings = ContentSettings(content_type=content_type, content_md5=bytearray(md5.digest()))
        if blocks:
            await stage(bytes(pending))
            written: dict[str, Any] = await client.commit_block_list(blocks, content_settings=settings)
        else:
            written = await client.upload_blob(
                bytes(pending), overwrite=True, content_settings=settings, max_concurrency=1
            )
        etag, modified = _quoted(str(written["etag"])), written["last_modified"]
        return BlobHead(name, etag, size, modified, md5.digest(), content_type), sha256.hexdigest()

    async def delete(self, container: str, name: str, etag: str | None = None) -> bool:
        """Deletes a blob, if it still is version ``etag`` where one is given; False if it was gone.

        Raises:
            Conflict: it is another version by now.
        """
        condition: dict[str, Any] = (
            {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        )
        try:
            await self.blob(container, name).delete_blob(**condition)
        except HttpResponseError as error:
            if error.status_code == 404:
                return False
            if error.status_code in (409, 412):
                raise Conflict(f"{container} {error.status_code}") from None
            raise
        return True

    async def list(
        self, container: str, prefix: str = "", *, metadata: bool = False, page_size: int = 5000
    ) -> AsyncIterator[BlobHead]:
        """The blobs whose names start with ``prefix``, by name, one request a page."""
        client = self.blob_service.get_container_client(container)
        found = client.list_blobs(
            name_starts_with=prefix or None,
            include=["metadata"] if metadata else None,
            results_per_page=page_size,
        )
        async for properties in found:
            yield _head(properties)

    async def enqueue(self, queue: str, message: Mapping[str, Any], *, delay_seconds: int = 0) -> None:
        """Sends a JSON message, in base64 as host.json says queue messages are."""
        text = base64.b64encode(json.dumps(message).encode()).decode()
        await self.queue_service.get_queue_client(queue).send_message(
            text, visibility_timeout=delay_seconds or None
        )

    async def depth(self, queue: str) -> int:
        """About how many messages there are in a queue; 0 where there is no such queue."""
        try:
            properties = await self.queue_service.get_queue_client(queue).get_queue_properties()
        except HttpResponseError as error:
            if error.status_code == 404:
                return 0
            raise
        return properties.approximate_message_count or 0

    async def ensure(self, containers: tuple[str, ...], queues: tuple[str, ...]) -> None:
        """Creates what does not exist; in Azure the template has done it."""
        for container in containers:
            try:
                await self.blob_service.create_container(container)
            except ResourceExistsError:
                logger.debug("container %s exists", container)
        for queue in queues:
            try:
                await self.queue_service.create_queue(queue)
            except ResourceExistsError:
                logger.debug("queue %s exists", queue)


def _head(properties: Any) -> BlobHead:
    settings = properties.content_settings
    return BlobHead(
        name=properties.name,
        etag=_quoted(properties.etag),
        size=properties.size,
        last_modified=properties.last_modified,
        md5=bytes(settings.content_md5) if settings and settings.content_md5 else None,
        content_type=settings.content_type if settings else None,
        metadata={key.lower(): value for key, value in (properties.metadata or {}).items()},
    )


def _quoted(etag: str) -> str:
    """Listings give an ETag without its quotes, replies with them; one spelling compares equal."""
    return etag if etag.startswith('"') else f'"{etag}"'
