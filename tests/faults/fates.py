"""What befalls a process at one of its I/O steps, told beforehand: it dies, it stalls, a reply is lost, or
the network fails for so long that whoever sends the request gives up.

Processes are tasks here, each with the context variable that holds its fate, so that a schedule of many
processes runs the same way every time. One that has died sends nothing any more, whatever it still runs.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal, get_args

import httpx
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import AioHttpTransport

Kind = Literal[
    "dies before",
    "dies after",
    "stalls before",
    "stalls after",
    "loses the reply",
    "fails before",
    "fails after",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

# How often a storage client sends a request that fails.
_TRIES = 4


class Death(BaseException):
    """The process is no more: nothing may catch this."""


class Fate:
    """Of one process: at the I/O step number ``step``, the ``kind`` of thing that happens."""

    def __init__(self, kind: Kind, step: int) -> None:
        self._kind = kind
        self._step = step
        self._done = 0
        self.is_dead = False
        self.has_struck = False
        self.stalled = asyncio.Event()
        self.goes_on = asyncio.Event()

    def __repr__(self) -> str:
        return f"Fate({self._kind!r}, {self._step})"

    async def before(self) -> bool:
        """A request is about to be sent; whether there is no way to where it goes."""
        if self.is_dead:
            raise Death
        self._done += 1
        if self._done == self._step:
            await self._strike("before")
        return self._kind == "fails before" and self._is_failing

    async def after(self) -> bool:
        """A reply has come; whether it is lost."""
        if self.is_dead:
            raise Death
        if self._done == self._step and not self.has_struck:
            await self._strike("after")
            return self._kind in ("loses the reply", "fails after")
        return self._kind == "fails after" and self._is_failing

    @property
    def _is_failing(self) -> bool:
        return self._step <= self._done < self._step + _TRIES

    async def _strike(self, moment: str) -> None:
        what, _, when = self._kind.partition(" ")
        if when == moment or (what == "loses" and moment == "after"):
            self.has_struck = True
            if what == "dies":
                self.is_dead = True
                raise Death
            if what == "stalls":
                self.stalled.set()
                await self.goes_on.wait()
                if self.is_dead:
                    raise Death


FATE: ContextVar[Fate | None] = ContextVar("fate", default=None)


class FatefulStorage(AioHttpTransport):  # type: ignore[misc]
    """The storage clients' transport; ``seen`` is told of every request that was answered."""

    def __init__(self, seen: Callable[[Any, int], None]) -> None:
        super().__init__()
        self._seen = seen

    async def send(self, request: Any, **options: Any) -> Any:
        fate = FATE.get()
        if fate is not None and await fate.before():
            raise ServiceRequestError("there is no way")
        response = await super().send(request, **options)
        self._seen(request, response.status_code)
        if fate is not None and await fate.after():
            raise ServiceResponseError("the connection broke before the reply")
        return response

    async def __aexit__(self, *exception: object) -> None:
        """One of several clients that use it has ended."""


class FatefulWire(httpx.AsyncBaseTransport):
    """HTTP between the pipeline and its service."""

    def __init__(self, wire: httpx.AsyncBaseTransport) -> None:
        self._wire = wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fate = FATE.get()
        if fate is not None and await fate.before():
            raise httpx.ConnectError("there is no way")
        response = await self._wire.handle_async_request(request)
        if fate is not None and await fate.after():
            raise httpx.ReadError("the connection broke before the reply")
        return response
