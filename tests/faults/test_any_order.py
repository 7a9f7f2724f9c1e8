"""Whatever happens, in whatever order: the promises hold once everything has settled (row R13).

Hypothesis makes up sequences of uploads, events, timers, deaths, stalls, lost replies, callbacks and time
that passes, and this runs them on the real functions and Azurite: 200 of them, the same every time. Others,
and as many as ``SEQUENCES`` in the environment says::

    SEQUENCES=5000 python -m pytest tests/faults/test_any_order.py

A failure names its steps, and the seed to have it once more (``--hypothesis-seed``).
"""

import asyncio
import json
import os
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from local.azurite import Azurite
from shared import sweep, tick
from shared.embedded import worker
from shared.formats import SIDECAR_SUFFIX
from tests.faults.fates import KINDS, Fate
from tests.faults.world import StillClock, Work, World, start_azurite
from tests.shapes import block

SEQUENCES = int(os.environ.get("SEQUENCES") or 0)
STEPS = 20
# Azurite collects its garbage after ten minutes, and stops for it.
OLD_SECONDS = 240

PATHS = st.sampled_from(["a/block.stl", "b/block.stl"])
ANY = st.integers(0, 7)
FATES = st.one_of(
    st.none(),
    st.builds(Fate, st.sampled_from(KINDS), st.integers(1, 30)),
)
SECONDS = st.sampled_from([1, 4, 10, 40, 130, 700, 4000, 30_000])


