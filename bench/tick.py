"""A tick over many conversions in flight, against a bare asyncio loop that sends the same requests.

Each conversion is due, its service answers at once that it still runs, and the record is written with its
next time: a read, a call and a conditional write. The peer lists, reads, calls and writes by the same storage
client and httpx, as many at once, in the same run on the same storage. A second peer sends its requests to
storage with nothing but aiohttp: what is between the two is the storage client's.

    python -m bench.tick [conversions ...]
"""

import asyncio
import re
import secrets
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
from azure.core import MatchConditions

from bench.bare import Bare
from bench.tables import table
from local.azurite import Azurite
from shared import paths
from shared.conversion import Conversion, ConversionSettings, Format, Step
from shared.in_flight import body, metadata
from shared.tick import AT_ONCE
from tests.clients.orders import jwt
from tests.pipeline import ACCOUNT_ID, Pipeline, start

SIZES = (1_000, 10_000)
_ENDPOINT = "http://127.0.0.1:9"
_POLL = f"{_ENDPOINT}/v1/accounts/a/conversions/b"
_RECORD = re.compile("[0-9a-f]{32}[.]json")
_SETTINGS = ConversionSettings(service="remote-rendering", formats=(Format(type="glb"),))


class Instant(httpx.AsyncBaseTransport):
    """A Remote Rendering service that answers at once: it accepts everything, and is never done."""

    def __init__(self) -> None:
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if request.method == "POST":
            return httpx.Response(200, json={"conversionId": secrets.token_hex(16)})
        return httpx.Response(200, json={"status": "Running"})


def settings() -> dict[str, Any]:
    """The app settings of a pipeline at that service."""
    return {
        "remote_rendering_endpoint": _ENDPOINT,
        "remote_rendering_account_id": ACCOUNT_ID,
        "remote_rendering_token": jwt(),
    }


async def fill(bare: Bare, pipeline: Pipeline, count: int) -> None:
    """Puts ``count`` conversions in flight that run at the service and are due."""
    now = pipeline.app.tools.now()
    container = pipeline.app.settings.in_flight_container

    async def one(number: int) -> None:
        path = f"models/{number % 100:02}/{number:05}.stl"
        conversion = Conversion.begin(path, f'"{number}"', 1000, None, now, now).changed(
            step=Step.POLL,
            tries=0,
            settings=_SETTINGS,
            settings_hash=_SETTINGS.digest,
            service_id=secrets.token_hex(16),
            started_at=now - timedelta(seconds=60),
            deadline=now + timedelta(days=5),
            ordered=True,
        )
        named = {f"x-ms-meta-{key}": value for key, value in metadata(conversion).items()}
        await bare.put(f"{container}/{paths.record(path)}", body(conversion), named)

    await at_once(one, list(range(count)))


async def at_once[Item](work: Callable[[Item], Awaitable[None]], items: list[Item]) -> None:
    """Works off items, as many at a time as the tick does."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def client_loop(pipeline: Pipeline, at: httpx.AsyncClient) -> None:
    """The requests of a tick by the storage client, and no more."""
    service, name = pipeline.app.storage.blob_service, pipeline.app.settings.in_flight_container
    container = service.get_container_client(name)
    names = [
        blob.name
        async for blob in container.list_blobs(include=["metadata"], results_per_page=5000)
        if _RECORD.fullmatch(blob.name)
    ]

    async def one(name: str) -> None:
        blob = container.get_blob_client(name)
        stream = await blob.download_blob(max_concurrency=1)
        data = await stream.readall()
        (await at.get(_POLL)).json()
        await blob.upload_blob(
            data,
            overwrite=True,
            metadata=stream.properties.metadata,
            etag=stream.properties.etag,
            match_condition=MatchConditions.IfNotModified,
            max_concurrency=1,
        )

    await at_once(one, names)


async def bare_loop(bare: Bare, container: str, at: httpx.AsyncClient) -> None:
    """The requests of a tick without a storage client, and no more."""
    names: list[str] = []
    marker = ""
    while True:
        page = (await bare.list(container, marker)).decode()
        names += re.findall(r"<Name>([0-9a-f]{32}\.json)</Name>", page)
        found = re.search(r"<NextMarker>([^<]+)</NextMarker>", page)
        if found is None:
            break
        marker = found[1]

    async def one(name: str) -> None:
        data, headers = await bare.get(f"{container}/{name}")
        (await at.get(_POLL)).json()
        named = {key: value for key, value in headers.items() if key.lower().startswith("x-ms-meta-")}
        await bare.put(f"{container}/{name}", data, {"If-Match": headers["ETag"], **named})

    await at_once(one, names)


async def measured(count: int) -> tuple[float, ...]:
    """Conversions a second: of the tick, and of each peer; the median of some turns of each."""
    azurite = await asyncio.to_thread(Azurite.start)
    service = Instant()
    try:
        async with (
            start(azurite, http=service, **settings()) as pipeline,
            Bare(azurite, AT_ONCE) as bare,
            httpx.AsyncClient(transport=Instant()) as at,
        ):
            await fill(bare, pipeline, count)
            await pipeline.app.tick.run()
            rates: list[tuple[float, ...]] = []
            for _ in range(3 if count <= 2_000 else 1):
                begun = time.perf_counter()
                await bare_loop(bare, pipeline.app.settings.in_flight_container, at)
                by_http = time.perf_counter() - begun
                begun = time.perf_counter()
                await client_loop(pipeline, at)
                by_client = time.perf_counter() - begun
                pipeline.later(600)
                before = service.calls
                begun = time.perf_counter()
                assert await pipeline.app.tick.run() == count
                ours = time.perf_counter() - begun
                assert service.calls - before == count
                rates.append(tuple(count / seconds for seconds in (ours, by_client, by_http)))
            return tuple(statistics.median(column) for column in zip(*rates, strict=True))
    finally:
        await asyncio.to_thread(azurite.stop)


async def main(sizes: tuple[int, ...]) -> None:
    """Prints the rates and their ratio."""
    rows = []
    for size in sizes:
        ours, by_client, by_http = await measured(size)
        rows.append(
            (
                f"{size:,}",
                *(f"{rate:.0f} /s" for rate in (ours, by_client)),
                f"{ours / by_client:.0%}",
                f"{by_http:.0f} /s",
                f"{ours / by_http:.0%}",
            )
        )
    print("### A tick over conversions in flight")
    table(("in flight", "tick", "bare loop", "ratio", "without the storage client", "ratio"), rows)


if __name__ == "__main__":
    asyncio.run(main(tuple(int(size) for size in sys.argv[1:]) or SIZES))
