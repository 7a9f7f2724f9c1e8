"""Our own time from a model's event to its started conversion, at a service that answers at once.

The peer sends the same nine storage requests, one after the other, with nothing but aiohttp, for a model of
its own in turn with ours.

    python -m bench.latency
"""

import asyncio
import statistics
import time

from bench.bare import Bare
from bench.tables import table
from bench.tick import Instant, settings
from local.azurite import Azurite
from shared import paths
from shared.conversion import Conversion, Step
from shared.formats import FOLDER_SIDECAR, SIDECAR_SUFFIX
from shared.in_flight import body, metadata
from tests.pipeline import Pipeline, start
from tests.shapes import sample

EVENTS = 300
_WARM_UP = 30


async def bare(storage: Bare, pipeline: Pipeline, path: str, held: Conversion) -> float:
    """What storage is asked about a model between its event and the start of its conversion; the seconds."""
    names = pipeline.app.settings
    folder = path.rpartition("/")[0]
    record, model = f"{names.in_flight_container}/{paths.record(path)}", f"{names.models_container}/{path}"
    sidecars = (path + SIDECAR_SUFFIX, f"{folder}/{FOLDER_SIDECAR}", FOLDER_SIDECAR)
    data = body(held)
    named = {f"x-ms-meta-{key}": value for key, value in metadata(held).items()}
    begun = time.perf_counter()
    await storage.head(model)
    written = await storage.put(record, data, {"If-None-Match": "*", **named})
    await storage.head(model)
    await storage.get(f"{names.converted_container}/{paths.manifest(path)}")
    for sidecar in sidecars:
        await storage.get(f"{names.models_container}/{sidecar}")
    for _ in range(2):
        written = await storage.put(record, data, {"If-Match": written["ETag"], **named})
    return time.perf_counter() - begun


async def measured(events: int) -> tuple[list[float], list[float]]:
    """The seconds of each event, ours and the peer's."""
    azurite = await asyncio.to_thread(Azurite.start)
    cube = sample("cube.stl")
    ours, peers = [], []
    try:
        async with (
            start(azurite, http=Instant(), **settings()) as pipeline,
            Bare(azurite, 1) as storage,
        ):
            for number in range(-_WARM_UP, events):
                path = f"{number % 50}/ours-{number}.stl"
                await pipeline.upload(path, cube)
                begun = time.perf_counter()
                await pipeline.event(path)
                seconds = time.perf_counter() - begun
                held = await pipeline.record(path)
                assert held is not None and held.step is Step.POLL
                path = f"{number % 50}/peer-{number}.stl"
                await pipeline.upload(path, cube)
                peer = await bare(storage, pipeline, path, held)
                if number >= 0:
                    ours.append(seconds)
                    peers.append(peer)
    finally:
        await asyncio.to_thread(azurite.stop)
    return ours, peers


async def main() -> None:
    """Prints the 50th and the 99th percentile."""
    ours, peers = await measured(EVENTS)
    print("### From event to started conversion")
    rows = []
    for name, times in (("ours", ours), ("the storage requests alone", peers)):
        percentiles = statistics.quantiles(times, n=100)
        rows.append((name, *(f"{percentiles[at - 1] * 1000:.0f} ms" for at in (50, 90, 99))))
    table((f"{EVENTS} events", "p50", "p90", "p99"), rows)


if __name__ == "__main__":
    asyncio.run(main())
