"""R2: the reply to every write of one kind is lost, each time it is made for the first time."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from local.azurite import Azurite
from shared import paths
from tests.faults.fleet import Platform
from tests.faults.proxy import Call, Fault, Plan, seeded
from tests.faults.whole import LONG, N, Scene, assert_whole, measured, models, scene, upload

SEED = 8002
COUNT = max(20, N // 10)
WORK = 20


def _claim(call: Call) -> str | None:
    """Every write of a record: each has a body of its own, which its repetition has too."""
    is_record = call.kind == "Put Blob" and call.target.startswith("in-flight") and call.body
    return hashlib.sha256(call.body).hexdigest() if is_record else None


def _start(call: Call) -> str | None:
    return call.headers.get("idempotency-key") if call.front == "service" else None


def _manifest(call: Call) -> str | None:
    is_manifest = call.kind == "Put Blob" and call.name.endswith(f"/{paths.MANIFEST}")
    return call.name if is_manifest else None


def _delete(call: Call) -> str | None:
    is_record = call.kind == "Delete Blob" and call.target.startswith("in-flight")
    return call.name if is_record else None


class Once:
    """A plan that loses the first reply to each of the writes that ``which`` names."""

    def __init__(self, which: Callable[[Call], str | None]) -> None:
        self._which = which
        self.lost: set[str] = set()

    def __call__(self, call: Call) -> Fault | None:
        name = self._which(call)
        if name is None or name in self.lost:
            return None
        self.lost.add(name)
        return Fault(lost=True)


@LONG
async def test_a_lost_reply_adds_a_tick_and_five_seconds_at_most(azurite: Azurite, tmp_path: Path) -> None:
    with seeded(SEED) as lot:
        async with scene(azurite, tmp_path, seed=SEED) as here:
            platform = Platform(here.fleet, here.pipeline, lot, work_seconds=(WORK, WORK))
            made: dict[str, bytes] = {}
            usual = await took(here, platform, made, "usual", None)
            figures = {}
            for which, lost in ((_claim, 3), (_start, 1), (_manifest, 1), (_delete, 1)):
                plan = Once(which)
                name = which.__name__.strip("_")
                seconds = await took(here, platform, made, name, plan)
                assert len(plan.lost) >= lost * COUNT, name
                added = [late - early for late, early in zip(seconds, usual, strict=True)]
                figures[name] = max(added)
            measured("R2", models_each=COUNT, usual_seconds=max(usual), most_seconds_added=figures)
            assert max(figures.values()) <= Platform.TICK + 5, figures


async def took(
    here: Scene, platform: Platform, made: dict[str, bytes], name: str, plan: Plan | None
) -> list[float]:
    """How many seconds each of some more models took, all with the same distance from a tick."""
    while platform.seconds % Platform.TICK:
        here.fleet.later(5)
    more = models(COUNT, name)
    made |= more
    await upload(here.pipeline, more)
    here.storage.follow(plan)
    here.service.plan = plan
    for number, path in enumerate(more):
        platform.event(path, number % 6 * 5)
        platform.event(path, number % 6 * 5 + 5)
    await platform.settle()
    here.storage.follow()
    here.service.plan = None
    manifests = await assert_whole(here.pipeline, made)
    return [
        (manifests[path].timings.ended - manifests[path].timings.accepted).total_seconds() for path in more
    ]
