"""A bundle whose pipeline converts by its own Model Derivative API."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from local.azurite import Azurite
from shared.conversion import Step
from tests.pipeline import Pipeline, start

#: Ends the address that jobs are posted to.
JOB = "/designdata/job"


class Outside(httpx.AsyncBaseTransport):
    """HTTP to the bundle stays in this process; what is for its storage goes there."""

    def __init__(self, own: httpx.AsyncBaseTransport, storage: str) -> None:
        self._own = own
        self._storage = urlsplit(storage).netloc
        self._network = httpx.AsyncHTTPTransport()
        self.asked: list[tuple[str, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path))
        is_storage = request.url.netloc.decode() == self._storage
        return await (self._network if is_storage else self._own).handle_async_request(request)

    def count(self, method: str, ending: str) -> int:
        """How many calls there were of a method to paths with an ending."""
        return sum(one == method and path.endswith(ending) for one, path in self.asked)

    async def aclose(self) -> None:
        await self._network.aclose()


@asynccontextmanager
async def translating(
    azurite: Azurite,
    *,
    wrap: Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport] = lambda own: own,
    **changes: Any,
) -> AsyncIterator[tuple[Pipeline, Outside]]:
    """The bundle, and what it asked over HTTP."""
    made: list[Outside] = []

    def outside(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        made.append(Outside(own, azurite.blob_url))
        return wrap(made[0])

    options: dict[str, Any] = {
        "embedded_apis": "remote-rendering,model-derivative",
        "default_service": "model-derivative",
        "wrap": outside,
        **changes,
    }
    async with start(azurite, **options) as pipeline:
        yield pipeline, made[0]
    await made[0].aclose()


def sidecar(*formats: dict[str, Any], **more: Any) -> bytes:
    """Settings that name the service and its outputs."""
    return json.dumps({"service": "model-derivative", "formats": list(formats), **more}).encode()


async def started(pipeline: Pipeline, path: str = "pyramid.obj") -> None:
    """Ticks and moves files until the service has the job; it does not work it off."""
    for _ in range(5):
        pipeline.later(10)
        await pipeline.app.tick.run()
        await pipeline.transfer()
        record = await pipeline.record(path)
        assert record is not None
        if record.step is Step.POLL:
            return
    raise AssertionError(f"{path} was not started")


async def objects(pipeline: Pipeline) -> list[str]:
    """What is left of uploads."""
    container = pipeline.app.settings.embedded_container
    return [head.name async for head in pipeline.app.storage.list(container, "oss/objects/")]
