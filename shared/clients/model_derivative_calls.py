"""Calls of Autodesk's APIs: the two-legged token, the region, and what each answer means.

``POST /authentication/v2/token`` gives a token for an hour; a translation can take longer, so it is
renewed before it ends, and when a call says that it has.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx

from shared.clients.transport import Reply, Transport, Unauthenticated
from shared.problems import Code, ServiceFault

NAME = "Model Derivative"

SCOPES = "data:read data:write data:create bucket:create bucket:read"

DESIGN_DATA = "/modelderivative/v2/designdata"
_DESIGN_DATA_EMEA = "/modelderivative/v2/regions/eu/designdata"

# A token is renewed this long before it ends, or after nine tenths of a short life.
_MARGIN_SECONDS = 300.0

NO_API = (
    Code.SERVICE_NOT_FOUND,
    "There is no Model Derivative API at the address, or not this call of it. Check MODEL_DERIVATIVE_URL.",
)


class Calls:
    """One application at one Model Derivative service."""

    def __init__(
        self,
        transport: Transport,
        base: str,
        client_id: str,
        client_secret: str,
        *,
        emea_path: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``base`` is a URL without a slash at its end; ``emea_path`` says EMEA by the old way, in the path,
        for services that do not heed the header. ``clock`` counts seconds from anywhere."""
        self.transport = transport
        self._base = base
        self._basic = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._secrets = (client_secret, self._basic)
        self._emea_path = emea_path
        self._clock = clock
        self._token: str | None = None
        self._good_until = 0.0
        self._lock = asyncio.Lock()

    async def call(
        self,
        method: str,
        path: str,
        region: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        not_found: tuple[Code, str] = NO_API,
        may_be_empty: bool = False,
    ) -> Reply:
        """One call with a token; with a new one, once, if the service refuses the first.

        Raises:
            ServiceFault
        """

        async def attempt(token: str) -> Reply:
            return await self.transport.call(
                method,
                self._url(path, region),
                headers=self._headers(token, region, headers),
                body=body,
                not_found=not_found,
                secrets=[token, *secrets],
                may_be_empty=may_be_empty,
            )

        token = await self._get()
        try:
            return await attempt(token)
        except Unauthenticated:
            return await attempt(await self._get(instead_of=token))

    @asynccontextmanager
    async def download(self, path: str, region: str) -> AsyncIterator[httpx.Response]:
        """The answer to a GET that is no JSON, of any status."""
        token = await self._get()
        async with self._fetched(path, region, token) as response:
            if response.status_code != 401:
                yield response
                return
        async with self._fetched(path, region, await self._get(instead_of=token)) as response:
            yield response

    def _fetched(self, path: str, region: str, token: str) -> AbstractAsyncContextManager[httpx.Response]:
        return self.transport.open(self._url(path, region), headers=self._headers(token, region, None))

    def _url(self, path: str, region: str) -> str:
        if self._emea_path and region == "EMEA" and path.startswith(f"{DESIGN_DATA}/"):
            path = _DESIGN_DATA_EMEA + path.removeprefix(DESIGN_DATA)
        return self._base + path

    @staticmethod
    def _headers(token: str, region: str, more: Mapping[str, str] | None) -> dict[str, str]:
        # The storage and webhook calls know the header by its other name.
        return {"Authorization": f"Bearer {token}", "region": region, "x-ads-region": region, **(more or {})}

    async def _get(self, *, instead_of: str | None = None) -> str:
        """A token that should be good for some minutes; another one than ``instead_of``."""
        async with self._lock:
            if self._token is None or self._clock() >= self._good_until or self._token == instead_of:
                self._token, life = await self._fetch()
                self._good_until = self._clock() + max(life - _MARGIN_SECONDS, life * 0.9)
            return self._token

    async def _fetch(self) -> tuple[str, float]:
        """A new token, and how many seconds it lives."""
        reply = await self.transport.call(
            "POST",
            f"{self._base}/authentication/v2/token",
            headers={"Authorization": f"Basic {self._basic}", "Accept": "application/json"},
            form={"grant_type": "client_credentials", "scope": SCOPES},
            not_found=(
                Code.SERVICE_NOT_FOUND,
                "There is no token service at the address. Check MODEL_DERIVATIVE_URL.",
            ),
            secrets=self._secrets,
        )
        token, life = reply.body.get("access_token"), reply.body.get("expires_in")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
            raise bad("answered without an access_token", reply)
        return token, float(life) if isinstance(life, int | float) and life > 0 else _MARGIN_SECONDS


def bad(what: str, reply: Reply) -> ServiceFault:
    """An answer that makes no sense."""
    return ServiceFault(Code.SERVICE_BAD_REPLY, f"{NAME} {what}.", transient=True, trace_id=reply.trace_id)
