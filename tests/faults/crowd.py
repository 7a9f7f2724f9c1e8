"""Many models at once at a service with faults: what the tests of it share."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

import httpx

from shared import paths
from shared.manifest import Manifest
from shared.storage import Clock
from shared.tick import LOCK
from tests.pipeline import Pipeline, ShiftedClock

_AT_ONCE = 16
CREATE = "/conversions/createWithSharedAccessSignature"


@contextmanager
def seeded(seed: int) -> Iterator[Random]:
    """Chances that a failing test can be given again."""
    print(f"seed {seed}")  # pytest shows it with a failure
    yield Random(seed)


async def each[Item](items: Iterable[Item], do: Callable[[Item], Awaitable[Any]]) -> None:
    """Does it for all of them, some at once."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(item: Item) -> None:
        async with limit:
            await do(item)

    await asyncio.gather(*(one(item) for item in items))


class _Still(Clock):
    """A time that does not pass."""

    def __init__(self, begin: datetime) -> None:
        super().__init__()
        self._begin = begin

    def now(self) -> datetime:
        return self._begin


def stop_clock(pipeline: Pipeline, ago: timedelta = timedelta()) -> None:
    """From now on time passes when a test says so, and not while a slow machine works. It begins some time
    ``ago``: storage itself has the real one, and refuses a SAS of its future."""
    pipeline.clock = ShiftedClock(_Still(pipeline.app.storage.now() - ago))
    pipeline.app.storage.clock = pipeline.clock


class Between(httpx.AsyncBaseTransport):
    """Between the pipeline and the services of its bundle: what is asked, and what is answered, may be
    other than it was."""

    def __init__(self, own: httpx.AsyncBaseTransport) -> None:
        self._own = own

    async def ask(self, request: httpx.Request) -> httpx.Request:
        """The request as the service gets it."""
        return request

    async def answer(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        """The answer as the pipeline gets it."""
        return response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = await self.ask(request)
        return await self.answer(asked, await self._own.handle_async_request(asked))

    async def aclose(self) -> None:
        await self._own.aclose()


def asking(request: httpx.Request, body: Any) -> httpx.Request:
    """The same request with another body."""
    headers = {key: value for key, value in request.headers.items() if key != "content-length"}
    return httpx.Request(request.method, request.url, headers=headers, json=body)


async def said(response: httpx.Response) -> Any:
    """The JSON of an answer."""
    return json.loads(await response.aread())


def answering(response: httpx.Response, body: Any) -> httpx.Response:
    """The same answer with another body."""
    headers = [one for one in response.headers.multi_items() if one[0] != "content-length"]
    return httpx.Response(response.status_code, headers=headers, json=body)


async def ended(pipeline: Pipeline, models: Iterable[str], *, endless: int = 0) -> dict[str, Manifest]:
    """The manifests of all models, and nothing else: every file is named by one, no record and no staged
    file is left, nor a SAS of a request that is over; so are all but those that are ``endless``."""
    storage, names = pipeline.app.storage, pipeline.app.settings
    there = {blob.name: blob.size async for blob in storage.list(names.converted_container)}
    manifests: dict[str, Manifest] = {}
    for path in models:
        stored = await pipeline.app.tools.manifests.of(path)
        assert stored and stored.manifest, f"{path} has no manifest"
        manifest = manifests[path] = stored.manifest
        del there[paths.manifest(path)]
        sizes = {file.path: file.size for file in manifest.derivatives}
        sizes |= {file.path: file.size for one in manifest.derivatives for file in one.children}
        sizes |= {file.path: file.size for file in manifest.logs}
        for name, size in sizes.items():
            assert there.pop(name) == size, path
    assert there == {}, "orphans"
    left = [blob.name async for blob in storage.list(names.in_flight_container)]
    assert set(left) <= {LOCK}
    async for blob in storage.list(names.embedded_container, "remote-rendering/"):
        kept = await storage.read(names.embedded_container, blob.name)
        assert kept is not None
        is_over = json.loads(kept.data)["state"] in ("succeeded", "failed")
        assert not is_over or b"sig=" not in kept.data, blob.name
        endless -= not is_over
    assert endless == 0, "requests that are not over"
    return manifests
