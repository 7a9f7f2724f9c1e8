"""Works off one request of the embedded service: fetch, convert, write, say how it ended.

The worker may be killed between any two lines. Its queue message then comes again, and the next run
starts over: it writes the same files under the same names, and only one run can end the request.
"""

import asyncio
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from azure.core.exceptions import AzureError

from shared.embedded.containers import Container, Containers, Read, Unreachable
from shared.embedded.engine.job import Job, Limits, Made, Result, Warning_
from shared.embedded.inputs import Inputs, fetch
from shared.embedded.reports import ASSET_IS_GLB, info_json, info_name, result_json, result_name, stem
from shared.embedded.requests import Error, Held, Lost, Record, Request, Requests, State
from shared.outbound import Outbound
from shared.problems import Code, Problem
from shared.settings import Settings
from shared.storage import Conflict
from shared.telemetry import event, where

_MOST_TRIES = 2
_FOLDER = "modelconversion"

#: What begins the queue messages that are deliveries of the watcher, and no requests.
DELIVERIES = "webhooks/"

_JSON = "application/json"
_ASSET = ".arrAsset"
_CALLBACK_WAITS = (1.0, 5.0)


class Converts(Protocol):
    """What the worker needs of :class:`shared.embedded.converter.Converter`."""

    async def convert(self, job: Job) -> Result: ...


class Watches(Protocol):
    """Who is told how requests fare, and makes the deliveries that it put into the queue."""

    async def changed(self, record: Record) -> None:
        """A request runs now, or has ended; of an end that is told twice, the second is ignored."""

    async def lost(self, request: Request) -> None:
        """A run found its request taken over by another, or deleted; whatever it wrote is there."""

    async def deliver(self, key: str) -> None:
        """The queue message of a delivery has come."""


class Runner(Protocol):
    """The work of an API whose requests are more than one conversion from place to place."""

    async def run(self, held: Held, folder: Path) -> Mapping[str, Any]:
        """Does what a request asks, with ``folder`` for its files; the request's result.

        Raises:
            Problem: the request cannot be done.
            Lost: another run has taken it over.
        """

    async def fail(self, request: Request, error: Error) -> None:
        """Tells that a request has ended without what it asks."""


class Retry(Exception):
    """The run ended without an end of the request: the queue is to deliver the message again."""


