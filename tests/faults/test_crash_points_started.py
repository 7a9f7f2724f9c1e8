"""Whoever works on a started conversion is killed: it ends, once, and nothing is left (promise 4)."""

from local.azurite import Azurite
from shared import paths
from tests.faults.killing import (
    MODEL,
    MTL,
    OBJ,
    TRANSLATED,
    VENDOR,
    Interruption,
    Victims,
    both_ways,
    kill_everywhere,
    run_requests,
)
from tests.pipeline import Pipeline


async def ordered(pipeline: Pipeline) -> tuple[str, ...]:
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.drop(MODEL, OBJ)
    (request,) = await pipeline.requests()
    return (request, "message")


async def converted(pipeline: Pipeline) -> tuple[str, ...]:
    """By the service, which has called back; the pipeline has not looked yet."""
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.drop(MODEL, OBJ)
    await run_requests(pipeline)
    record = await pipeline.record(MODEL)
    assert record is not None
    return (paths.record(MODEL), record.id)


async def converted_at_api2convert(pipeline: Pipeline) -> tuple[str, ...]:
    """Where the outputs are brought, and the job and what was packed for it are deleted."""
    await converted(pipeline)
    return ()


async def converted_at_model_derivative(pipeline: Pipeline) -> tuple[str, ...]:
    """Where the outputs are brought, and the uploads are deleted; a start waits for the tick."""
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.drop(MODEL, OBJ)
    pipeline.later(1)
    await pipeline.app.tick.run()
    await run_requests(pipeline)
    return ()


async def converted_again(pipeline: Pipeline) -> tuple[str, ...]:
    """A newer version is converted, and the manifest is about the older one."""
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.convert(MODEL, OBJ)
    await pipeline.drop(MODEL, OBJ + b"# newer\n")
    await run_requests(pipeline)
    return ()


async def called_back(pipeline: Pipeline) -> tuple[str, ...]:
    await converted(pipeline)
    record = await pipeline.record(MODEL)
    assert record is not None
    url = pipeline.app.callbacks.url(record)
    assert url is not None
    return (url[url.index("/callbacks/") :],)


@both_ways(
    Interruption(ordered, "embedded_worker", points=9),
    Interruption(converted, "transfer_files", points=9),
    Interruption(converted_at_api2convert, "poll_conversions", points=15, jobs=0, ahead=10, settings=VENDOR),
    Interruption(
        converted_at_model_derivative, "poll_conversions", points=15, jobs=0, ahead=10, settings=TRANSLATED
    ),
    Interruption(converted_again, "poll_conversions", points=18, jobs=2, ahead=10),
    Interruption(called_back, "callback", points=1),
)
async def test_killed_at_any_point_what_was_started_ends_once_and_leaves_nothing(
    azurite: Azurite, victims: Victims, interruption: Interruption, again: bool
) -> None:
    await kill_everywhere(azurite, victims, interruption, again=again)
