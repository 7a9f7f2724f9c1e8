"""The guard for addresses that a request brings: callbacks, and files to fetch.

Whoever may send a request could otherwise make this app call hosts that only this app can reach. So:
https (http to this machine in local development), public addresses unless a setting names the host or it
is the bundle's own, the host resolved once and the connection pinned to the address that was checked.
A callback is not redirected, has little time, and nobody reads its reply; each redirect of a file is
checked as the first address was, and its size and time are limited.
"""

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from shared.problems import Code, Problem
from shared.settings import Settings

_LONGEST_URL = 2048
_SECONDS = 10.0
# A file may take long, but its host may not be silent for long.
_FETCH_SECONDS = 900.0
_SILENCE = httpx.Timeout(30, connect=10)
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

# An IPv6 address that stands for an IPv4 one: a translator would take the call there.
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


class TooMuch(Exception):
    """A file has more bytes than may be fetched."""


@dataclass(frozen=True)
class Fetched:
    """A reply to a fetch: ``url`` is the last address, after any redirects. ``chunks`` raise
    :class:`TooMuch`, and OSError where the rest does not come."""

    status: int
    headers: httpx.Headers
    url: str
    chunks: AsyncIterator[bytes]


class Outbound:
    """Calls addresses that came from outside, if they are harmless."""

    def __init__(
        self,
        settings: Settings,
        *,
        resolve: Resolve | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``resolve`` gives the addresses of a host and port; the system's resolver by default."""
        own = urlsplit(settings.own_url) if settings.own_url else None
        self._own = (own.scheme, own.hostname, _port(own.scheme, own.port)) if own else None
        self._allowed = settings.allowed_hosts
        self._local = settings.local
        self._resolve = resolve or _resolve
        self._transport = transport
        # Storage that the service may use is reached by a SAS, wherever its host resolves to: behind a
        # private endpoint that is no public address.
        before, after = (re.escape(part) for part in settings.embedded_blob_url.split("{account}"))
        self._storage = re.compile(f"(?i:{before})[a-z0-9]{{3,24}}(?i:{after})/[^?#]+\\?[^#]*\\bsig=[^#]+")

    def check(self, url: str) -> None:
        """Refuses what can be refused without asking a name server.

        Raises:
            Problem: ``invalid-settings``, saying what is wrong with the address, without quoting it.
        """
        host, _, is_trusted = self._target(url)
        literal = _literal(host)
        if literal is not None and not is_trusted:
            self._check_address(literal, urlsplit(url).scheme)

    async def post(
        self, url: str, body: Mapping[str, Any] | bytes, *, headers: Mapping[str, str] | None = None
    ) -> int:
        """POSTs JSON, or bytes that are JSON; the reply's status.

        Raises:
            Problem: the address is not harmless.
            OSError: nothing answered. The message holds no part of the address.
        """
        host, port, is_trusted = self._target(url)
        parts = urlsplit(url)
        content = body if isinstance(body, bytes) else json.dumps(dict(body), separators=(",", ":")).encode()
        try:
            async with asyncio.timeout(_SECONDS):
                addresses = [ipaddress.ip_address(text) for text in await self._resolve(host, port)]
                if not is_trusted:
                    for address in addresses:
                        self._check_address(address, parts.scheme)
                for address in addresses:
                    try:
                        return await self._send(url, address, host, content, headers or {})
                    except httpx.ConnectError:
                        continue
                raise OSError("the callback's host does not answer")
        except TimeoutError:
            raise OSError("no answer from the callback in time") from None
        except httpx.HTTPError as error:
            # httpx puts the whole URL into its exceptions.
            raise OSError(f"the callback failed: {type(error).__name__}") from None

    @asynccontextmanager
    async def fetch(self, url: str, *, most: int) -> AsyncIterator[Fetched]:
        """GETs a file of at most ``most`` bytes, through redirects; any status is an answer.

        Raises:
            Problem: an address is not harmless.
            OSError: nothing answered, or led anywhere. The message holds no part of the address.
        """
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                for _ in range(_MOST_REDIRECTS + 1):
                    async with self._opened(url) as response:
                        if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                            yield Fetched(
                                response.status_code, response.headers, url, _limited(response, most)
                            )
                            return
                        url = urljoin(url, response.headers["Location"])
        except TimeoutError:
            raise OSError("the file did not come in time") from None
        except httpx.HTTPError as error:
            raise OSError(f"the file did not come: {type(error).__name__}") from None
        raise OSError("the address redirects again and again")

    @asynccontextmanager
    async def _opened(self, url: str) -> AsyncIterator[httpx.Response]:
        """The reply to a GET at the first address of the host that answers."""
        host, port, is_trusted = self._target(url)
        addresses = [ipaddress.ip_address(text) for text in await self._resolve(host, port)]
        if not is_trusted and not self._storage.fullmatch(url):
            for address in addresses:
                self._check_address(address, urlsplit(url).scheme)
        async with httpx.AsyncClient(
            timeout=_SILENCE, follow_redirects=False, trust_env=False, transport=self._transport
        ) as client:
            for address in addresses:
                request = client.build_request(
                    "GET",
                    httpx.URL(url).copy_with(host=str(address)),
                    headers={"Host": httpx.URL(url).netloc.decode("ascii"), "Accept-Encoding": "identity"},
                    extensions={"sni_hostname": host},
                )
                try:
                    response = await client.send(request, stream=True)
                except httpx.ConnectError:
                    continue
                try:
                    yield response
                finally:
                    await response.aclose()
                return
        raise OSError("the file's host does not answer")

    async def _send(
        self, url: str, address: Address, host: str, content: bytes, headers: Mapping[str, str]
    ) -> int:
        pinned = httpx.URL(url).copy_with(host=str(address))
        # A client for each call: no cookies, no proxy of the environment, no connection kept.
        async with httpx.AsyncClient(
            timeout=_SECONDS, follow_redirects=False, trust_env=False, transport=self._transport
        ) as client:
            request = client.build_request(
                "POST",
                pinned,
                content=content,
                headers={
                    **headers,
                    "Content-Type": "application/json",
                    "Host": httpx.URL(url).netloc.decode("ascii"),
                },
                # TLS is still checked against the name, not the address.
                extensions={"sni_hostname": host},
            )
            response = await client.send(request, stream=True)
            await response.aclose()
            return response.status_code

    def _target(self, url: str) -> tuple[str, int, bool]:
        """Host, port, and whether the address needs no further look, of a URL whose shape is right."""
        if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
            raise _refused(f"is longer than {_LONGEST_URL} characters, or not plain ASCII")
        try:
            parts = urlsplit(url)
            port = _port(parts.scheme, parts.port)
        except ValueError:
            raise _refused("is no URL") from None
        host = parts.hostname
        if not host or "@" in parts.netloc or "\\" in url:
            raise _refused("has no host, or has a user in it")
        if self._own is not None and (parts.scheme, host, port) == self._own:
            return host, port, True
        if parts.scheme != "https" and not (
            parts.scheme == "http" and self._local and _is_this_machine(host)
        ):
            raise _refused("is not https")
        return host, port, host in self._allowed and parts.scheme == "https"

    def _check_address(self, address: Address, scheme: str) -> None:
        if self._local and address.is_loopback:
            return
        if scheme != "https" or not _is_public(address):
            raise _refused("does not lead to a public address")


async def _limited(response: httpx.Response, most: int) -> AsyncIterator[bytes]:
    stated = response.headers.get("Content-Length", "")
    if stated.isdecimal() and int(stated) > most:
        raise TooMuch
    total = 0
    try:
        async for chunk in response.aiter_bytes():
            total += len(chunk)
            if total > most:
                raise TooMuch
            yield chunk
    except httpx.HTTPError as error:
        raise OSError(f"the file broke off: {type(error).__name__}") from None


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if embedded is None and any(address in network for network in _NAT64):
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return _is_public(embedded)
        # ::a.b.c.d, which some systems still take for IPv4.
        if int(address) < 1 << 32:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_this_machine(host: str) -> bool:
    literal = _literal(host)
    return host == "localhost" or (literal is not None and literal.is_loopback)


def _port(scheme: str, port: int | None) -> int:
    return port if port is not None else 443 if scheme == "https" else 80


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]).partition("%")[0] for info in found]


def _refused(why: str) -> Problem:
    return Problem(
        Code.INVALID_SETTINGS,
        f"The address {why}. Use https and a public host, or name its host in CALLBACK_HOSTS.",
    )
