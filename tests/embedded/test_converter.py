"""The engine's process: what it survives, what it costs its limits, and what it leaves behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.embedded.converter import Converter
from shared.embedded.engine.job import Job, Limits, Output, Result
from tests.embedded.engine.shapes import binary_stl, sphere
from tests.embedded.models import obj

_ROOT = Path(__file__).resolve().parents[2]
_SLOW = Output("stl", "out.stl", {"format": "ascii"})


@pytest.fixture
async def own() -> AsyncIterator[Converter]:
    """A converter of the test's own, to be mistreated."""
    running = Converter()
    yield running
    await running.close()


@pytest.fixture
def slow(tmp_path: Path) -> Job:
    """A conversion of several seconds: half a million triangles as text."""
    (tmp_path / "ball.stl").write_bytes(binary_stl(sphere(360)))
    return Job(str(tmp_path), "ball.stl", str(tmp_path), (_SLOW,))


@pytest.fixture
def quick(tmp_path: Path) -> Job:
    (tmp_path / "car.obj").write_bytes(obj())
    return Job(str(tmp_path), "car.obj", str(tmp_path), (Output("glb", "car.glb"),))


def _limited(job: Job, **limits: int) -> Job:
    return Job(job.input_folder, job.model, job.output_folder, job.outputs, {}, Limits(**limits))


def _proc(process: int, name: str) -> Path:
    return Path("/proc", str(process), name)


def _children(of: int) -> list[int]:
    tasks = _proc(of, "task")
    return [int(one) for task in tasks.iterdir() for one in (task / "children").read_text().split()]


async def _started(converter: Converter, job: Job) -> tuple[asyncio.Task[Result], int, int]:
    """A conversion under way, the engine's process id, and that of its child."""
    await converter.start()
    task = asyncio.create_task(converter.convert(job))
    assert converter.process_id is not None
    for _ in range(500):
        await asyncio.sleep(0.01)
        children = _children(converter.process_id)
        if children:
            return task, converter.process_id, children[0]
    raise AssertionError("no child appeared")


async def _gone(process: int) -> bool:
    for _ in range(200):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        if _proc(process, "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_crash_is_a_failed_conversion_and_the_next_one_works(
    own: Converter, slow: Job, quick: Job
) -> None:
    task, engine, child = await _started(own, slow)
    os.kill(child, signal.SIGSEGV)
    error = (await task).error
    assert error is not None and error.code == "converter-crashed" and "SIGSEGV" in error.message
    assert (await own.convert(quick)).error is None
    assert own.process_id == engine  # the parent lived on


async def test_a_dead_engine_is_started_again(own: Converter, slow: Job, quick: Job) -> None:
    task, engine, child = await _started(own, slow)
    os.kill(engine, signal.SIGKILL)
    error = (await task).error
    assert error is not None and error.code == "converter-crashed"
    assert await _gone(child)
    assert (await own.convert(quick)).error is None


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        ({"wall_seconds": 1}, "ENGINE_WALL_SECONDS"),
        ({"cpu_seconds": 1}, "ENGINE_CPU_SECONDS"),
        ({"memory_mb": 60}, "ENGINE_MEMORY_MB"),
        ({"output_mb": 10}, "ENGINE_OUTPUT_MB"),
    ],
)
async def test_a_limit_that_is_exceeded_is_named(
    converter: Converter, slow: Job, limits: dict[str, int], setting: str
) -> None:
    error = (await converter.convert(_limited(slow, **limits))).error
    assert error is not None
    assert error.code == "limit-exceeded" and setting in error.message


async def test_the_sum_of_all_outputs_is_limited_too(converter: Converter, tmp_path: Path) -> None:
    (tmp_path / "ball.stl").write_bytes(binary_stl(sphere(100)))
    outputs = tuple(Output("stl", f"{number}.stl") for number in range(3))
    job = Job(str(tmp_path), "ball.stl", str(tmp_path), outputs, {}, Limits(output_mb=4))
    error = (await converter.convert(job)).error
    assert error is not None and "ENGINE_OUTPUT_MB" in error.message


async def test_a_cancelled_conversion_leaves_nothing_running(own: Converter, slow: Job, quick: Job) -> None:
    task, engine, child = await _started(own, slow)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _gone(child) and await _gone(engine)
    assert (await own.convert(quick)).error is None


async def test_closing_in_the_middle_leaves_nothing_running(own: Converter, slow: Job) -> None:
    task, engine, child = await _started(own, slow)
    await own.close()
    assert (await task).error is not None
    assert await _gone(child) and await _gone(engine)


async def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path, slow: Job) -> None:
    script = (
        "import asyncio, json, sys\n"
        "from shared.embedded.converter import Converter\n"
        "from shared.embedded.engine.job import Job\n"
        "async def main():\n"
        "    converter = Converter()\n"
        "    await converter.start()\n"
        "    print(converter.process_id, flush=True)\n"
        "    await converter.convert(Job.from_json(json.loads(sys.argv[1])))\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, json.dumps(slow.to_json()), stdout=subprocess.PIPE, cwd=_ROOT
    )
    assert parent.stdout is not None
    engine = int(await parent.stdout.readline())
    deadline = time.monotonic() + 10
    while not (children := _children(engine)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    parent.kill()
    await parent.wait()
    assert await _gone(engine) and await _gone(children[0])


async def test_conversions_asked_for_at_once_wait_their_turn(converter: Converter, tmp_path: Path) -> None:
    (tmp_path / "car.obj").write_bytes(obj())
    jobs = [
        Job(str(tmp_path), "car.obj", str(tmp_path), (Output("glb", f"{number}.glb"),)) for number in range(5)
    ]
    results = await asyncio.gather(*(converter.convert(job) for job in jobs))
    assert [result.made[0].name for result in results] == [f"{number}.glb" for number in range(5)]


async def test_the_engine_inherits_no_secret(own: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_STORAGE", "AccountKey=very-secret")
    await own.start()
    assert own.process_id is not None
    environment = _proc(own.process_id, "environ").read_bytes()
    assert b"very-secret" not in environment and b"MODEL_STORAGE" not in environment


async def test_the_child_holds_only_its_own_answer_and_complaints(own: Converter, slow: Job) -> None:
    task, _, child = await _started(own, slow)
    held: set[str] = set()
    for _ in range(200):  # it lets go of the others in its first moments
        held = {str(descriptor.readlink()) for descriptor in _proc(child, "fd").iterdir()}
        held -= {name for name in held if name.startswith((slow.output_folder, "/proc/"))}
        if len(held) == 3:
            break
        await asyncio.sleep(0.01)
    assert {name.partition(":")[0] for name in held} == {"/dev/null", "/memfd", "pipe"}
    assert len(held) == 3
    await own.close()
    await task


def test_the_converter_loads_no_model_library() -> None:
    script = (
        "import sys, shared.embedded.converter, shared.embedded.engine.formats\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(loaded & {'numpy', 'PIL', 'assimp_py', 'cascadio', 'embreex', 'DracoPy'})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
