"""R6: one model in sixteen is poison: it has one failed manifest that says why, and no other one notices."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.azurite import Azurite
from shared.conversion import Status
from shared.embedded.converter import Converter
from shared.embedded.engine.job import Job, Result
from tests.embedded.engine.shapes import binary_stl, sphere
from tests.embedded.models import packed
from tests.faults.crowd import each, ended, seeded
from tests.pipeline import start
from tests.shapes import block, longest_side

N = 80
SEED = 8061
MEMORY_MB = 3000


class Crashes(Converter):
    """The engine, whose child is shot while it converts a model with "crash" in its name."""

    async def convert(self, job: Job) -> Result:
        if "crash" not in job.model:
            return await super().convert(job)
        await self.start()
        converting = asyncio.create_task(super().convert(job))
        tasks = Path("/proc", str(self.process_id), "task")
        while not converting.done():
            children = await asyncio.to_thread(
                lambda: " ".join((one / "children").read_text() for one in tasks.iterdir()).split()
            )
            for child in children:
                os.kill(int(child), signal.SIGSEGV)
            await asyncio.sleep(0.01)
        return await converting


@pytest.fixture
async def engine() -> AsyncIterator[Crashes]:
    running = Crashes()
    yield running
    await running.close()


def poison() -> dict[str, tuple[bytes, str, str]]:
    """Model -> its bytes, the code of its failure, and a word of its message."""
    ball = binary_stl(sphere(360))
    bomb = packed({"model.stl": bytes(150 * 1024 * 1024)})
    # A few bytes that ask for four thousand million points.
    hungry = b"OFF\n4000000000 4000000000 0\n0 0 0\n"
    return {
        "corrupt.stl": (b"solid but not an STL", "corrupt-model", "STL"),
        "bomb.zip": (bomb, "too-large", "ENGINE_INPUT_MB"),
        "endless.stl": (ball, "limit-exceeded", "ENGINE_CPU_SECONDS"),
        "crash.stl": (ball, "converter-crashed", "SIGSEGV"),
        "memory.off": (hungry, "limit-exceeded", "ENGINE_MEMORY_MB"),
    }


SLOWLY = b'{"formats": [{"type": "stl", "advanced": {"format": "ascii"}}]}'


async def test_poison_models_fail_alone(azurite: Azurite, engine: Crashes) -> None:
    with seeded(SEED) as chances:
        bad = poison()
        good = {f"{number}.stl": block(2 + number) for number in range(N - len(bad))}
        models = [*bad, *good]
        chances.shuffle(models)
        # Some hundred thousand triangles take longer as text than a conversion may.
        async with start(
            azurite,
            converter=engine,
            default_formats='[{"type": "glb"}]',
            engine_memory_mb=MEMORY_MB,
            engine_input_mb=100,
            engine_cpu_seconds=1,
            engine_wall_seconds=120,
        ) as pipeline:
            for path in ("endless.stl", "crash.stl"):
                await pipeline.upload(f"{path}.conversion.json", SLOWLY)
            await each(models, lambda path: pipeline.drop(path, bad[path][0] if path in bad else good[path]))
            await pipeline.settle(rounds=30)
            manifests = await ended(pipeline, models)
            jobs = await pipeline.jobs()
            for number, path in enumerate(good, start=2):
                manifest = manifests[path]
                assert (manifest.status, manifest.messages) == (Status.SUCCESS, ()), path
                [derivative] = manifest.derivatives
                assert longest_side(await pipeline.read(derivative.path)) == number
        for path, (_, code, word) in bad.items():
            [error] = manifests[path].errors
            assert (manifests[path].status, error.code) == (Status.FAILED, code), error
            assert word in error.message, error
        assert len(jobs) == N
