"""Of N models that have landed: N conversions, N manifests, and no trace of anything else."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.azurite import Azurite
from shared import formats, paths
from shared.conversion import Status, Step
from shared.manifest import Manifest
from shared.tick import LOCK
from shared.tools import Pace
from tests.faults.fleet import Fleet
from tests.faults.proxy import Proxy, Storage, before
from tests.pipeline import Pipeline, settings_for, start

#: How many models, by the environment.
N = int(os.environ.get("N", "200"))
#: For tests that take longer the more there are.
LONG = pytest.mark.timeout(max(1200, 6 * N))
_MOST = 2000  # Azurite gets slow with what it holds

_NO_GC = Path(__file__).with_name("azurite_no_gc.cjs")

GLB = '[{"type": "glb"}]'


def shards(count: int) -> list[int]:
    """How many models each of as many Azurites gets as are needed."""
    return [min(_MOST, count - begin) for begin in range(0, count, _MOST)]


@contextmanager
def enduring_azurite() -> Iterator[Azurite]:
    """An Azurite for a long load, which never stops to collect its garbage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NODE_OPTIONS", f"--require {json.dumps(str(_NO_GC))}")
        azurite = Azurite.start()
    with azurite:
        yield azurite


def measured(row: str, **figures: Any) -> None:
    """Prints what a row has measured; `make faults` shows it."""
    print(f"\n{row}: {json.dumps(figures)}")


@dataclass(frozen=True)
class Scene:
    """A bundle on instances that reach storage and the service through proxies, and a view of its storage
    that nothing disturbs."""

    fleet: Fleet
    pipeline: Pipeline
    storage: Storage
    service: Proxy


@asynccontextmanager
async def scene(azurite: Azurite, folder: Path, *, seed: int, **options: Any) -> AsyncIterator[Scene]:
    """``options`` are `Fleet.start`'s, and app settings."""
    own = {name: options.pop(name) for name in ("instances", "lives") if name in options}
    async with before(azurite) as storage, Proxy("", "service") as service:
        settings = settings_for(
            storage.azurite,
            website_hostname=f"127.0.0.1:{service.port}",
            default_formats=GLB,
            convert_since="2020-01-01T00:00:00Z",
            deadline_seconds=4 * 24 * 3600,
        )
        settings |= options
        direct = {
            "model_storage": azurite.connection_string,
            "embedded_blob_url": f"{azurite.blob_url}/{{account}}",
        }
        async with (
            start(azurite, **settings | direct) as pipeline,
            Fleet.start(settings, service, folder, seed=seed, **own) as fleet,
        ):
            yield Scene(fleet, pipeline, storage, service)


def models(count: int, name: str = "model") -> dict[str, bytes]:
    """So many different models, a fifth of them with a companion; path -> bytes."""
    made = {}
    for number in range(count):
        if number % 5:
            made[f"{number % 7}/{name} {number}.stl"] = f"solid {number}\nendsolid\n".encode()
        else:
            made[f"{name}/{number}/{name}.obj"] = (
                f"mtllib a.mtl\nv {number} 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n".encode()
            )
    return made


async def upload(pipeline: Pipeline, made: Mapping[str, bytes]) -> None:
    """The models land, and their companions before them; nobody says so."""
    limit = asyncio.Semaphore(16)

    async def put(path: str, data: bytes) -> None:
        async with limit:
            if path.endswith(".obj"):
                await pipeline.upload(f"{path.rpartition('/')[0]}/a.mtl", b"newmtl red\nKd 1 0 0\n")
            await pipeline.upload(path, data)

    await asyncio.gather(*(put(path, data) for path, data in made.items()))


async def assert_whole(pipeline: Pipeline, made: Mapping[str, bytes]) -> dict[str, Manifest]:
    """Every model has a manifest of success, made by the one job that the service knows of it, and its
    output holds its bytes; nothing else was started, and nothing else is there. The manifests by path."""
    storage, names = pipeline.app.storage, pipeline.app.settings
    there = {blob.name: blob.size async for blob in storage.list(names.converted_container)}
    heads = {head.name: head async for head in storage.list(names.models_container)}
    limit = asyncio.Semaphore(16)

    async def told(path: str) -> Manifest:
        async with limit:
            stored = await pipeline.app.tools.manifests.of(path)
            assert stored is not None, f"{path} has no manifest"
            manifest = stored.manifest
            assert manifest is not None
            assert (manifest.status, manifest.messages) == (Status.SUCCESS, ()), (path, manifest.messages)
            assert manifest.source.etag == heads[path].etag
            [output] = manifest.derivatives
            assert await pipeline.read(output.path) == made[path]
            return manifest

    manifests = dict(zip(made, await asyncio.gather(*(told(path) for path in made)), strict=True))
    for path, manifest in manifests.items():
        del there[paths.manifest(path)]
        named = [(file.path, file.size) for file in manifest.derivatives]
        named += [(file.path, file.size) for file in manifest.logs]
        for name, size in named:
            assert there.pop(name) == size
    assert there == {}, "orphans"
    # Of the other services the one has no list, and the other's jobs go when they are collected.
    if names.default_service == formats.REMOTE_RENDERING:
        jobs = sorted([job["id"] for job in await pipeline.jobs()])
        assert jobs == sorted([each.service.id or "" for each in manifests.values() if each.service])
    left = [blob.name async for blob in storage.list(names.in_flight_container)]
    assert left == [LOCK]
    assert await storage.depth(names.embedded_queue) == await storage.depth(names.transfer_queue) == 0
    return manifests


def polls_at_the_interval(pace: Pace, manifest: Manifest) -> int:
    """How often a conversion that took so long would be asked about if no call failed: at the interval for
    services that call back, and once because it did."""
    age, count = 0.0, 1
    took = manifest.timings.steps[Step.POLL]
    while (age := age + pace.next_poll(age, has_callback=True)) < took:
        count += 1
    return count
