"""The local host: the .NET host's listeners around Microsoft's own Python runtime library.

Never deployed. It starts Azurite unless the user's settings name a storage of
their own, hands every event to the worker process, and leaves nothing behind.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local.azurite import Azurite
from local.bindings import AppBroken, Function
from local.config import HostJson, app_settings, own_values
from local.cron import BadSchedule, Schedule
from local.listeners.blobs import BlobListener
from local.listeners.http import HttpListener
from local.listeners.queues import QueueListener
from local.listeners.timers import TimerListener
from local.log import Log
from local.runtime import Runtime

ENDPOINTS = "endpoints.json"


class AlreadyRunning(Exception):
    """Another host keeps this state folder."""


@dataclass(frozen=True)
class Endpoints:
    """What a running host can be used by; the content of endpoints.json."""

    functions: str
    storage: str
    account_id: str
    account_key: str


@dataclass(frozen=True)
class Host:
    """A running host."""

    endpoints: Endpoints
    functions: tuple[Function, ...]
    environment: Mapping[str, str]
    runtime: Runtime
    failed: "asyncio.Future[None]"
    """Raises when a listener ends, which none should."""

    async def during[T](self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, given up when the host breaks meanwhile."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait((task, self.failed), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.failed.result()
            return task.result()
        finally:
            task.cancel()


@contextlib.asynccontextmanager
async def running(
    app: Path, state: Path, environment: Mapping[str, str], *, level: str = "Information"
) -> AsyncIterator[Host]:
    """Runs the function app in the folder `app`, and keeps `state`/endpoints.json meanwhile.

    `environment` is the user's; what functions log from `level` on is also shown on the console.
    Raises `AlreadyRunning`, and `AppBroken`, `ConfigError` or `AzuriteFailed` where it cannot start.
    """
    own = own_values(app, environment)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_locked(state))
        log = Log(state / "host.log", level=level)
        stack.callback(log.close)
        storage = own.get("MODEL_STORAGE")
        if storage is None:
            storage = stack.enter_context(Azurite.start()).connection_string
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listening.getsockname()[1]
        settings = app_settings(own, storage, port)
        config = HostJson.read(app, settings)

        runtime = Runtime(app, settings, log, timeout=config.timeout)
        stack.push_async_callback(runtime.stop)
        functions = await runtime.start()

        failed = asyncio.get_running_loop().create_future()
        http = [function for function in functions if function.kind == "httpTrigger"]
        listener = HttpListener(http, runtime, config.route_prefix)
        await stack.enter_async_context(_serving(listener.application(), listening))
        await stack.enter_async_context(_listening(functions, runtime, settings, config, log, failed))

        endpoints = Endpoints(
            functions=f"http://127.0.0.1:{port}",
            storage=storage,
            account_id=settings["EMBEDDED_ACCOUNT_ID"],
            account_key=settings["EMBEDDED_ACCOUNT_KEY"],
        )
        stack.enter_context(_publishing(endpoints, state / ENDPOINTS))
        yield Host(endpoints, functions, settings, runtime, failed)


@contextlib.asynccontextmanager
async def _serving(application: web.Application, listening: socket.socket) -> AsyncIterator[None]:
    # No access log: addresses carry tokens.
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _listening(
    functions: tuple[Function, ...],
    runtime: Runtime,
    settings: Mapping[str, str],
    config: HostJson,
    log: Log,
    failed: "asyncio.Future[None]",
) -> AsyncIterator[None]:
    """Runs a listener for every trigger that is not HTTP."""
    async with contextlib.AsyncExitStack() as stack:
        blobs: dict[str, BlobServiceClient] = {}
        queues: dict[str, QueueServiceClient] = {}

        async def clients(function: Function) -> tuple[BlobServiceClient, QueueServiceClient]:
            connection = function.connection(settings)
            if connection not in blobs:
                blob = BlobServiceClient.from_connection_string(connection)
                blobs[connection] = await stack.enter_async_context(blob)
                queue = QueueServiceClient.from_connection_string(connection)
                queues[connection] = await stack.enter_async_context(queue)
            return blobs[connection], queues[connection]

        listeners: list[BlobListener | QueueListener | TimerListener] = []
        for function in functions:
            match function.kind:
                case "blobTrigger":
                    path = function.setting("path", settings)
                    listeners.append(
                        BlobListener(function, runtime, *await clients(function), path, config, log)
                    )
                case "queueTrigger":
                    queue = function.setting("queueName", settings)
                    _, service = await clients(function)
                    listeners.append(QueueListener(function, runtime, service, queue, config, log))
                case "timerTrigger":
                    listeners.append(TimerListener(function, runtime, _schedule(function, settings)))

        def ended(task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and not failed.done():
                failed.set_exception(task.exception() or AppBroken("a listener ended"))

        for listener in listeners:
            if not isinstance(listener, TimerListener):
                await listener.prepare()
        tasks = [asyncio.create_task(listener.run()) for listener in listeners]
        for task in tasks:
            task.add_done_callback(ended)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _schedule(function: Function, settings: Mapping[str, str]) -> Schedule:
    try:
        return Schedule.parse(function.setting("schedule", settings))
    except BadSchedule as error:
        raise AppBroken(f"{function.name}: {error}") from error


def published(state: Path) -> Endpoints | None:
    """What the host that keeps `state` can be used by; None until it is up."""
    try:
        return Endpoints(**json.loads((state / ENDPOINTS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"a host is running already; see {state / ENDPOINTS}") from None
        (state / ENDPOINTS).unlink(missing_ok=True)  # a killed host could not
        yield


@contextlib.contextmanager
def _publishing(endpoints: Endpoints, file: Path) -> Iterator[None]:
    # Owner only: with a storage of the user's own, it holds that storage's key. Renamed into place
    # when it is whole: others wait for it to appear.
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(asdict(endpoints), stream, indent=2)
    part.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