class Worlds:
    """A world for many sequences, and a new one when its Azurite is old."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._azurite: Azurite | None = None
        self._world: World | None = None
        self._since = 0.0

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def get(self) -> World:
        if self._world is None or time.monotonic() - self._since > OLD_SECONDS:
            self._stop()
            clock = StillClock(self._folder / "clock")
            self._azurite = start_azurite(self._folder / "clock")
            self._world = World(self._azurite, clock)
            self._since = time.monotonic()
        return self._world

    def close(self) -> None:
        self._stop()
        self._loop.close()

    def _stop(self) -> None:
        if self._world is not None:
            self.run(self._world.close())
        if self._azurite is not None:
            self._azurite.stop()


class AnyOrder(RuleBasedStateMachine):
    """What users, the platform and bad luck may do."""

    worlds: ClassVar[Worlds]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.worlds.get()
        self.run = self.worlds.run
        self.number = 0
        self.current: dict[str, bytes] = {}
        # All that has ever landed under a name.
        self.landed: dict[str, list[bytes]] = {}
        self.events: list[str] = []
        self.delivered: list[str] = []
        self.messages: list[tuple[str, str]] = []
        self.run(self.world.clear())

    def process(self, work: Work, fate: Fate | None) -> bool:
        """One process; a second passes."""
        ended = self.run(self.world.run(work, fate))
        self.run(self.world.check_written())
        self.world.later(1)
        return ended

    def land(self, path: str, data: bytes) -> None:
        self.run(self.world.upload(path, data))
        self.current[path] = data
        if data not in (landed := self.landed.setdefault(path, [])):
            landed.append(data)
        self.events.append(path)
        self.world.later(1)

    @initialize(path=PATHS)
    def upload_first(self, path: str) -> None:
        self.upload(path)

    @rule(path=PATHS)
    def upload(self, path: str) -> None:
        self.number += 1
        self.land(path, block(self.number))

    @precondition(lambda self: self.current)
    @rule(which=ANY)
    def upload_the_same(self, which: int) -> None:
        """Metadata were changed, or somebody uploads once more."""
        self.land(*sorted(self.current.items())[which % len(self.current)])

    @precondition(lambda self: any(len(landed) > 1 for landed in self.landed.values()))
    @rule(which=ANY, older=ANY)
    def go_back(self, which: int, older: int) -> None:
        """A model, or its settings, are as they were before something else landed."""
        names = sorted(name for name, landed in self.landed.items() if len(landed) > 1)
        name = names[which % len(names)]
        others = [data for data in self.landed[name] if data != self.current.get(name)]
        self.world.history.returns[name.removesuffix(SIDECAR_SUFFIX)] += 1
        self.land(name, others[older % len(others)])

    @rule(path=PATHS, kind=st.sampled_from(["glb", "stl", "wrong", "the same"]))
    def sidecar(self, path: str, kind: str) -> None:
        name = path + SIDECAR_SUFFIX
        self.number += 1
        if kind == "wrong":
            self.current[name] = json.dumps({"formatz": self.number}).encode()
        elif kind != "the same" or name not in self.current:
            formats = [{"type": kind if kind != "the same" else "glb"}]
            # What makes each of them different changes nothing for a model that is no zip.
            self.current[name] = json.dumps({"formats": formats, "rootFilename": f"{self.number}"}).encode()
        self.land(name, self.current[name])

    @precondition(lambda self: self.current)
    @rule(which=ANY)
    def delete(self, which: int) -> None:
        models = [path for path in sorted(self.current) if path.endswith(".stl")]
        if models:
            path = models[which % len(models)]
            del self.current[path]
            self.run(self.world.delete(path))
            self.world.later(1)

    @precondition(lambda self: self.events)
    @rule(which=ANY, fate=FATES)
    def deliver(self, which: int, fate: Fate | None) -> None:
        """In any order; the platform brings an event again whose process died, and may lose it."""
        path = self.events.pop(which % len(self.events))
        self.delivered.append(path)
        self.process(lambda process: process.event(path), fate)

    @precondition(lambda self: self.delivered)
    @rule(which=ANY, fate=FATES)
    def deliver_again(self, which: int, fate: Fate | None) -> None:
        path = self.delivered[which % len(self.delivered)]
        self.process(lambda process: process.event(path), fate)

    @rule(fate=FATES)
    def tick(self, fate: Fate | None) -> None:
        self.process(lambda process: process.app.tick.run(), fate)

    @rule(fate=FATES)
    def sweep(self, fate: Fate | None) -> None:
        self.process(lambda process: process.app.sweep.run(), fate)

    @rule(which=ANY, fate=FATES, again=st.booleans())
    def work(self, which: int, fate: Fate | None, again: bool) -> None:
        """The embedded service takes a message, which comes ``again`` where its process did not end."""
        taken = self.run(self.world.observer.requests())
        self.messages += [(key, f"message {len(self.messages) + number}") for number, key in enumerate(taken)]
        if self.messages:
            message = self.messages.pop(which % len(self.messages))
            ended = self.process(lambda process: process.app.worker.run(*message), fate)
            if again and not ended:
                self.messages.append(message)

    @rule(fate=FATES)
    def transfer(self, fate: Fate | None) -> None:
        self.process(lambda process: process.transfer(), fate)

    @precondition(lambda self: self.world.history.ordered)
    @rule(which=ANY)
    def callback(self, which: int) -> None:
        """Of any conversion that there ever was."""
        ordered = [*self.world.history.ordered.values()]
        self.run(self.world.call_back(ordered[which % len(ordered)]))
        self.world.later(1)

    @rule(seconds=SECONDS)
    def clock(self, seconds: int) -> None:
        self.world.later(seconds)

    @precondition(lambda self: self.world.stalled)
    @rule(which=ANY)
    def resume(self, which: int) -> None:
        self.run(self.world.resume(which % self.world.stalled))
        self.run(self.world.check_written())
        self.world.later(1)

    def teardown(self) -> None:
        self.run(self.end())

    async def end(self) -> None:
        await self.world.settle(resumed=self.number % 2 == 0)
        await self.world.check()


@pytest.mark.timeout(1200 + 20 * SEQUENCES)
def test_whatever_happens_the_promises_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_back_off: None
) -> None:
    # One thing after the other, so that a sequence runs the same way every time; and nobody waits.
    monkeypatch.setattr(tick, "AT_ONCE", 1)
    monkeypatch.setattr(sweep, "_AT_ONCE", 1)
    monkeypatch.setattr(worker, "_CALLBACK_WAITS", (0.0, 0.0))
    AnyOrder.worlds = worlds = Worlds(tmp_path)
    try:
        run_state_machine_as_test(
            AnyOrder,
            settings=settings(
                max_examples=SEQUENCES or 200,
                stateful_step_count=STEPS,
                derandomize=not SEQUENCES,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate,),
            ),
        )
    finally:
        worlds.close()
