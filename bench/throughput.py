"""Conversions a second, from events to manifests, by the embedded service through its HTTP API.

With an engine that is done at once, the peer is the storage requests alone: the same number of them, half
reads and half writes, sent by a bare asyncio loop. With the real engine, one conversion at a time as one
instance works, the peer is the engine alone.

    python -m bench.throughput
"""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.bare import Bare
from bench.requests import counted
from bench.tables import table
from local.azurite import Azurite
from shared.embedded.converter import Converter
from shared.embedded.engine.job import Job, Output
from shared.formats import REMOTE_RENDERING
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import sample

_INSTANT = 100
_REAL = 20
_AT_ONCE = 16
_GLB = '[{"type": "glb"}]'


async def convert(pipeline: Pipeline, count: int, *, workers: int) -> float:
    """Conversions a second: all events at once, and ``workers`` requests at a time."""
    for number in range(count):
        await pipeline.upload(f"{number}/cube.stl", sample("cube.stl"))
    begun = time.perf_counter()
    events = asyncio.Semaphore(_AT_ONCE)
    working = asyncio.Semaphore(workers)

    async def land(number: int) -> None:
        async with events:
            await pipeline.event(f"{number}/cube.stl")

    async def work(request: str) -> None:
        async with working:
            await pipeline.run(request)

    async def serve() -> None:
        done = 0
        while done < count:
            requests = await pipeline.requests()
            await asyncio.gather(*(work(request) for request in requests))
            done += len(requests)
            await asyncio.gather(*(pipeline.transfer() for _ in range(_AT_ONCE)))

    await asyncio.gather(serve(), *(land(number) for number in range(count)))
    while await pipeline.records():
        pipeline.later(10)
        await pipeline.app.tick.run()
    return count / (time.perf_counter() - begun)


async def bare(azurite: Azurite, container: str, requests: int) -> float:
    """Storage requests a second, half reads and half writes."""
    data = bytes(1000)
    left = iter(range(requests // 2))
    async with Bare(azurite, _AT_ONCE) as storage:

        async def worker() -> None:
            for number in left:
                await storage.put(f"{container}/bare/{number}", data, {})
                await storage.get(f"{container}/bare/{number}")

        begun = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
    return requests / (time.perf_counter() - begun)


async def engine(converter: Converter, count: int) -> float:
    """Conversions a second of the engine alone, one after the other."""
    with TemporaryDirectory() as folder:
        model = Path(folder) / "in"
        model.mkdir()
        (model / "cube.stl").write_bytes(sample("cube.stl"))
        begun = time.perf_counter()
        for number in range(count):
            out = Path(folder) / str(number)
            out.mkdir()
            job = Job(str(model), "cube.stl", str(out), (Output("glb", "cube.glb"),))
            assert (await converter.convert(job)).error is None
        return count / (time.perf_counter() - begun)


async def main() -> None:
    """Prints the rates."""
    rows = []
    azurite = await asyncio.to_thread(Azurite.start)
    converter = Converter()
    try:
        found = await counted(azurite, REMOTE_RENDERING)
        # Two of each queue's requests are the platform's: it takes a message, and deletes it.
        each = len(found.ledger.pipeline) + found.embedded + 4
        async with start(azurite, converter=Copier(), default_formats=_GLB) as pipeline:
            rate = await convert(pipeline, _INSTANT, workers=_AT_ONCE)
            peer = await bare(azurite, pipeline.app.settings.converted_container, 4000) / each
        rows.append(("instant", _INSTANT, rate, f"{each} bare storage requests each", peer))
        async with start(azurite, converter=converter, default_formats=_GLB) as pipeline:
            await engine(converter, 3)
            rate = await convert(pipeline, _REAL, workers=1)
            peer = await engine(converter, _REAL)
        rows.append(("real, a cube of 12 triangles to glb", _REAL, rate, "the engine alone", peer))
    finally:
        await converter.close()
        await asyncio.to_thread(azurite.stop)
    print("### Conversions a second, end to end")
    table(
        ("engine", "conversions", "ours", "peer", "its rate", "ratio"),
        (
            (name, count, f"{rate:.1f} /s", what, f"{peer:.1f} /s", f"{rate / peer:.0%}")
            for name, count, rate, what, peer in rows
        ),
    )


if __name__ == "__main__":
    asyncio.run(main())
