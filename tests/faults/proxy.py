"""A faulty network in front of real servers: storage's blobs and queues, and conversion services.

    async with Proxy(azurite.blob_url, "blob", plan) as blobs:
        ...  # whoever is told `blobs.url` in the place of the server's own address goes this way

Every request is counted by kind and target. A plan, which is asked about each of them, says what goes wrong:
nothing where there is no plan. Azurite's signatures do not cover the host, so its clients need only another
address.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from local.azurite import Azurite

# What a body that is looked at may have, in bytes; any other goes through piece by piece.
_LOOKED_AT = 64 * 1024
_PIECE = 64 * 1024
# Azurite closes what is idle for five seconds.
_IDLE_SECONDS = 2.0
_NO_BODY = (204, 304)


@dataclass(frozen=True)
class Call:
    """A request. Names of headers are lower-case; ``path`` and ``query`` are decoded; ``body`` is there
    where it has at most 64 KiB."""

    front: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> str:
        """What is asked: storage's own name for it (`Put Blob`), or method and route (`GET /jobs/*`)."""
        if self.front == "blob":
            return _blob_kind(self)
        if self.front == "queue":
            return _queue_kind(self)
        return f"{self.method} {_ROUTE.sub('/*', self.path)}"

    @property
    def target(self) -> str:
        """The container or the queue; of a service its name here."""
        return self._parts[1] if self.front in ("blob", "queue") else self.front

    @property
    def name(self) -> str:
        """The blob; empty where the call is about a container, or another thing."""
        return self._parts[2] if self.front == "blob" else ""

    @property
    def is_write(self) -> bool:
        """Whether it may change anything at the server."""
        return self.method not in ("GET", "HEAD")

    @property
    def is_conditional(self) -> bool:
        """Whether it is a write that the server may refuse because somebody else was first."""
        return self.is_write and ("if-match" in self.headers or "if-none-match" in self.headers)

    @property
    def _parts(self) -> tuple[str, str, str]:
        account, _, rest = self.path.lstrip("/").partition("/")
        container, _, name = rest.partition("/")
        return account, container, name


# A segment that is somebody's id, key or token, and no word.
_ROUTE = re.compile(r"/(?=[^/]*\d)[^/]{16,}(?=/|$)")


def _blob_kind(call: Call) -> str:
    comp, restype = call.query.get("comp", ""), call.query.get("restype", "")
    if restype == "container":
        return {"list": "List Blobs"}.get(comp, f"{call.method} container")
    words = {
        ("PUT", ""): "Put Blob",
        ("GET", ""): "Get Blob",
        ("HEAD", ""): "Get Blob Properties",
        ("DELETE", ""): "Delete Blob",
        ("PUT", "block"): "Put Block",
        ("PUT", "blocklist"): "Put Block List",
        ("PUT", "lease"): "Lease Blob",
        ("PUT", "metadata"): "Set Blob Metadata",
    }
    return words.get((call.method, comp), f"{call.method} {comp}")


def _queue_kind(call: Call) -> str:
    if "/messages" not in call.path:
        return f"{call.method} queue"
    words = {
        "POST": "Put Message",
        "GET": "Get Messages",
        "DELETE": "Delete Message",
        "PUT": "Update Message",
    }
    return words[call.method]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request, after ``seconds`` of delay.

    ``status`` is answered in the server's place, which never hears of it. With ``lost`` the server does what
    it is asked, and the connection breaks before its reply; with ``half`` it breaks within it.
    """

    seconds: float = 0.0
    status: int = 0
    retry_after: int | None = None
    lost: bool = False
    half: bool = False


Plan = Callable[[Call], Fault | None]
"""Asked about every request; None where nothing goes wrong with it."""

Watch = Callable[[Call, Fault | None, int], None]
"""Told of every request with what went wrong, and the server's status (0 where it was not asked)."""


