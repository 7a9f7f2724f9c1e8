"""Another process of the same bundle, as a second instance would be."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

from shared import paths
from shared.app import App
from shared.settings import read_settings
from shared.storage import BlobHead
from tests.pipeline import Loop


def consider(settings: dict[str, Any], path: str, times: int) -> int:
    """Delivers one event so many times at once; how many began a conversion."""

    async def deliver() -> int:
        loop = Loop()
        loop.app = app = App(read_settings(**settings), http=loop)
        try:
            return sum(await asyncio.gather(*(app.lifecycle.consider(path) for _ in range(times))))
        finally:
            await app.close()

    return asyncio.run(deliver())


def memory_of_a_sweep(settings: dict[str, Any], layout: str, models: int) -> int:
    """The most bytes that a sweep has at a time beside the page that it lists, by ``layout``:

    each model is ``done``, or ``lost`` its event, or is ``in flight``, or has outputs and no manifest
    (``unnamed``). The listings are made up: to write them would take minutes.
    """

    async def sweep(models: int) -> int:
        loop = Loop()
        loop.app = app = App(read_settings(**settings), http=loop)
        names = app.settings
        now = (await app.ready()).storage.now()

        async def listing(container: str, prefix: str = "", **options: Any) -> AsyncIterator[BlobHead]:
            for number in range(models):
                name = f"projects/some-customer/{number:06}/assembly.stl"
                if container == names.models_container:
                    yield BlobHead(name, f'"{number}"', 1000, now)
                elif container == names.in_flight_container:
                    times = dict.fromkeys(("accepted", "due"), now.isoformat())
                    if layout == "in flight":
                        yield BlobHead(paths.record(name), '"1"', 0, now, metadata={"step": "poll"} | times)
                elif layout in ("done", "unnamed"):
                    yield BlobHead(f"{name}/{number:032x}/assembly.glb", '"1"', 1000, now)
                    metadata = {"sourceetag": f'"{number}"', "conversion": f"{number:032x}"}
                    if layout == "done":
                        yield BlobHead(f"{name}/manifest.json", '"2"', 1000, now, metadata=metadata)

        async def considered(path: str) -> bool:
            await asyncio.sleep(0)
            return True

        vars(app.storage)["list"] = listing
        vars(app.lifecycle)["consider"] = considered
        try:
            tracemalloc.start()
            begun = await app.sweep.run()
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        finally:
            await app.close()
        assert begun == (models if layout in ("lost", "unnamed") else 0)
        return most

    asyncio.run(sweep(10))
    return asyncio.run(sweep(models)) - asyncio.run(sweep(10))
