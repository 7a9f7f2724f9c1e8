"""Requests to blobs without the storage client around them, which takes longer over one than storage itself.

What goes with every request is azure-core's own pipeline: identity or key, retries, connections. The client's
generated code would build five objects for a request, and decode thirty headers of which four are read.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import AsyncPipeline, PipelineResponse
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncRetryPolicy,
    DistributedTracingPolicy,
    SansIOHTTPPolicy,
)
from azure.core.pipeline.transport import AsyncHttpTransport, HttpRequest
from azure.storage.blob.aio import BlobServiceClient

_SCOPE = "https://storage.azure.com/.default"


_METADATA = "x-ms-meta-"


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


class _Dated(SansIOHTTPPolicy[Any, Any]):
    """Each try has its own date: it is signed with it."""

    def on_request(self, request: Any) -> None:
        request.http_request.headers["x-ms-date"] = format_datetime(datetime.now(UTC), usegmt=True)


class _Looked(SansIOHTTPPolicy[Any, Any]):
    """Shows each reply to the hook that the storage clients have."""

    def __init__(self, hook: Callable[[Any], None]) -> None:
        super().__init__()
        self._hook = hook

    def on_response(self, request: Any, response: Any) -> None:
        self._hook(response)


class BlobRequests:
    """Sends requests to the blobs of an account."""

    def __init__(
        self,
        service: BlobServiceClient,
        transport: AsyncHttpTransport[Any, Any],
        retries: AsyncRetryPolicy[Any, Any],
        hook: Any,
    ) -> None:
        """``service`` says where the account is and what opens it; ``hook`` sees every reply."""
        credential: Any = service.credential
        if hasattr(credential, "get_token"):
            credential = AsyncBearerTokenCredentialPolicy(credential, _SCOPE)
        self._version = str(service.api_version)
        # A SAS of the connection string opens it as a part of every address.
        self._query = dict(parse_qsl(urlsplit(str(service.url)).query))
        self._base = str(service.primary_endpoint).partition("?")[0].rstrip("/")
        policies = [retries, _Dated(), credential, _Looked(hook), DistributedTracingPolicy()]
        self._pipeline: AsyncPipeline[Any, Any] = AsyncPipeline(
            transport, [policy for policy in policies if policy is not None]
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._pipeline.__aexit__()

    async def send(
        self,
        method: str,
        container: str,
        name: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Any:
        """One request; the reply, with its body read.

        Raises:
            HttpResponseError: any status from 400 on, after the retries.
        """
        url = f"{self._base}/{quote(container)}" + (f"/{quote(name, safe='~/')}" if name else "")
        if asked := {**self._query, **(query or {})}:
            url += f"?{urlencode(asked, quote_via=quote)}"
        request = HttpRequest(method, url, headers={"x-ms-version": self._version, **(headers or {})})
        if data is not None:
            request.headers["Content-Length"] = str(len(data))
            request.data = data
        result: PipelineResponse[Any, Any] = await self._pipeline.run(request)
        if result.http_response.status_code >= 400:
            raise HttpResponseError(response=result.http_response)
        return result.http_response


def head_of(name: str, reply: Any, size: int | None = None) -> BlobHead:
    """What the headers of a reply tell of a blob; its ``size`` is the Content-Length, unless it is given."""
    headers = {key.lower(): str(value) for key, value in reply.headers.items()}
    # The reply to a range has the whole blob's MD5 in a header of its own.
    md5 = headers.get("x-ms-blob-content-md5") or headers.get("content-md5")
    return BlobHead(
        name=name,
        etag=quoted(headers["etag"]),
        size=int(headers["content-length"]) if size is None else size,
        last_modified=parsedate_to_datetime(headers["last-modified"]),
        md5=b64decode(md5) if md5 else None,
        content_type=headers.get("content-type"),
        metadata={
            key.removeprefix(_METADATA): value for key, value in headers.items() if key.startswith(_METADATA)
        },
    )


def heads_of(page: bytes) -> tuple[list[BlobHead], str]:
    """The blobs on a page of a listing, and where the next page begins; empty for the last one."""
    root = ElementTree.fromstring(page)  # noqa: S314, storage wrote it
    return [_listed(blob) for blob in root.iterfind("Blobs/Blob")], root.findtext("NextMarker") or ""


def _listed(blob: ElementTree.Element) -> BlobHead:
    name = blob.find("Name")
    properties = blob.find("Properties")
    assert name is not None and properties is not None
    told = {item.tag: item.text or "" for item in properties}
    md5 = told.get("Content-MD5")
    text = name.text or ""
    return BlobHead(
        # A name that XML cannot hold comes encoded.
        name=unquote(text) if name.get("Encoded") == "true" else text,
        etag=quoted(told["Etag"]),
        size=int(told["Content-Length"]),
        last_modified=parsedate_to_datetime(told["Last-Modified"]),
        md5=b64decode(md5) if md5 else None,
        content_type=told.get("Content-Type") or None,
        metadata={item.tag.lower(): item.text or "" for item in blob.iterfind("Metadata/*")},
    )


def quoted(etag: str) -> str:
    """Listings give an ETag without its quotes, replies with them; one spelling compares equal."""
    return etag if etag.startswith('"') else f'"{etag}"'