@dataclass
class Chances:
    """A plan by lot: each field is a share of the requests, from 0 to 1, and ``seed`` decides which.

    ``busy`` is 429 with ``retry_after`` seconds, ``broken`` is 500 or 503, ``refused`` is 409 or 412 to a
    conditional write. A delay is up to ``latency`` seconds.
    """

    seed: int
    busy: float = 0.0
    broken: float = 0.0
    lost: float = 0.0
    half: float = 0.0
    refused: float = 0.0
    latency: float = 0.0
    retry_after: int = 3

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, call: Call) -> Fault | None:
        drawn, other = self._random.random(), self._random.random()
        seconds = other * self.latency
        for share, fault in (
            (self.busy, Fault(seconds, status=429, retry_after=self.retry_after)),
            (self.broken, Fault(seconds, status=500 if other < 0.5 else 503)),
            (self.lost, Fault(seconds, lost=True)),
            (self.half, Fault(seconds, half=True)),
            (
                self.refused if call.is_conditional else 0.0,
                Fault(seconds, status=409 if other < 0.5 else 412),
            ),
        ):
            if drawn < share:
                return fault
            drawn -= share
        return Fault(seconds) if seconds else None


@contextmanager
def seeded(seed: int) -> Iterator[random.Random]:
    """Randomness for a test, whose failure then tells the seed."""
    try:
        yield random.Random(seed)
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise


@dataclass
class _Head:
    start: list[str]
    raw: bytes
    headers: dict[str, str]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> "_Head | None":
        """None where the other side has closed the connection."""
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = raw.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        return cls(first.split(" ", 2), raw, {name.lower(): value.strip() for name, _, value in pairs})

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        return int(self.headers["content-length"]) if "content-length" in self.headers else None


async def _body(head: _Head, reader: asyncio.StreamReader, *, is_reply: bool) -> AsyncIterator[bytes]:
    """The bytes of a body as they travel, frames of chunks included."""
    if head.is_chunked:
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line + await reader.readexactly(size + 2)
            if size == 0:
                return
    left = head.length
    if left is None:
        while is_reply and (piece := await reader.read(_PIECE)):
            yield piece
        return
    while left:
        piece = await reader.readexactly(min(left, _PIECE))
        left -= len(piece)
        yield piece


class Proxy:
    """One server's front: `blob`, `queue`, or the name of a service."""

    def __init__(
        self, upstream: str, front: str, plan: Plan | None = None, watch: Watch | None = None
    ) -> None:
        """``upstream`` is the server's URL, which may change while this runs."""
        self.upstream = upstream
        self.front = front
        self.plan = plan
        self.watch = watch
        self.counts: Counter[tuple[str, str]] = Counter()
        self.faults: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens on this machine."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def count(self, kind: str = "", target: str = "") -> int:
        """How many requests came, of one kind or to one target where they are given."""
        return sum(count for (a, b), count in self.counts.items() if kind in ("", a) and target in ("", b))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1000)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_Connection(self, reader, writer).serve())
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)


