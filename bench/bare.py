"""Storage as a bare asyncio program asks it: aiohttp and a SAS, no client library."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Self

import aiohttp
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from local.azurite import ACCOUNT, KEY, Azurite

VERSION = "2026-06-06"


class Bare:
    """Sends requests to the blobs of an Azurite; one that is refused ends the measurement."""

    def __init__(self, azurite: Azurite, at_once: int) -> None:
        sas = generate_account_sas(
            ACCOUNT,
            KEY,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True),
            datetime.now(UTC) + timedelta(hours=1),
        )
        self._base, self._sas = azurite.blob_url.rstrip("/"), sas
        if not self._base.endswith(ACCOUNT):
            self._base += f"/{ACCOUNT}"
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    async def get(self, blob: str) -> tuple[bytes, Mapping[str, str]]:
        """A blob's content and headers; an error's, for one that is not there."""
        return await self._send("GET", blob, {})

    async def head(self, blob: str) -> Mapping[str, str]:
        """A blob's headers."""
        return (await self._send("HEAD", blob, {}))[1]

    async def put(self, blob: str, data: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Writes a blob in one request; the reply's headers."""
        return (await self._send("PUT", blob, {"x-ms-blob-type": "BlockBlob", **headers}, data))[1]

    async def list(self, container: str, marker: str = "") -> bytes:
        """A page of a listing, as XML."""
        query = f"restype=container&comp=list&include=metadata&maxresults=5000&marker={marker}"
        return (await self._send("GET", f"{container}?{query}", {}))[0]

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> tuple[bytes, Mapping[str, str]]:
        url = f"{self._base}/{path}{'&' if '?' in path else '?'}{self._sas}"
        async with self._session.request(
            method, url, data=data, headers={"x-ms-version": VERSION, **headers}
        ) as response:
            content = await response.read()
            if response.status >= 400 and response.status != 404:
                raise RuntimeError(f"{method} {path}: {response.status} {content[:200]!r}")
            return content, response.headers
