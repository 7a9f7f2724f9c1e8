"""Timer triggers through the genuine runtime."""

import json
from itertools import pairwise
from typing import Any

from tests.local.conftest import Tiny


def ticks(tiny: Tiny) -> list[dict[str, Any]]:
    lines = (tiny.state / "host.log").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["message"] == "tick"]


async def test_runs_never_overlap_and_a_long_one_skips_moments(tiny: Tiny) -> None:
    # Every second, a run of a second and a half: every other moment is skipped.
    async def three() -> list[dict[str, Any]]:
        calls = await tiny.seen("timer")
        return calls if len(calls) >= 3 else []

    calls = await tiny.until(three)
    # One may be, where this machine was busy for a second.
    assert not all(call["past_due"] for call in calls)
    starts = [call["started"] for call in calls]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert min(gaps) > 1.5


async def test_a_log_line_keeps_its_function_and_its_dimensions(tiny: Tiny) -> None:
    async def logged() -> list[dict[str, Any]]:
        return ticks(tiny)

    line = (await tiny.until(logged))[0]
    assert line["function"] == "on_tick"
    assert line["level"] == "Information"
    # True only if this machine was busy for a second.
    assert isinstance(line["past_due"], bool)
    assert line["invocation"]