class _Connection:
    """A client's connection, and its own to the server."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    async def serve(self) -> None:
        try:
            while head := await _Head.read(self._reader):
                if not await self._answer(head):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._close_upstream()
            self._writer.close()

    async def _answer(self, head: _Head) -> bool:
        """Whether the connection lives on."""
        method, target, _ = head.start
        parts = urlsplit(target)
        body = b""
        if head.length is not None and head.length <= _LOOKED_AT:
            body = await self._reader.readexactly(head.length)
        call = Call(
            self._proxy.front,
            method,
            unquote(parts.path),
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            head.headers,
            body,
        )
        self._proxy.counts[call.kind, call.target] += 1
        fault = self._proxy.plan(call) if self._proxy.plan else None
        if fault:
            self._proxy.faults[_word(fault)] += 1
            await asyncio.sleep(fault.seconds)
        rest = _nothing() if body else _body(head, self._reader, is_reply=False)
        status = 0
        try:
            if fault and fault.status:
                async for _ in rest:
                    pass
                self._writer.write(_refusal(call, fault))
                await self._writer.drain()
                return True
            status, lives = await self._forward(call, head, body, rest, fault)
            return lives
        finally:
            if self._proxy.watch:
                self._proxy.watch(call, fault, status)

    async def _forward(
        self, call: Call, head: _Head, body: bytes, rest: AsyncIterator[bytes], fault: Fault | None
    ) -> tuple[int, bool]:
        """The server's status (0 where it said nothing), and whether the client's connection lives on."""
        reader, writer = await self._connected()
        writer.write(head.raw + body)
        async for piece in rest:
            writer.write(piece)
            await writer.drain()
        await writer.drain()
        reply = await _Head.read(reader)
        if reply is None:
            return 0, False
        status = int(reply.start[1])
        has_body = call.method != "HEAD" and status not in _NO_BODY
        pieces = _body(reply, reader, is_reply=True) if has_body else _nothing()
        if fault and (fault.lost or fault.half):
            data = b"".join([piece async for piece in pieces])
            self._used = time.monotonic()
            if fault.half and data:
                self._writer.write(reply.raw + data[: len(data) // 2])
                await self._writer.drain()
            return status, False
        self._writer.write(reply.raw)
        async for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
        await self._writer.drain()
        self._used = time.monotonic()
        closes = reply.headers.get("connection", "").lower() == "close"
        return status, not closes and (reply.is_chunked or reply.length is not None or not has_body)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream and (self._upstream[0].at_eof() or time.monotonic() - self._used > _IDLE_SECONDS):
            self._close_upstream()
        if self._upstream is None:
            address = urlsplit(self._proxy.upstream)
            self._upstream = await asyncio.open_connection(address.hostname, address.port)
        return self._upstream

    def _close_upstream(self) -> None:
        if self._upstream:
            self._upstream[1].close()
            self._upstream = None


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece


def _word(fault: Fault) -> str:
    return str(fault.status) if fault.status else "lost" if fault.lost else "half" if fault.half else "late"


def _refusal(call: Call, fault: Fault) -> bytes:
    """What a server says in its own manner."""
    phrase = HTTPStatus(fault.status).phrase
    lines = [f"HTTP/1.1 {fault.status} {phrase}"]
    if call.front in ("blob", "queue"):
        code = {409: "LeaseIdMissing", 412: "ConditionNotMet", 429: "TooManyRequests"}.get(
            fault.status, "ServerBusy"
        )
        body = f"<Error><Code>{code}</Code><Message>{phrase}</Message></Error>".encode()
        lines += [f"x-ms-error-code: {code}", "Content-Type: application/xml"]
    else:
        body = f'{{"error": {{"code": "{phrase}", "message": "by the fault proxy"}}}}'.encode()
        lines += ["Content-Type: application/json"]
    if call.method == "HEAD":
        body = b""
    lines += [f"Retry-After: {fault.retry_after}"] if fault.retry_after is not None else []
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass(frozen=True)
class Storage:
    """Azurite behind proxies. Their plans and watches may be changed at any time."""

    blob: Proxy
    queue: Proxy
    azurite: Azurite
    """The same Azurite, by way of the proxies: for whatever starts a bundle on one."""

    def follow(self, plan: Plan | None = None, watch: Watch | None = None) -> None:
        """Both get a plan and a watch."""
        for proxy in (self.blob, self.queue):
            proxy.plan, proxy.watch = plan, watch


@asynccontextmanager
async def before(azurite: Azurite) -> AsyncIterator[Storage]:
    """Proxies in front of an Azurite, without faults at first."""
    async with Proxy(azurite.blob_url, "blob") as blob, Proxy(azurite.queue_url, "queue") as queue:
        yield Storage(blob, queue, replace(azurite, blob_url=blob.url, queue_url=queue.url))
