"""The service's side of the engine: one process that converts, started again whenever it dies."""

import asyncio
import contextlib
import json
import logging
import os
import sys
from pathlib import Path

from shared.embedded.engine.job import Failure, Job, Result
from shared.problems import Code

_log = logging.getLogger(__name__)

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 120  # it starts in a fifth of a second; a cold disk may take many
_GRACE_SECONDS = 30  # for the engine to end a child that used up its time, and to say so
_MAX_LINE = 64 * 2**20


class Converter:
    """Owns one exec'd engine process, and gives it one conversion at a time.

    Whatever a model does to its conversion, `convert` returns a `Result` with an error. It raises
    only what is not the model's doing, such as an engine that cannot be started.
    """

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    @property
    def process_id(self) -> int | None:
        """The engine's process, while there is one."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Load the engine now, so that the first conversion does not wait for it."""
        async with self._turn:
            await self._ensure_started()

    async def convert(self, job: Job) -> Result:
        """Do one job. Cancelling ends the conversion and its process at once."""
        async with self._turn:
            process = await self._ensure_started()
            assert process.stdin is not None and process.stdout is not None
            line = json.dumps({"job": job.to_json()}).encode() + b"\n"
            try:
                process.stdin.write(line)
                await process.stdin.drain()
                async with asyncio.timeout(job.limits.wall_seconds + _GRACE_SECONDS):
                    answer = await process.stdout.readline()
            except (TimeoutError, ConnectionError, ValueError):
                answer = b""
            except BaseException:
                # A half-done exchange cannot be taken up again.
                await self._end()
                raise
            if answer.endswith(b"\n"):
                return Result.from_json(json.loads(answer)["result"])
            await self._end()
            _log.error("The engine's process died or hung; the next conversion starts a new one.")
            return Result(
                error=Failure(
                    Code.CONVERTER_CRASHED,
                    "The engine's process died or hung during the conversion. Try again; if it happens "
                    "again, the model is probably damaged.",
                )
            )

    async def close(self) -> None:
        """End the engine and whatever it is doing."""
        await self._end()

    async def _ensure_started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self._end()
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "shared.embedded.engine",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=_ROOT,
            env=environment(),
            limit=_MAX_LINE,
            start_new_session=True,  # a Ctrl-C at a terminal is for the parent to handle
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                ready = await process.stdout.readline()
        except BaseException:
            await self._end()
            raise
        if not ready:
            await self._end()
            raise RuntimeError("The engine's process did not start; are all its libraries installed?")
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # End of input makes the engine kill its child, so nothing of either is left.
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def environment() -> dict[str, str]:
    """What the engine gets to know: where Python and its packages are, and nothing of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)]),
        # Threads do not survive a fork, and each arena reserves address space that is limited.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
