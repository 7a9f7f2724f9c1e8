"""Instances of the function app that are killed: processes, each a fork of one that has loaded everything.

``python -m tests.faults.instance`` has its app settings in the environment and reads a line of JSON, a
`Plan`. It answers with the port on which its instances serve HTTP together, forks them, and another one for
each that dies. An instance connects to the plan's socket, says which one it is, and does what the lines of
JSON say that come from there: it calls one of the bundle's functions, as the platform would, and says how
that ended. At every so many I/O steps it kills itself, with a real SIGKILL.
"""

import asyncio
import fcntl
import json
import logging
import mmap
import os
import random
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import httpx
from aiohttp import web
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport
from multidict import CIMultiDict

# Loaded before the fork, so that no instance has to.
from local.processes import die_with_parent
from shared import paths
from shared.app import app
from shared.embedded import worker
from shared.lifecycle import Lifecycle
from shared.sas import Signer
from shared.storage import Clock
from tests.copier import Copier

DEATHS = "deaths"
CLOCK = "clock"

# A third death in one step ends a conversion, and a third run of a request ends that: by design, and
# tested elsewhere. Whoever would die in the middle of such work lives on for a few more steps.
_MOST_DEATHS = 2
_MOST_DEATHS_OF_A_REQUEST = 1


@dataclass(frozen=True)
class Plan:
    """``folder`` holds the clock, the log of each instance, and who died at what; ``lives`` is the least and
    the most number of I/O steps between two deaths, None for no deaths."""

    control: str
    folder: str
    instances: int
    lives: tuple[int, int] | None
    seed: int

    def encode(self) -> bytes:
        """A line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"


class SharedClock(Clock):
    """The time that the tests say it is, in all processes at once; between two words of theirs it stands."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        with (folder / CLOCK).open("r+b") as file:
            self._time = mmap.mmap(file.fileno(), 8)

    def now(self) -> datetime:
        return datetime.fromtimestamp(struct.unpack("d", self._time[:8])[0], UTC)

    def set(self, now: datetime) -> None:
        """Says what time it is."""
        self._time[:8] = struct.pack("d", now.timestamp())

    @classmethod
    def make(cls, folder: Path, now: datetime) -> "SharedClock":
        """A clock for all who know the folder."""
        (folder / CLOCK).write_bytes(struct.pack("d", now.timestamp()))
        return cls(folder)


# --- What an instance is at, and its death ---------------------------------------------------------

_at_work: Counter[str] = Counter()
_requests: ContextVar[list[int] | None] = ContextVar("requests", default=None)


@contextmanager
def _working_at(key: str) -> Any:
    _at_work[key] += 1
    try:
        yield
    finally:
        _at_work[key] -= 1


def _told[**P, R](method: Callable[P, Awaitable[R]], key: Callable[[str], str]) -> Callable[P, Awaitable[R]]:
    """The method, which says what it is at."""

    async def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        with _working_at(key(str(args[1]))):
            return await method(*args, **kwargs)

    return telling


class Death:
    """Counts I/O steps, and kills this process when it has done as many as it may."""

    def __init__(self, plan: Plan, instance: str) -> None:
        self._folder = Path(plan.folder)
        lot = random.Random(f"{plan.seed} {instance}")
        self._left = lot.randint(*plan.lives) if plan.lives else None
        self._after = lot.random() < 0.5

    def begin(self) -> None:
        """Before a request is sent."""
        if self._left is not None:
            self._left -= 1
            if not self._after:
                self._check()

    def end(self) -> None:
        """When its reply has come, and nobody has seen it yet."""
        if self._after:
            self._check()

    def _check(self) -> None:
        if self._left is None or self._left > 0:
            return
        keys = [key for key, count in _at_work.items() if count]
        with (self._folder / DEATHS).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            died = Counter(file.read().splitlines())
            if any(died[key] >= _most(key) for key in keys):
                return
            file.write("".join(f"{key}\n" for key in ["-", *keys]))
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def _most(key: str) -> int:
    return _MOST_DEATHS if key.endswith(".json") else _MOST_DEATHS_OF_A_REQUEST


def _count(death: Death) -> None:
    """Every I/O step of this process is one of the death's from now on."""
    send: Callable[..., Any] = AioHttpTransport.send
    handle: Callable[..., Any] = httpx.AsyncHTTPTransport.handle_async_request

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        async def step(*args: Any, **options: Any) -> Any:
            tally = _requests.get()
            if tally is not None:
                tally.append(1)
            death.begin()
            response = await original(*args, **options)
            death.end()
            return response

        return step

    AioHttpTransport.send = counted(send)
    httpx.AsyncHTTPTransport.handle_async_request = counted(handle)  # type: ignore[method-assign]


# --- An instance -------------------------------------------------------------------------------------


class Everything(logging.Handler):
    """Every log record, whatever its level, with its stack trace and its extras, to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)} {record.args!r} {vars(record)!r}\n")


Function = Callable[..., Awaitable[Any]]


def _functions() -> Mapping[str, Function]:
    """The bundle's own functions, by their names."""
    import function_app

    return {
        str(each.get_function_name()): each.get_user_function() for each in function_app.app.get_functions()
    }


