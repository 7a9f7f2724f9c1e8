"""Processes to be killed: each does one of the bundle's functions, up to the I/O step that it must not pass.

``python -m tests.faults.victim`` loads everything once, reads orders (a line of JSON each) and forks a
process for each; it answers with a line that says how that process ended. A SIGKILL is a real one.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from azure.core.pipeline.transport import AioHttpTransport

# Loaded before the fork, so that no child has to.
import shared.embedded.api.app
import shared.embedded.worker
import shared.http  # noqa: F401
from shared.app import App
from shared.embedded.engine.job import Job, Made, Result
from shared.settings import read_settings
from tests.pipeline import Loop, ShiftedClock


@dataclass(frozen=True)
class Order:
    """``function`` and its ``arguments``; the process dies at its I/O step number ``step``.

    It dies before the request of that step is sent or, with ``after``, when its reply has come and nobody
    has seen it yet. ``ahead`` is how many seconds later than it really is the process shall believe it is.
    """

    settings: dict[str, Any]
    function: str
    arguments: tuple[str, ...]
    step: int
    after: bool
    ahead: float = 0.0

    def encode(self) -> str:
        return json.dumps(asdict(self))


class Stub:
    """An engine that is done at once: crash points are between requests, not in the engine."""

    async def convert(self, job: Job) -> Result:
        made = []
        for output in job.outputs:
            data = f"{output.type} of {job.model}".encode()
            await asyncio.to_thread(Path(job.output_folder, output.name).write_bytes, data)
            digest = hashlib.sha256(data).hexdigest()
            made.append(Made(output.type, output.name, len(data), digest, "application/octet-stream"))
        return Result(made=tuple(made))

    async def close(self) -> None:
        """There is no process."""


class Death:
    """Counts I/O steps, and kills this process at one of them."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._step = 0

    def begin(self) -> int:
        self._step += 1
        if not self._order.after:
            self._check(self._step)
        return self._step

    def end(self, step: int) -> None:
        if self._order.after:
            self._check(step)

    def _check(self, step: int) -> None:
        if step == self._order.step:
            os.kill(os.getpid(), signal.SIGKILL)


def _counted(death: Death) -> Callable[..., Any]:
    send: Callable[..., Any] = AioHttpTransport.send

    async def counted(self: AioHttpTransport, request: Any, **options: Any) -> Any:
        step = death.begin()
        response = await send(self, request, **options)
        death.end(step)
        return response

    return counted


class _Wire(httpx.AsyncBaseTransport):
    def __init__(self, loop: Loop, death: Death) -> None:
        self._loop = loop
        self._death = death

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        step = self._death.begin()
        response = await self._loop.handle_async_request(request)
        self._death.end(step)
        return response


async def _do(order: Order) -> None:
    loop = Loop(order.settings["embedded_blob_url"])
    death = Death(order)
    app = App(read_settings(**order.settings), http=_Wire(loop, death))
    loop.app = app
    app.__dict__["_converter"] = Stub()
    clock = ShiftedClock(app.storage.clock)
    clock.ahead = timedelta(seconds=order.ahead)
    app.storage.clock = clock
    AioHttpTransport.send = _counted(death)
    functions: dict[str, Callable[..., Any]] = {
        "start_conversion": app.lifecycle.consider,
        "poll_conversions": app.tick.run,
        "find_missed_models": app.sweep.run,
        "transfer_files": lambda record, id: app.lifecycle.advance(record, transfers=True, moved=id),
        "embedded_worker": app.worker.run,
        "callback": lambda url: _call(loop, url),
    }
    await functions[order.function](*order.arguments)


async def _call(loop: Loop, path: str) -> None:
    async with httpx.AsyncClient(transport=loop, base_url="http://bundle.test") as client:
        reply = await client.post(path)
    assert reply.status_code == 204


def _run(order: Order) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        asyncio.run(_do(order))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(temporary: str) -> None:
    tempfile.tempdir = temporary
    for line in sys.stdin:
        content = json.loads(line)
        print(_run(Order(**content | {"arguments": tuple(content["arguments"])})), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
