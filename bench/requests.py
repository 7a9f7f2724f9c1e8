"""How many requests one conversion takes, by each of the three APIs, against the project's budgets.

A single file, in a folder, becomes one output. The engine is a copier: what a real one does asks nothing of
storage. What many conversions share is not counted: the tick's listing and lock, tokens, buckets, catalogues.

    python -m bench.requests
"""

import asyncio
import json
from dataclasses import dataclass

from bench.tables import table
from local.azurite import Azurite
from shared.clients import Progress
from shared.conversion import ServiceName, Status
from shared.formats import API2CONVERT, MODEL_DERIVATIVE, REMOTE_RENDERING
from tests.copier import Copier
from tests.parted import Ledger, Parted, parted
from tests.shapes import sample

OUTPUTS: dict[ServiceName, str] = {REMOTE_RENDERING: "glb", API2CONVERT: "glb", MODEL_DERIVATIVE: "obj"}
_CALLS = {REMOTE_RENDERING: 1, API2CONVERT: 4, MODEL_DERIVATIVE: 7}
_FETCHES = {REMOTE_RENDERING: 0, API2CONVERT: 1, MODEL_DERIVATIVE: 2}


@dataclass(frozen=True)
class Counted:
    """One conversion: every request, how often the service was asked how it stands, and how many derivatives
    were made."""

    service: ServiceName
    ledger: Ledger
    polls: int
    derivatives: int

    @property
    def storage_budget(self) -> int:
        """What the pipeline may ask of storage: a poll is a read and a conditional write, and a derivative
        that it copies itself a write."""
        copied = 0 if self.service == REMOTE_RENDERING else self.derivatives
        return 16 + 2 * self.polls + copied

    @property
    def calls(self) -> int:
        """The service requests. An address of the service's own storage, to which a download is sent on,
        is none."""
        return len(self.ledger.calls) - self.redirected

    @property
    def redirected(self) -> int:
        """The downloads that were sent on to storage."""
        return sum(line.startswith("GET /devstoreaccount1/") for line in self.ledger.calls)

    @property
    def calls_budget(self) -> int:
        """What the pipeline may ask of the service."""
        return _CALLS[self.service] + self.polls + _FETCHES[self.service] * self.derivatives

    @property
    def files(self) -> int:
        """How often the embedded service reads or writes a model, an output or a report."""
        fetched = sum(line.startswith("GET ") for line in self.ledger.callbacks)
        return sum(line.endswith(" file") for line in self.ledger.service) + fetched

    @property
    def embedded(self) -> int:
        """What the embedded service asks of storage."""
        fetched = sum(line.startswith("GET ") for line in self.ledger.callbacks)
        return len(self.ledger.service) + fetched

    @property
    def embedded_budget(self) -> int:
        """What the embedded service may ask of storage: to answer a poll it reads the request's record."""
        return 6 + self.files + self.polls


async def counted(azurite: Azurite, service: ServiceName) -> Counted:
    """The second conversion of a bundle: the first one also fetches tokens, and makes a bucket."""
    changes = {
        "embedded_apis": ",".join(OUTPUTS),
        "default_service": service,
        "default_formats": json.dumps([{"type": OUTPUTS[service]}]),
    }
    async with parted(azurite, converter=Copier(), **changes) as bundle:
        await _convert(bundle, service, "first/cube.stl")
        return await _convert(bundle, service, "second/cube.stl")


async def _convert(bundle: Parted, service: ServiceName, path: str) -> Counted:
    await bundle.upload(path, sample("cube.stl"))
    client = bundle.pipeline.services[service]
    poll, polls = client.poll, 0

    async def counting(service_id: str) -> Progress:
        nonlocal polls
        polls += 1
        return await poll(service_id)

    bundle.ledger.take()
    client.poll = counting  # type: ignore[method-assign]
    await bundle.event(path)
    await bundle.settle()
    client.poll = poll  # type: ignore[method-assign]
    ledger = bundle.ledger.take()
    manifest = await bundle.manifest(path)
    assert manifest.status is Status.SUCCESS, manifest.errors
    return Counted(service, ledger, polls, len(manifest.derivatives))


async def main() -> None:
    """Prints the counts and the budgets."""
    azurite = Azurite.start()
    try:
        found = [await counted(azurite, service) for service in OUTPUTS]
    finally:
        azurite.stop()
    print("### Requests per conversion")
    table(
        (
            "service",
            "polls",
            "pipeline to storage",
            "budget",
            "pipeline to service",
            "budget",
            "embedded service to storage",
            "of these for files",
            "budget",
        ),
        (
            (
                one.service,
                one.polls,
                len(one.ledger.pipeline),
                one.storage_budget,
                one.calls,
                one.calls_budget,
                one.embedded,
                one.files,
                one.embedded_budget,
            )
            for one in found
        ),
    )


if __name__ == "__main__":
    asyncio.run(main())
