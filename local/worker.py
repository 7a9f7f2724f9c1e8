"""The worker process: calls `azure_functions_runtime` as Azure's own proxy worker does.

Azure's worker is a thin gRPC forwarder around that library; this one forwards
over a socket that the host made. Started as
`python -m local.worker <socket fd> <host pid> <folder of the function app>`.
"""

import asyncio
import json
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

import azure_functions_runtime as library

from local import channel
from local.processes import die_with_parent
from local.protos import load

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every log record has; the rest came from `extra`."""

LEVELS = {10: "Debug", 20: "Information", 30: "Warning", 40: "Error", 50: "Critical"}


class WorkerRequest(NamedTuple):
    """The shape in which the proxy worker hands a message to the library."""

    name: str
    request: Any
    properties: dict[str, Any]


class HostLog(logging.Handler):
    """Sends log records to the host, with their `extra` as properties.

    Azure's gRPC log carries no `extra`; there it reaches Application Insights
    by OpenTelemetry, which this host has not.
    """

    def __init__(self, protos: SimpleNamespace, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._protos = protos
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(record)
        except Exception:
            self.handleError(record)

    def _send(self, record: logging.LogRecord) -> None:
        extra = {key: value for key, value in vars(record).items() if key not in STANDARD}
        log = self._protos.RpcLog(
            invocation_id=library.invocation_id_cv.get() or "",
            category=record.name,
            level=getattr(self._protos.RpcLog, LEVELS.get(record.levelno // 10 * 10, "Trace")),
            message=record.getMessage(),
            properties=json.dumps(extra, default=str),
        )
        if record.exc_info and record.exc_info[1]:
            log.exception.stack_trace = logging.Formatter().formatException(record.exc_info)
        frame = channel.frame(self._protos.StreamingMessage(rpc_log=log))
        # At once in the loop's own thread, so that a function's records precede its reply.
        if threading.get_ident() == self._thread:
            self._writer.write(frame)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._writer.write, frame)


async def serve(connection: socket.socket) -> NoReturn:
    """Answers the host, invocations concurrently; ends the process when it closes the connection."""
    protos = load()
    reader, writer = await asyncio.open_connection(sock=connection)
    logging.basicConfig(level=logging.INFO, handlers=[HostLog(protos, writer)])
    library.start_threadpool_executor()
    properties = {"protos": protos, "host": "127.0.0.1"}
    running: set[asyncio.Task[None]] = set()

    async def answer(message: Any, kind: str) -> None:
        request = WorkerRequest(kind, message, properties)
        reply = protos.StreamingMessage(request_id=message.request_id)
        match kind:
            case "worker_init_request":
                reply.worker_init_response.CopyFrom(await library.worker_init_request(request))
            case "functions_metadata_request":
                reply.function_metadata_response.CopyFrom(await library.functions_metadata_request(request))
            case "function_load_request":
                reply.function_load_response.CopyFrom(await library.function_load_request(request))
            case "invocation_request":
                library.invocation_id_cv.set(message.invocation_request.invocation_id)
                reply.invocation_response.CopyFrom(await library.invocation_request(request))
        writer.write(channel.frame(reply))

    while (message := await channel.read(reader)) is not None:
        task = asyncio.create_task(answer(message, message.WhichOneof("content")))
        running.add(task)
        task.add_done_callback(running.discard)
    # Not through the interpreter's own exit: it would wait for threads of functions still running.
    os._exit(0)


def main() -> None:
    """Takes over the process."""
    fd, parent, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    die_with_parent(parent)
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    asyncio.run(serve(socket.socket(fileno=fd)))


if __name__ == "__main__":
    main()
