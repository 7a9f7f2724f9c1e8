"""Storage refuses the service, and whoever starts the conversion anew is killed: one restart, and one end."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from local.azurite import Azurite
from shared import paths
from shared.conversion import Status
from tests.faults.killing import (
    MODEL,
    MTL,
    OBJ,
    VENDOR,
    Interruption,
    Victims,
    both_ways,
    kill_everywhere,
    run_requests,
)
from tests.pipeline import Pipeline

PAST = datetime(2026, 1, 1, tzinfo=UTC)
RENEWED = ("sas-renewed",)


@contextmanager
def expired_tokens(pipeline: Pipeline) -> Iterator[None]:
    """What is signed for the service has ended when it gets it."""
    signer = pipeline.app.signer
    container_sas, blob_sas = signer.container_sas, signer.blob_sas

    async def of_container(container: str, permissions: str, expires: datetime, **_: Any) -> str:
        return await container_sas(container, permissions, PAST)

    async def of_blob(container: str, name: str, permissions: str, expires: datetime, **_: Any) -> str:
        return await blob_sas(container, name, permissions, PAST)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(signer, "container_sas", of_container)
        patched.setattr(signer, "blob_sas", of_blob)
        yield


async def denied(pipeline: Pipeline) -> tuple[str, ...]:
    """The service has said so, when it had written one file; the pipeline has not looked yet."""
    await pipeline.upload("parts/box.mtl", MTL)
    with expired_tokens(pipeline):
        await pipeline.drop(MODEL, OBJ)
        await pipeline.transfer()
        if pipeline.app.settings.max_in_flight:
            pipeline.later(1)
            await pipeline.app.tick.run()
    record = await pipeline.record(MODEL)
    assert record is not None
    folder = paths.outputs(MODEL, record.id)
    await pipeline.app.storage.put(
        pipeline.app.settings.converted_container, f"{folder}/box.glb", b"half", content_type="model/gltf"
    )
    await run_requests(pipeline)
    return (paths.record(MODEL), record.id)


async def denied_to_the_tick(pipeline: Pipeline) -> tuple[str, ...]:
    """There is no message, or it was lost."""
    await denied(pipeline)
    return ()


async def denied_to_the_tick_that_counts(pipeline: Pipeline) -> tuple[str, ...]:
    """It is to be handed out anew."""
    return await denied_to_the_tick(pipeline)


async def denied_at_api2convert(pipeline: Pipeline) -> tuple[str, ...]:
    """Where what was packed for the first order is packed again for the second."""
    return await denied_to_the_tick(pipeline)


async def denied_and_waiting(pipeline: Pipeline) -> tuple[str, ...]:
    """For the tick that counts: the one before has asked the service."""
    await denied(pipeline)
    pipeline.later(10)
    await pipeline.app.tick.run()
    record = await pipeline.record(MODEL)
    assert record is not None and record.denied_at is not None and not record.ordered
    return ()


async def denied_twice(pipeline: Pipeline) -> tuple[str, ...]:
    """The second order's tokens are no better; that is the failure."""
    await denied(pipeline)
    pipeline.later(10)
    with expired_tokens(pipeline):
        await pipeline.app.tick.run()
    await run_requests(pipeline)
    record = await pipeline.record(MODEL)
    assert record is not None and record.denied_at is not None and record.status is Status.PENDING
    return ()


@both_ways(
    Interruption(denied, "transfer_files", points=9, jobs=2, warnings=RENEWED),
    Interruption(denied_to_the_tick, "poll_conversions", points=10, jobs=2, ahead=10, warnings=RENEWED),
    Interruption(
        denied_at_api2convert,
        "poll_conversions",
        points=25,
        jobs=0,
        ahead=10,
        warnings=RENEWED,
        settings=VENDOR,
    ),
    Interruption(
        denied_to_the_tick_that_counts,
        "poll_conversions",
        points=6,
        jobs=2,
        ahead=10,
        warnings=RENEWED,
        settings={"max_in_flight": 1},
    ),
    Interruption(
        denied_and_waiting,
        "poll_conversions",
        points=10,
        jobs=2,
        ahead=10,
        warnings=RENEWED,
        settings={"max_in_flight": 1},
    ),
    Interruption(
        denied_twice,
        "poll_conversions",
        points=12,
        jobs=2,
        ahead=10,
        warnings=RENEWED,
        errors=("storage-denied",),
    ),
)
async def test_killed_at_any_point_a_restart_with_new_tokens_is_the_only_one(
    azurite: Azurite, victims: Victims, interruption: Interruption, again: bool
) -> None:
    await kill_everywhere(azurite, victims, interruption, again=again)
