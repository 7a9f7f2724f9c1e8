"""R5: services that never end: a timeout at the deadline, not before, whatever an instance's clock says."""

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from random import Random

import pytest

import shared.clients.transport
import shared.storage
from local.azurite import Azurite
from shared.conversion import Status
from tests.copier import Copier
from tests.faults.crowd import each, ended, seeded, stop_clock
from tests.pipeline import Pipeline, start

N = 30
SEED = 8051
DEADLINE = 600
TICK = 30
MODEL = b"solid any\nendsolid\n"


class _Clock(datetime):
    """The instance's clock, which is wrong, and each time by another quarter of an hour."""

    chances = Random()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(minutes=cls.chances.choice((-15, 15)))


@pytest.fixture(params=["right", "wrong"])
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Whether the instance's clock is right; a quarter of an hour is longer than the deadline."""
    if request.param == "wrong":
        _Clock.chances = Random(SEED)
        for module in (shared.storage, shared.clients.transport):
            monkeypatch.setattr(module, "datetime", _Clock)
    yield request.param


async def test_what_never_ends_is_a_timeout_at_its_deadline_and_nothing_else_is(
    azurite: Azurite, clock: str
) -> None:
    with seeded(SEED) as chances:
        models = [f"{number}.stl" for number in range(N if clock == "right" else N // 2)]
        stuck = set(chances.sample(models, len(models) // 3))
        async with start(
            azurite, converter=Copier(), deadline_seconds=DEADLINE, website_hostname="127.0.0.1:1"
        ) as pipeline:
            if clock == "right":
                stop_clock(pipeline)
            deadlines = await _live(pipeline, models, stuck, chances)
            manifests = await ended(pipeline, models, endless=len(stuck))
        for path, manifest in manifests.items():
            if path in stuck:
                assert (manifest.status, manifest.errors[0].code) == (Status.TIMEOUT, "timeout"), path
                assert manifest.timings.ended >= deadlines[path]
            else:
                assert manifest.status is Status.SUCCESS, (path, manifest.errors)


async def _live(
    pipeline: Pipeline, models: list[str], stuck: set[str], chances: Random
) -> dict[str, datetime]:
    """Ticks until nothing is in flight. The service works off what is not stuck, sooner or later, and each
    tick ends what was over its deadline when it began. The deadlines by path."""
    waiting = list(models)
    requests: list[str] = []
    deadlines: dict[str, datetime] = {}
    for round_ in range(2 * DEADLINE // TICK):
        landing, waiting = waiting[:10], waiting[10:]
        await each(landing, lambda path: pipeline.drop(path, MODEL))
        for path in landing:
            record = await pipeline.record(path)
            assert record and record.deadline
            deadlines[path] = record.deadline
        requests += [one for one in await pipeline.requests() if one not in requests]
        for request in list(requests):
            model = await _model_of(pipeline, request)
            if model not in stuck and (chances.random() < 0.2 or round_ > 6):
                requests.remove(request)
                await pipeline.run(request)
        pipeline.later(TICK)
        now = pipeline.app.tools.now()
        await pipeline.app.tick.run()
        left = await pipeline.records()
        assert not [path for path in left if path and deadlines[path] <= now], "over its deadline"
        if not left and not waiting:
            return deadlines
    raise AssertionError(f"still in flight: {left}")


async def _model_of(pipeline: Pipeline, request: str) -> str:
    record = await pipeline.app.requests.status(request)
    assert record is not None
    return record.request.model