class Instance:
    """One process of the app."""

    def __init__(self, plan: Plan, name: str, functions: Mapping[str, Function]) -> None:
        self._plan = plan
        self._name = name
        self._functions = functions

    async def live(self, listening: socket.socket) -> None:
        """Serves HTTP and does what it is told, until it dies."""
        _count(Death(self._plan, self._name))
        app().storage.clock = SharedClock(Path(self._plan.folder))
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening, backlog=1000).start()
        reader, writer = await asyncio.open_unix_connection(self._plan.control)
        writer.write(f"{self._name}\n".encode())
        orders = set()
        while line := await reader.readline():
            task = asyncio.create_task(self._do(json.loads(line), writer))
            orders.add(task)
            task.add_done_callback(orders.discard)

    async def _do(self, order: dict[str, str], writer: asyncio.StreamWriter) -> None:
        tally: list[int] = []
        _requests.set(tally)
        how = "done"
        try:
            await self._functions[order["function"]](_argument(order))
        except Exception:
            # As the platform does: what a function raises is logged, and the host tries again.
            logging.getLogger("platform").exception("%s failed", order["function"])
            how = "failed"
        writer.write(
            json.dumps({"order": order["order"], "how": how, "requests": len(tally)}).encode() + b"\n"
        )

    async def _answer(self, request: web.Request) -> web.Response:
        """As the platform hands a request to the function, and its answer back."""
        asked = func.HttpRequest(
            method=request.method,
            url=f"http://{request.host}{request.raw_path}",
            headers=dict(request.headers),
            params=dict(request.query),
            route_params={"path": request.path.lstrip("/")},
            body=await request.read(),
        )
        try:
            reply = await self._functions["http_api"](asked, None)
        except Exception:
            logging.getLogger("platform").exception("http_api failed")
            return web.Response(status=500)
        # Pairs: there may be several cookies.
        headers = CIMultiDict(
            (name, value) for name, value in reply.headers.items() if name.lower() != "content-length"
        )
        return web.Response(status=reply.status_code, headers=headers, body=reply.get_body())


def _argument(order: dict[str, str]) -> Any:
    """What the function's binding gives it."""
    if order["function"] == "start_conversion":
        return SimpleNamespace(blob_name=order["argument"])
    return SimpleNamespace(id=order.get("message"), get_json=lambda: json.loads(order["argument"]))


def _lasting[**P](sign: Callable[P, Awaitable[str]]) -> Callable[P, Awaitable[str]]:
    """Signs with the time at which a SAS expires moved to storage's own clock, which nobody can set."""

    async def signed(*args: P.args, **kwargs: P.kwargs) -> str:
        ahead = datetime.now(UTC) - app().storage.now()
        moved = [each + ahead if isinstance(each, datetime) else each for each in args]
        return await sign(*moved, **kwargs)  # type: ignore[arg-type]

    return signed


async def _hardly(transport: object, seconds: float) -> None:
    await asyncio.sleep(0.01)


def _fork(plan: Plan, name: str, functions: Mapping[str, Function], listening: socket.socket) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        die_with_parent(parent)
        log = (Path(plan.folder) / f"{name}.log").open("w")
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        asyncio.run(Instance(plan, name, functions).live(listening))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


def main() -> None:
    """Keeps as many instances alive as it is asked to, until it is killed itself."""
    content = json.loads(sys.stdin.readline())
    plan = Plan(**content | {"lives": content["lives"] and tuple(content["lives"])})
    tempfile.tempdir = plan.folder
    Lifecycle.advance = _told(Lifecycle.advance, lambda name: name)  # type: ignore[method-assign, assignment]
    Lifecycle.consider = _told(Lifecycle.consider, paths.record)  # type: ignore[method-assign, assignment]
    worker.Worker.run = _told(worker.Worker.run, lambda key: key)  # type: ignore[method-assign, assignment]
    # Real seconds, in which nothing happens: between the tries of a callback, and of a storage client.
    worker._CALLBACK_WAITS = (0.01, 0.01)
    AsyncHttpTransport.sleep = _hardly  # type: ignore[method-assign, assignment]
    Signer.container_sas = _lasting(Signer.container_sas)  # type: ignore[method-assign, assignment]
    Signer.blob_sas = _lasting(Signer.blob_sas)  # type: ignore[method-assign, assignment]
    functions = _functions()
    vars(app())["_converter"] = Copier()
    # After what the bundle does itself about talkative loggers.
    logging.getLogger().addHandler(Everything())
    logging.getLogger().setLevel(logging.DEBUG)
    listening = socket.create_server(("127.0.0.1", 0), backlog=1000)
    print(listening.getsockname()[1], flush=True)
    lives: dict[int, tuple[int, int]] = {}
    for number in range(plan.instances):
        lives[_fork(plan, f"{number}-0", functions, listening)] = (number, 0)
    while True:
        process, status = os.wait()
        number, life = lives.pop(process)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            print(f"instance {number}-{life} ended by itself: its log says why", flush=True)
            return
        lives[_fork(plan, f"{number}-{life + 1}", functions, listening)] = (number, life + 1)


if __name__ == "__main__":
    main()
