"""HTTP to a conversion service: every way it can go wrong, as a `ServiceFault` of our own.

httpx puts whole URLs into its exceptions; none of them leaves this file, and what a service says
is stripped of secrets before it is repeated.
"""

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from shared.problems import Code, ServiceFault

# A service that takes longer to accept a connection or to think is down; the whole of a call is
# limited too, for one that sends a byte now and then.
_TIMEOUT = httpx.Timeout(30, connect=10)
_CALL_SECONDS = 60
# A large file takes its time, as long as it moves; after an upload the service may think about it.
_UPLOAD_TIMEOUT = httpx.Timeout(120, connect=10)
_DOWNLOAD_TIMEOUT = httpx.Timeout(60, connect=10)
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_LARGEST_REPLY = 4 * 1024 * 1024
_LONGEST_MESSAGE = 1000
_LONGEST_RETRY_AFTER = 3600
_SHORTEST_SIGNATURE = 30


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer: its JSON object, and the service's own name for the call."""

    body: Mapping[str, Any]
    headers: httpx.Headers
    trace_id: str | None
    status: int = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status, and its JSON, or None where it is empty."""

    status: int
    value: Any
    headers: httpx.Headers
    trace_id: str | None


class Unreachable(ServiceFault):
    """No answer at all. `unresolved` when the name of the host is unknown, not merely unanswered."""

    def __init__(self, message: str, unresolved: bool) -> None:
        super().__init__(Code.SERVICE_UNAVAILABLE, message, transient=True)
        self.unresolved = unresolved


class Unauthenticated(ServiceFault):
    """401: the credentials are wrong, or were good once."""


class NotFound(ServiceFault):
    """404, with the meaning that the caller gives it."""


class Conflicting(ServiceFault):
    """409: it is there already, or somebody is at it."""


class Transport:
    """One conversion service's address, and one pool of connections to it."""

    def __init__(
        self, service: str, *, trace_header: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`service` is its name in messages; `transport` replaces the network in tests."""
        self._service = service
        self._trace_header = trace_header
        self._injected = transport
        self._clients: dict[bool, httpx.AsyncClient] = {}

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        not_found: tuple[Code, str],
        secrets: Iterable[str] = (),
        may_be_empty: bool = False,
    ) -> Reply:
        """Send one request, with a JSON `body` or a `form`, and read the answer's JSON object.

        `not_found` is what a 404 means here; `secrets` are never repeated from an answer, which
        `may_be_empty` where there is nothing to say.

        Raises:
            ServiceFault: transient for 408, 429, 5xx, the network and answers that are not whole.
        """
        answer = await self.ask(
            method,
            url,
            headers=headers,
            body=body,
            form=form,
            not_found=not_found,
            secrets=secrets,
            may_be_empty=may_be_empty,
        )
        value = {} if may_be_empty and answer.value is None else answer.value
        if not isinstance(value, dict):
            self._bad(f"answered {answer.status} with JSON that is no object", answer.trace_id)
        return Reply(value, answer.headers, answer.trace_id, answer.status)

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        content: AsyncIterator[bytes] | None = None,
        not_found: tuple[Code, str],
        secrets: Iterable[str] = (),
        may_be_empty: bool = False,
        answers: Container[int] = (),
    ) -> Answer:
        """Send one request and read its JSON, of whatever kind; an empty answer is None.

        A 200 has something to say, unless it `may_be_empty`. `content` is sent instead of a JSON `body` or
        a `form`, piece by piece, and whoever sends it says how long that may take. `answers` are statuses
        that refuse nothing here.

        Raises:
            ServiceFault: as `call` does.
        """
        with self._told(url):
            async with asyncio.timeout(_CALL_SECONDS if content is None else None):
                response, data = await self._exchange(method, url, headers, body, form, content)
        trace_id = _trace(response.headers.get(self._trace_header))
        if response.status_code >= 300 and response.status_code not in answers:
            self._refuse(response, data, not_found, tuple(secrets), trace_id)
        if not data and (may_be_empty or response.status_code != 200):
            return Answer(response.status_code, None, response.headers, trace_id)
        try:
            parsed = json.loads(data)
        except (ValueError, RecursionError):
            if response.status_code in answers:
                return Answer(response.status_code, None, response.headers, trace_id)
            self._bad(f"answered {response.status_code} with something that is not JSON", trace_id)
        try:
            json.dumps(parsed, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            # Half a surrogate pair: it can be escaped in JSON, but nowhere be written.
            parsed = json.loads(json.dumps(parsed, ensure_ascii=False).encode("utf-8", "replace"))
        return Answer(response.status_code, parsed, response.headers, trace_id)

    async def put(self, url: str, chunks: AsyncIterator[bytes], length: int) -> tuple[int, str | None]:
        """Send `length` bytes to an address that carries its own right; the answer's status, and its ETag.

        Raises:
            ServiceFault: transient, where nothing answered.
        """
        headers = {"Content-Length": str(length)}
        with self._told(url):
            async with self._client(url).stream(
                "PUT", url, headers=headers, content=chunks, timeout=_UPLOAD_TIMEOUT
            ) as response:
                return response.status_code, response.headers.get("ETag")

    @asynccontextmanager
    async def open(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """An answer of any status, whose body is read piece by piece; no redirect is followed.

        Raises:
            ServiceFault: transient, where nothing answers, or the answer breaks off.
        """
        with self._told(url):
            async with self._client(url).stream(
                "GET", url, headers=dict(headers or {}), timeout=_DOWNLOAD_TIMEOUT
            ) as response:
                yield response

    @asynccontextmanager
    async def download(
        self, url: str, *, not_found: tuple[Code, str], allowed: Callable[[str], bool]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes at an address that needs no credentials, through redirects to addresses that are
        `allowed`.

        Raises:
            ServiceFault: as `call` does, also while the bytes are read.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            if not allowed(url):
                self._bad("gave an address for an output that is not https, or of another host", None)
            async with self.open(url) as response:
                location = response.headers.get("Location")
                if response.status_code in _REDIRECTS and location:
                    url = urljoin(url, location)
                    continue
                if response.status_code != 200:
                    self._refuse(response, await _beginning(response), not_found, (), None)
                yield response.aiter_bytes()
                return
        self._bad("redirects an output again and again", None)

    @contextmanager
    def _told(self, url: str) -> Iterator[None]:
        """Turns what httpx raises into faults of ours, which quote no address."""
        try:
            yield
        except (TimeoutError, httpx.TimeoutException):
            raise self._unreachable(url, "did not answer in time", unresolved=False) from None
        except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
            self._bad(f"broke off its answer ({type(error).__name__})", None)
        except httpx.InvalidURL:
            raise ServiceFault(
                Code.INVALID_SETTINGS, f"The address of {self._service} is no valid URL.", transient=False
            ) from None
        except httpx.HTTPError as error:
            unresolved = _is_unknown_name(error)
            what = "has no address: the name is unknown" if unresolved else "cannot be reached"
            raise self._unreachable(url, f"{what} ({type(error).__name__})", unresolved) from None

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
        form: Mapping[str, str] | None,
        sent: AsyncIterator[bytes] | None,
    ) -> tuple[httpx.Response, bytes]:
        client = self._client(url)
        timeout = _TIMEOUT if sent is None else _UPLOAD_TIMEOUT
        async with client.stream(
            method, url, headers=dict(headers), json=body, data=form, content=sent, timeout=timeout
        ) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _LARGEST_REPLY:
                    self._bad(f"sent more than {_LARGEST_REPLY:,} bytes", None)
        return response, bytes(content)

    def _client(self, url: str) -> httpx.AsyncClient:
        # A proxy from the environment is for the world outside; asked for this machine, it fails.
        local = is_loopback(url)
        if local not in self._clients:
            self._clients[local] = httpx.AsyncClient(
                timeout=_TIMEOUT, trust_env=not local, transport=self._injected
            )
        return self._clients[local]

    def _refuse(
        self,
        response: httpx.Response,
        content: bytes,
        not_found: tuple[Code, str],
        secrets: tuple[str, ...],
        trace_id: str | None,
    ) -> NoReturn:
        status = response.status_code
        said = _message(content)
        said = f": {redacted(said, secrets)}" if said else "."
        if status in (401, 403):
            raise (Unauthenticated if status == 401 else ServiceFault)(
                Code.SERVICE_UNAUTHORIZED,
                f"{self._service} answered {status} to our credentials. Check the account id, and the "
                f"key, token or role{said}",
                transient=False,
                trace_id=trace_id,
            )
        if status == 402:
            raise ServiceFault(
                Code.SERVICE_QUOTA,
                f"{self._service} answered 402: the account has no credits left, or the files are over its "
                f"contract{said} Buy credits or wait for new ones, then delete the manifest to try again.",
                transient=False,
                trace_id=trace_id,
            )
        if status == 404:
            code, message = not_found
            raise NotFound(code, message, transient=False, trace_id=trace_id)
        if status in (408, 429) or status >= 500:
            raise ServiceFault(
                Code.SERVICE_THROTTLED if status == 429 else Code.SERVICE_UNAVAILABLE,
                f"{self._service} answered {status}{said}",
                transient=True,
                retry_after=_retry_after(response.headers),
                trace_id=trace_id,
            )
        if status < 400:
            raise ServiceFault(
                Code.SERVICE_BAD_REPLY,
                f"{self._service} answered {status}, a redirect. Set its endpoint to where it really is.",
                transient=False,
                trace_id=trace_id,
            )
        raise (Conflicting if status == 409 else ServiceFault)(
            Code.SERVICE_REFUSED,
            f"{self._service} refused the request with {status}{said}",
            transient=False,
            trace_id=trace_id,
        )

    def _bad(self, what: str, trace_id: str | None) -> NoReturn:
        raise ServiceFault(
            Code.SERVICE_BAD_REPLY, f"{self._service} {what}.", transient=True, trace_id=trace_id
        ) from None

    def _unreachable(self, url: str, what: str, unresolved: bool) -> "Unreachable":
        return Unreachable(f"{self._service} at {urlsplit(url).hostname} {what}.", unresolved)


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` in one line, cut to a length for a manifest, without the given secrets, without the
    queries of URLs, and without what looks like a signature or a token."""
    text = text.encode("utf-8", "replace").decode()
    for secret in secrets:
        # A SAS is a query: its signature alone is as secret as the whole.
        values = [part.partition("=")[2] for part in secret.split("&")]
        for spelling in (secret, *(value for value in values if len(value) > _SHORTEST_SIGNATURE)):
            text = text.replace(spelling, "…").replace(unquote(spelling), "…")
    text = re.sub(r"(https?://[^\s\"'?]*)\?[^\s\"']*", r"\1?…", text)
    text = re.sub(r"(?i)\bsig=[^\s&\"']+", "sig=…", text)
    text = re.sub(r"(?i)\bbearer\s+\S+", "Bearer …", text)
    text = re.sub(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*", "…", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def server_time(headers: Mapping[str, str]) -> datetime:
    """What the service believes the time is; ours, if it does not say."""
    return _date(headers.get("Date")) or datetime.now(UTC)


def _date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from either spelling of Retry-After; an hour at most."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        seconds = float(text)
    elif moment := _date(text):
        seconds = (moment - server_time(headers)).total_seconds()
    else:
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def _trace(value: str | None) -> str | None:
    """A trace id goes into logs and manifests: a line of printable characters, or nothing."""
    return value if value and re.fullmatch(r"[!-~]{1,128}", value) else None


#: The other words that services have for the reason of a refusal.
_REASONS = ("message", "diagnostic", "diagnostics", "developerMessage", "reason")


def _message(content: bytes) -> str:
    """What an error says: `{"error": "text"}`, `{"error": {"code", "message"}}`, or one of _REASONS."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    reasons = [said[name] for name in _REASONS if isinstance(said.get(name), str)]
    return ": ".join(part for part in (*error_of(said.get("error")), *dict.fromkeys(reasons)) if part)


async def _beginning(response: httpx.Response) -> bytes:
    """What an error says, if it is short."""
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _LARGEST_REPLY:
            break
    return bytes(content)


def error_of(error: Any) -> tuple[str | None, str | None]:
    """The code and message of an `error` member, in either shape."""
    if isinstance(error, str):
        return None, error
    if isinstance(error, dict):
        code, message = error.get("code"), error.get("message")
        return code if isinstance(code, str) else None, message if isinstance(message, str) else None
    return None, None


def _is_unknown_name(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, socket.gaierror):
            return error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        error = error.__cause__ or error.__context__
    return False
