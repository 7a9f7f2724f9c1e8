"""A conversion service that says what a test tells it to say, byte for byte, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


#: The bytes to answer; None hangs until the client gives up.
Answer = bytes | None


def answer(status: int, body: Any = None, **headers: str) -> bytes:
    """A whole answer. `body` is JSON unless it is bytes; `Retry_After=…` is a header."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


@dataclass
class Service:
    """`says` maps the last segment of a path, with its query or else without, to its answers, one after the
    other; the last one stays."""

    url: str = ""
    says: dict[str, list[Answer | Callable[[Asked], Answer]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def asked_for(self, last: str) -> list[Asked]:
        return [asked for asked in self.asked if last in _last(asked.path)]


def _last(path: str) -> tuple[str, str]:
    path, _, query = path.partition("?")
    last = path.rpartition("/")[2]
    return f"{last}?{query}", last


@asynccontextmanager
async def running() -> AsyncIterator[Service]:
    service = Service()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
            }
            raw = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(method, path, headers, raw)
            service.asked.append(asked)
            whole, last = _last(path)
            answers = service.says[whole if whole in service.says else last]
            said = answers.pop(0) if len(answers) > 1 else answers[0]
            said = said(asked) if callable(said) else said
            if said is None:
                await reader.read()
            else:
                writer.write(said)
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield service
    finally:
        server.close()
        # A client that gave up may be gone, and its connection not yet.
        server.abort_clients()
        await server.wait_closed()
