"""The host's side of the worker process: starts it, calls functions in it, restarts it when it dies."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local import channel
from local.bindings import AppBroken, Function, function
from local.log import Log
from local.places import ROOT
from local.protos import load

HOST_VERSION = "4.1040.0"
"""Reported to the worker, as the .NET host reports its own."""

STOP_SECONDS = 5
RESTART_SECONDS = 1


class InvocationFailed(Exception):
    """The function raised; its stack trace is in the log."""


class WorkerDied(Exception):
    """The worker process ended before it answered: the invocation may have done anything."""


class Runtime:
    """One worker process, and the functions of `app` (a folder) in it.

    `timeout` in seconds, or None: an invocation that takes longer costs the worker its life, as in Azure.
    """

    def __init__(self, app: Path, environment: Mapping[str, str], log: Log, *, timeout: float | None) -> None:
        self._app = app
        self._environment = dict(environment)
        self._log = log
        self._timeout = timeout
        self._protos = load()
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ready = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._names: dict[str, str] = {}
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the worker process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> tuple[Function, ...]:
        """The app's functions, indexed by the runtime library. Raises `AppBroken`."""
        reading = await self._spawn()
        try:
            functions = await self._index()
        except (AppBroken, WorkerDied) as error:
            reading.cancel()
            await self._kill()
            raise AppBroken(str(error)) from error
        self._ready.set()
        self._supervisor = asyncio.create_task(self._supervise(reading))
        return functions

    async def stop(self) -> None:
        """Ends the worker and whatever it started."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        await self._kill()

    async def invoke(
        self, called: Function, data: Any, metadata: Mapping[str, Any] | None = None
    ) -> Any | None:
        """Calls a function with `data` (TypedData) for its trigger, and returns its TypedData, if any.

        Waits while the worker restarts. Raises `InvocationFailed` or `WorkerDied`.
        """
        await self._ready.wait()
        invocation = str(uuid.uuid4())
        request = self._protos.InvocationRequest(invocation_id=invocation, function_id=called.id)
        request.input_data.add(name=called.trigger["name"], data=data)
        for name, value in (metadata or {}).items():
            request.trigger_metadata[name].CopyFrom(value)
        request.trace_context.trace_parent = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
        self._names[invocation] = called.name
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._ask(invocation_request=request)
        except TimeoutError:
            self._log.write("Error", f"ran longer than {self._timeout} s", function=called.name)
            self._ready.clear()  # no other invocation may start in a worker that is about to die
            self._signal_worker()
            raise WorkerDied(f"{called.name} ran longer than {self._timeout} s") from None
        finally:
            del self._names[invocation]
        response = reply.invocation_response
        seconds = asyncio.get_running_loop().time() - started
        if response.result.status != self._protos.StatusResult.Success:
            thrown = response.result.exception
            self._log.write(
                "Error",
                f"failed after {seconds:.3f} s: {thrown.message}",
                function=called.name,
                invocation=invocation,
                exception=thrown.stack_trace,
            )
            raise InvocationFailed(f"{called.name}: {thrown.message}")
        self._log.write(
            "Debug", "returned", function=called.name, invocation=invocation, dimensions={"seconds": seconds}
        )
        return response.return_value if response.HasField("return_value") else None

    async def _spawn(self) -> asyncio.Task[None]:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "local.worker", str(theirs.fileno()), str(os.getpid()), str(self._app)),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the host, which stops the worker
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        return asyncio.create_task(self._read(reader, self._writer))

    async def _index(self) -> tuple[Function, ...]:
        init = self._protos.WorkerInitRequest(
            host_version=HOST_VERSION, function_app_directory=str(self._app)
        )
        reply = await self._ask(worker_init_request=init)
        result = reply.worker_init_response.result
        if result.status != self._protos.StatusResult.Success:
            raise AppBroken(f"{self._app}: {result.exception.message}\n{result.exception.stack_trace}")
        wanted = self._protos.FunctionsMetadataRequest(function_app_directory=str(self._app))
        listed = (await self._ask(functions_metadata_request=wanted)).function_metadata_response
        for metadata in listed.function_metadata_results:
            load_request = self._protos.FunctionLoadRequest(
                function_id=metadata.function_id, metadata=metadata
            )
            await self._ask(function_load_request=load_request)
        functions = tuple(function(metadata) for metadata in listed.function_metadata_results)
        if not functions:
            raise AppBroken(f"{self._app}: no function found in it")
        return functions

    async def _ask(self, **content: Any) -> Any:
        request_id = str(uuid.uuid4())
        answer = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        try:
            assert self._writer is not None
            self._writer.write(channel.frame(self._protos.StreamingMessage(request_id=request_id, **content)))
            return await answer
        finally:
            del self._waiting[request_id]

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ends when the worker's connection does; whoever waits for it learns so."""
        try:
            while (message := await channel.read(reader)) is not None:
                if message.WhichOneof("content") == "rpc_log":
                    self._relay(message.rpc_log)
                elif message.request_id in self._waiting:
                    answer = self._waiting[message.request_id]
                    if not answer.done():
                        answer.set_result(message)
        finally:
            self._ready.clear()
            writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(WorkerDied("the worker process ended before it answered"))

    async def _supervise(self, reading: asyncio.Task[None]) -> None:
        while True:
            await reading
            await self._kill()
            assert self._process is not None
            self._log.write("Error", f"the worker ended with status {self._process.returncode}; restarting")
            try:
                reading = await self._spawn()
                await self._index()
            except (AppBroken, WorkerDied) as error:
                self._log.write("Error", f"the worker does not start again: {error}")
                await self._kill()
                await asyncio.sleep(RESTART_SECONDS)
            else:
                self._ready.set()

    async def _kill(self) -> None:
        """Closes the connection, on which the worker ends; else kills its whole process group."""
        if self._writer is not None:
            self._writer.close()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
        self._signal_worker()
        if self._process is not None:
            await self._process.wait()

    def _signal_worker(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _relay(self, record: Any) -> None:
        level = self._protos.RpcLog.Level.Name(record.level)
        self._log.write(
            level,
            record.message,
            function=self._names.get(record.invocation_id, "worker"),
            invocation=record.invocation_id,
            logger=record.category,
            exception=record.exception.stack_trace,
            dimensions=json.loads(record.properties),
        )
