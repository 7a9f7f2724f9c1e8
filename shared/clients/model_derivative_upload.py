"""Files into Autodesk's object storage: a bucket, signed uploads in parts, and the references between them.

A part is streamed from the blob to the address that the service signs for it, so that memory does not
depend on its size; an address that has expired is asked for again, and only that part is sent again.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

from shared.clients import InputFile, Transfer
from shared.clients.model_derivative_calls import DESIGN_DATA, NAME, Calls, bad
from shared.clients.model_derivative_urn import Source
from shared.clients.transport import Conflicting, NotFound, Unreachable
from shared.problems import Code, ServiceFault

# At least 5 MiB; there may be 10,000 of them, and a call gives 25 addresses.
_PART = 8 * 1024 * 1024
_MOST_PARTS = 10_000
_MOST_URLS = 25
_MINUTES = 60
_TRIES = 5

#: How long objects last where nobody deletes them: longer than any deadline.
_POLICY = "temporary"

logger = logging.getLogger(__name__)


class Uploads:
    """Brings a conversion's files to where its URN says they are."""

    def __init__(self, calls: Calls, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._calls = calls
        self._sleep = sleep
        self._buckets: set[str] = set()

    async def bring(
        self, source: Source, files: list[tuple[str, InputFile]], transfer: Transfer, *, repeated: bool
    ) -> None:
        """Uploads each (object key, file); ``repeated`` looks first for what is there already.

        Raises:
            ServiceFault
        """
        await self._have_bucket(source)
        try:
            for key, file in files:
                if not (repeated and await self._is_there(source, key, file.size)):
                    await self._upload(source, key, file, transfer)
        except NotFound as fault:
            # The bucket went after this process saw it last: a repeat makes it again.
            self._buckets.discard(source.bucket)
            raise ServiceFault(fault.code, fault.message, transient=True, trace_id=fault.trace_id) from None

    async def refer(self, source: Source, model: str, companions: list[tuple[str, str]]) -> None:
        """Says which objects lie where beside the model: each is (object key, path relative to it).

        Raises:
            ServiceFault
        """
        await self._calls.call(
            "POST",
            f"{DESIGN_DATA}/{source.urn}/references",
            source.region,
            body={
                "urn": source.object_id(source.key),
                "region": source.region,
                "filename": model,
                "references": [
                    {
                        "urn": source.object_id(key),
                        "relativePath": path,
                        "filename": path.rpartition("/")[2],
                    }
                    for key, path in companions
                ],
            },
            may_be_empty=True,
        )

    async def delete(self, source: Source) -> None:
        """Deletes what a conversion uploaded; gone already is done.

        Raises:
            ServiceFault
        """
        for key in (source.key, *source.companion_keys):
            try:
                await self._calls.call("DELETE", _object(source, key), source.region, may_be_empty=True)
            except NotFound:
                logger.debug("an uploaded object was gone already")

    async def _have_bucket(self, source: Source) -> None:
        if source.bucket in self._buckets:
            return
        try:
            await self._calls.call(
                "POST",
                "/oss/v2/buckets",
                source.region,
                body={"bucketKey": source.bucket, "policyKey": _POLICY},
            )
        except Conflicting:
            # Names are global: if it is somebody else's, the upload is refused and says so.
            logger.debug("the bucket exists")
        self._buckets.add(source.bucket)

    async def _is_there(self, source: Source, key: str, size: int) -> bool:
        try:
            reply = await self._calls.call("GET", f"{_object(source, key)}/details", source.region)
        except NotFound:
            return False
        return reply.body.get("size") == size

    async def _upload(self, source: Source, key: str, file: InputFile, transfer: Transfer) -> None:
        path = f"{_object(source, key)}/signeds3upload"
        length = max(_PART, math.ceil(file.size / _MOST_PARTS))
        count = max(1, math.ceil(file.size / length))
        urls: list[str] = []
        etags: list[str | None] = []
        upload_key: str | None = None
        while (number := len(etags) + 1) <= count:
            for tried in range(_TRIES):
                if not urls:
                    upload_key, urls = await self._addresses(
                        source, path, upload_key, number, min(_MOST_URLS, count - number + 1)
                    )
                offset = (number - 1) * length
                size = min(length, file.size - offset)
                status, etag = await self._put(
                    urls[0], transfer.read(file.path, offset=offset, length=size), size
                )
                if 200 <= status < 300:
                    urls.pop(0)
                    etags.append(etag)
                    break
                if status == 403:
                    urls = []  # expired
                elif status in (408, 429) or status >= 500:
                    await self._sleep(2.0**tried)
                else:
                    raise ServiceFault(
                        Code.SERVICE_REFUSED,
                        f"{NAME}'s storage refused a part of {file.name} with {status}.",
                        transient=False,
                    )
            else:
                raise ServiceFault(
                    Code.SERVICE_UNAVAILABLE,
                    f"{NAME}'s storage took part {number} of {file.name} in none of {_TRIES} tries.",
                    transient=True,
                )
        body: dict[str, Any] = {"uploadKey": upload_key, "size": file.size}
        if all(etags):
            body["eTags"] = etags
        reply = await self._calls.call("POST", path, source.region, body=body)
        if reply.body.get("objectId", source.object_id(key)) != source.object_id(key):
            raise bad("calls the uploaded object by another name than its key says", reply)

    async def _put(self, url: str, chunks: AsyncIterator[bytes], size: int) -> tuple[int, str | None]:
        try:
            return await self._calls.transport.put(url, chunks, size)
        except Unreachable:
            return 503, None

    async def _addresses(
        self, source: Source, path: str, upload_key: str | None, first: int, parts: int
    ) -> tuple[str, list[str]]:
        query = f"parts={parts}&firstPart={first}&minutesExpiration={_MINUTES}"
        if upload_key is not None:
            query += f"&uploadKey={quote(upload_key, safe='')}"
        reply = await self._calls.call("GET", f"{path}?{query}", source.region)
        key, urls = reply.body.get("uploadKey", upload_key), reply.body.get("urls")
        if (
            not isinstance(key, str)
            or not isinstance(urls, list)
            or len(urls) != parts
            or not all(isinstance(url, str) for url in urls)
        ):
            raise bad("gave no addresses to upload to", reply)
        return key, urls


def _object(source: Source, key: str) -> str:
    return f"/oss/v2/buckets/{quote(source.bucket, safe='')}/objects/{quote(key, safe='')}"