class Worker:
    """Runs requests, one at a time."""

    def __init__(
        self,
        settings: Settings,
        requests: Requests,
        containers: Containers,
        converter: Converts,
        outbound: Outbound,
        runners: Mapping[str, Runner] | None = None,
        watcher: Watches | None = None,
    ) -> None:
        """``runners`` do the requests of the APIs that they are named after."""
        self._runners = runners or {}
        self._settings = settings
        self._requests = requests
        self._containers = containers
        self._converter = converter
        self._outbound = outbound
        self._watcher = watcher

    async def run(self, key: str, message_id: str) -> None:
        """Works off the request ``key``, which the queue message ``message_id`` brought.

        Returns when there is nothing left to do: the request has ended, by this run or another, or another
        run is at it.

        Raises:
            Retry: something failed that may work later; the queue's next delivery tries again.
        """
        held = None
        try:
            if key.startswith(DELIVERIES):
                if self._watcher is not None:
                    await self._watcher.deliver(key)
                return
            held = await self._requests.claim(key, message_id)
            if held is None:
                await self._tell(await self._requests.status(key))
                return
            await self._tell(held.record)
            _event("request.started", held.record.request, tries=held.record.tries)
            if held.record.tries > _MOST_TRIES:
                ended = await self._give_up(held)
            else:
                ended = await self._work(held)
        except Lost:
            service, _, service_id = key.partition("/")
            event("request.taken-over", service=service, service_id=service_id)
            if held is not None and self._watcher is not None:
                await self._watcher.lost(held.record.request)
            return
        except (AzureError, Conflict) as fault:
            reason = f"the bundle's own storage failed: {type(fault).__name__}"
            if held is not None and held.record.tries <= _MOST_TRIES:
                # Where even that fails, the run has died as far as the next one can tell.
                with suppress(Lost, AzureError, Conflict):
                    await self._release(held, f"The conversion broke off: {reason}.")
            raise Retry(f"{key}: {reason}") from None
        assert ended.finished is not None
        _event(
            "request.ended",
            ended.request,
            state=ended.state.value,
            code=ended.error.code if ended.error else None,
            message=ended.error.message if ended.error else None,
            seconds=round((ended.finished - ended.created).total_seconds(), 3),
        )
        if held.record.request.callback is not None:
            await self._call_back(held.record.request.callback, ended)
        try:
            await self._tell(ended)
        except (AzureError, Conflict) as fault:
            raise Retry(f"{key}: the bundle's own storage failed: {type(fault).__name__}") from None

    async def _tell(self, record: Record | None) -> None:
        """Tells of a request that runs or has ended: also of an end whose run died before it told."""
        if self._watcher is not None and record is not None and record.state is not State.CREATED:
            await self._watcher.changed(record)

    async def _work(self, held: Held) -> Record:
        request = held.record.request
        try:
            async with _temporary_folder() as folder:
                if runner := self._runners.get(request.api):
                    result = await runner.run(held, folder)
                    return await self._requests.finish(held, State.SUCCEEDED, result=result)
                return await self._convert(held, folder)
        except Problem as problem:
            return await self._fail(held, Error(code=problem.code, message=problem.message))
        except Unreachable as fault:
            await self._release(held, str(fault))
            raise Retry(f"{request.key}: {fault}") from None
        except (Lost, AzureError, Conflict):
            raise
        except OSError as error:
            return await self._fail(held, _disk_error(error))
        except Exception as bug:
            # Its text may hold anything, so only its kind and place are told.
            _event("request.bug", request, level=logging.ERROR, bug=type(bug).__name__, where=where(bug))
            message = f"The service failed ({type(bug).__name__}). Report this, with the id {request.id}."
            return await self._fail(held, Error(code=Code.INTERNAL, message=message))

    async def _release(self, held: Held, fault: str) -> None:
        """Gives the request back for another run, with what it ends with if there is to be none."""
        message = f"{fault} Tried {_MOST_TRIES} times."
        await self._requests.release(held, Error(code=Code.SERVICE_UNAVAILABLE, message=message))

    async def _convert(self, held: Held, folder: Path) -> Record:
        request = held.record.request
        incoming, outgoing = folder / "in", folder / "out"
        for each in (incoming, outgoing):
            await asyncio.to_thread(each.mkdir)
        async with self._containers.open(request.source) as source:
            inputs = await fetch(source, request, incoming, self._settings)
        result = await self._converter.convert(self._job(request, inputs, incoming, outgoing))
        warnings = [*inputs.warnings, *result.warnings]
        if result.error is not None:
            error = Error(code=result.error.code, message=result.error.message)
            return await self._fail(held, error, warnings)
        if request.outputs[0].name.endswith(_ASSET):
            warnings.append(Warning_(ASSET_IS_GLB, "The asset holds glb", {"file": request.outputs[0].name}))
        async with self._containers.open(request.target) as target:
            for made in result.made:
                name = request.target.prefix + made.name
                await target.upload(name, outgoing / made.name, made.content_type)
            written = [_entry(request, made) for made in result.made]
            info = info_json(request.model.rpartition("/")[2], _asked_name(request), result.info)
            written.append(await _report(target, request, info_name(request.model), "info", info))
            report = result_json(request.id, warnings, None)
            written.append(await _report(target, request, result_name(request.model), "result", report))
        return await self._requests.finish(
            held,
            State.SUCCEEDED,
            result=_result(written, warnings, result.statistics) | _version(inputs.read),
        )

    def _job(self, request: Request, inputs: Inputs, incoming: Path, outgoing: Path) -> Job:
        return Job(
            input_folder=str(incoming),
            model=inputs.model,
            output_folder=str(outgoing),
            outputs=request.outputs,
            settings=inputs.settings,
            limits=Limits(
                memory_mb=self._settings.engine_memory_mb,
                cpu_seconds=self._settings.engine_cpu_seconds,
                wall_seconds=self._settings.engine_wall_seconds,
                output_mb=self._settings.engine_output_mb,
            ),
            tree=request.tree,
        )

    async def _give_up(self, held: Held) -> Record:
        error = held.record.fault or Error(
            code=Code.GAVE_UP,
            message="The conversion killed its converter twice, so it is not tried again. "
            "Reduce the model, or convert it on a larger instance.",
        )
        return await self._fail(held, error)

    async def _fail(self, held: Held, error: Error, warnings: list[Warning_] | None = None) -> Record:
        """Ends the request as failed, with a result file if the target takes one."""
        request = held.record.request
        if runner := self._runners.get(request.api):
            await runner.fail(request, error)
            return await self._requests.finish(held, State.FAILED, error=error, result={})
        report = result_json(request.id, warnings or [], error)
        written: list[dict[str, Any]] = []
        try:
            async with self._containers.open(request.target) as target:
                written.append(await _report(target, request, result_name(request.model), "result", report))
        except (Problem, Unreachable) as unwritten:
            _event("request.no-result-file", request, level=logging.WARNING, message=str(unwritten))
        return await self._requests.finish(
            held, State.FAILED, error=error, result=_result(written, warnings or [], {})
        )

    async def _call_back(self, url: str, record: Record) -> None:
        """Tells the caller that there is an end to ask for. One that does not listen will ask anyway."""
        body = {"id": record.request.id, "state": record.state.value}
        for wait in (*_CALLBACK_WAITS, None):
            try:
                status = await self._outbound.post(url, body)
            except Problem as refused:
                reason = refused.message
                break
            except OSError as fault:
                reason = str(fault)
            else:
                if status < 500 and status != 429:
                    return
                reason = f"HTTP {status}"
            if wait is not None:
                await asyncio.sleep(wait)
        _event("request.callback-failed", record.request, level=logging.WARNING, message=reason)


