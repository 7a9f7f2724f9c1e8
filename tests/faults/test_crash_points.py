"""Whoever accepts or starts a conversion is killed: it ends, once, and nothing is left (promise 4)."""

from local.azurite import Azurite
from tests.faults.killing import (
    MODEL,
    MTL,
    OBJ,
    VENDOR,
    Interruption,
    Victims,
    both_ways,
    kill_everywhere,
)
from tests.pipeline import Pipeline


async def landed(pipeline: Pipeline) -> tuple[str, ...]:
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.upload(MODEL, OBJ)
    return (MODEL,)


async def landed_with_a_wrong_sidecar(pipeline: Pipeline) -> tuple[str, ...]:
    await pipeline.upload("parts/conversion.json", b'{"formatz": []}')
    await pipeline.upload(MODEL, OBJ)
    return ()


async def landed_in_mid_flight(pipeline: Pipeline) -> tuple[str, ...]:
    """Another version, while the first is at the service."""
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.drop(MODEL, OBJ)
    await pipeline.upload(MODEL, OBJ + b"# newer\n")
    return (MODEL,)


async def landed_in_mid_flight_at_api2convert(pipeline: Pipeline) -> tuple[str, ...]:
    """Where the first has a job, and what was packed for it."""
    return await landed_in_mid_flight(pipeline)


async def landed_as_it_was(pipeline: Pipeline) -> tuple[str, ...]:
    """The version that has its manifest, while a newer one is at API2Convert."""
    await pipeline.upload("parts/box.mtl", MTL)
    await pipeline.convert(MODEL, OBJ)
    await pipeline.drop(MODEL, OBJ + b"# newer\n")
    await pipeline.upload(MODEL, OBJ)
    return (MODEL,)


async def waits_for_the_tick(pipeline: Pipeline) -> tuple[str, ...]:
    """Recorded only: the service has a limit, and the tick counts."""
    await pipeline.drop(MODEL, OBJ.partition(b"\n")[2])
    return ()


@both_ways(
    Interruption(landed, "start_conversion", points=15),
    Interruption(
        landed_with_a_wrong_sidecar, "find_missed_models", points=10, jobs=0, errors=("invalid-settings",)
    ),
    Interruption(landed_in_mid_flight, "start_conversion", points=15, jobs=2),
    Interruption(landed_in_mid_flight_at_api2convert, "start_conversion", points=30, jobs=0, settings=VENDOR),
    Interruption(landed_as_it_was, "start_conversion", points=15, jobs=0, settings=VENDOR),
    Interruption(waits_for_the_tick, "poll_conversions", points=10, ahead=1, settings={"max_in_flight": 1}),
)
async def test_killed_at_any_point_it_ends_once_and_leaves_nothing(
    azurite: Azurite, victims: Victims, interruption: Interruption, again: bool
) -> None:
    await kill_everywhere(azurite, victims, interruption, again=again)
