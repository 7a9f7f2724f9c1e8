"""A tick over many conversions in flight, against a bare asyncio loop that sends the same requests.

Each conversion is due, its service answers at once that it still runs, and the record is written with its
next time: a read, a call and a conditional write. The peer lists, reads, calls and writes with nothing but
aiohttp and httpx, as many at once, in the same run on the same storage.

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


async def bare_loop(bare: Bare, container: str) -> None:
    """The requests of a tick, and no more."""
    names: list[str] = []
    marker = ""
    while True:
        page = (await bare.list(container, marker)).decode()
        names += re.findall(r"<Name>([0-9a-f]{32}\.json)</Name>", page)
        found = re.search(r"<NextMarker>([^<]+)</NextMarker>", page)
        if found is None:
            break
        marker = found[1]
    async with httpx.AsyncClient(transport=Instant()) as client:

        async def one(name: str) -> None:
            data, headers = await bare.get(f"{container}/{name}")
            reply = await client.get(f"{_ENDPOINT}/v1/accounts/a/conversions/b")
            reply.json()
            named = {key: value for key, value in headers.items() if key.lower().startswith("x-ms-meta-")}
            await bare.put(f"{container}/{name}", data, {"If-Match": headers["ETag"], **named})

        await at_once(one, names)


async def measured(count: int) -> tuple[float, float]:
    """Conversions a second: of the tick, and of the peer; the median of some turns of each."""
    azurite = await asyncio.to_thread(Azurite.start)
    service = Instant()
    try:
        async with (
            start(azurite, http=service, **settings()) as pipeline,
            Bare(azurite, AT_ONCE) as bare,
        ):
            await fill(bare, pipeline, count)
            await pipeline.app.tick.run()
            ours, peers = [], []
            for _ in range(3 if count <= 2_000 else 1):
                begun = time.perf_counter()
                await bare_loop(bare, pipeline.app.settings.in_flight_container)
                peers.append(count / (time.perf_counter() - begun))
                pipeline.later(600)
                before = service.calls
                begun = time.perf_counter()
                assert await pipeline.app.tick.run() == count
                ours.append(count / (time.perf_counter() - begun))
                assert service.calls - before == count
            return statistics.median(ours), statistics.median(peers)
    finally:
        await asyncio.to_thread(azurite.stop)


async def main(sizes: tuple[int, ...]) -> None:
    """Prints the rates and their ratio."""
    rows = []
    for size in sizes:
        ours, peer = await measured(size)
        rows.append((f"{size:,}", f"{ours:.0f} /s", f"{peer:.0f} /s", f"{ours / peer:.0%}"))
    print("### A tick over conversions in flight")
    table(("in flight", "tick", "bare loop", "ratio"), rows)


if __name__ == "__main__":
    asyncio.run(main(tuple(int(size) for size in sys.argv[1:]) or SIZES))
