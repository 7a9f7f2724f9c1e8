"""Requests taken from their acceptance to their end, for tests."""

import json
from typing import Any

from shared.embedded.engine.job import Job, Output, Result
from shared.embedded.requests import Location, Record, Request, State
from tests.embedded.bundle import Bundle

GLB = (Output("glb", "box.glb"),)
ASSET = (Output("glb", "box.arrAsset"),)


class NeverCalled:
    """An engine for requests that must end before there is anything to convert."""

    async def convert(self, job: Job) -> Result:
        raise AssertionError("the engine was called")


async def accept(
    bundle: Bundle,
    model: str,
    outputs: tuple[Output, ...] = GLB,
    *,
    source: Location | None = None,
    target: Location | None = None,
    **more: Any,
) -> str:
    """Records the request "one", which writes into out/; its key."""
    record, _ = await bundle.requests.accept(
        Request(
            api="remote-rendering",
            id="one",
            source=source or bundle.source(),
            model=model,
            target=target or bundle.target("out/"),
            outputs=outputs,
            **more,
        )
    )
    return record.request.key


async def convert(bundle: Bundle, converter: Any, model: str, *args: Any, **more: Any) -> Record:
    """Accepts and runs one request; its record after that."""
    key = await accept(bundle, model, *args, **more)
    await bundle.worker(converter).run(key, "message")
    return await bundle.record(key)


async def failed(bundle: Bundle, converter: Any, model: str, **more: Any) -> tuple[str | None, str]:
    """Runs a request that must fail; the code and message it failed with."""
    record = await convert(bundle, converter, model, **more)
    assert record.state is State.FAILED
    assert record.error is not None
    assert record.request.source.sas is None
    return record.error.code, record.error.message


def code(record: Record) -> str | None:
    return record.error.code if record.error else None


async def report(bundle: Bundle, name: str = "out/box.result.json") -> list[dict[str, Any]]:
    """The entries of a result file."""
    data = await bundle.result(name)
    assert data is not None
    entries = json.loads(data)
    assert isinstance(entries, list)
    return entries