def _event(name: str, request: Request, *, level: int = logging.INFO, **dimensions: Any) -> None:
    event(
        name,
        level=level,
        conversion_id=request.conversion_id,
        service=request.api,
        service_id=request.id,
        **dimensions,
    )


def _entry(request: Request, made: Made) -> dict[str, Any]:
    """A file as the request's result tells of it."""
    entry = {
        "path": request.target.prefix + made.name,
        "type": made.type,
        "size": made.size,
        "sha256": made.sha256,
        "contentType": made.content_type,
    }
    return entry if made.role is None else entry | {"role": made.role}


async def _report(target: Container, request: Request, name: str, type_: str, content: Any) -> dict[str, Any]:
    """Writes a JSON file beside the outputs; its entry in the result."""
    data = json.dumps(content, indent=1).encode()
    await target.write(request.target.prefix + name, data, _JSON)
    digest = hashlib.sha256(data).hexdigest()
    return _entry(request, Made(type_, name, len(data), digest, _JSON, role="report"))


def _result(
    outputs: list[dict[str, Any]], warnings: list[Warning_], statistics: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "outputs": outputs,
        "warnings": [
            {"code": warning.code, "title": warning.title, "details": dict(warning.details)}
            for warning in warnings
        ],
        "statistics": dict(statistics),
    }


def _version(read: Read | None) -> dict[str, Any]:
    return {} if read is None else {"modelETag": read.etag, "modelMD5": read.md5}


def _asked_name(request: Request) -> str | None:
    """The asset's name, where it is not the one that the model's would give."""
    name = request.outputs[0].name
    return name if name.endswith(_ASSET) and name != stem(request.model) + _ASSET else None


def _disk_error(error: OSError) -> Error:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Error(
            code=Code.TOO_LARGE,
            message="This instance has no disk left for the model and its outputs. Reduce the model, "
            "or ask for fewer formats.",
        )
    name = errno.errorcode.get(error.errno or 0, "unknown")
    return Error(code=Code.INTERNAL, message=f"The worker's file system failed ({name}). Try again.")


@asynccontextmanager
async def _temporary_folder() -> AsyncIterator[Path]:
    """A folder that goes when the run ends; also those of workers that were killed."""
    folder = await asyncio.to_thread(_make_folder)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _make_folder() -> Path:
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}-*-*"):
        pid = left.name.split("-")[1]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER}-{os.getpid()}-"))
