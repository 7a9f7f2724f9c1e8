"""A service's limit of starts a minute: never over it in any minute, and hardly under it."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from shared.allowance import Allowance

BEGIN = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def given(seconds: float, late: float, limit: int, minutes: int) -> list[tuple[datetime, int]]:
    """What ticks at an interval start of a queue that never ends, each up to some seconds late."""
    chances = Random(f"{seconds} {late} {limit}")
    text: str | None = None
    starts: list[tuple[datetime, int]] = []
    for number in range(int(minutes * 60 / seconds)):
        now = BEGIN + timedelta(seconds=number * seconds + chances.uniform(0, late))
        allowance = Allowance.parse(text)
        now += timedelta(seconds=allowance.pause(now, limit, 10**6))
        granted, rest = allowance.take(now, limit, 10**6)
        text = rest.text()
        assert len(text) < 2000
        starts.append((now, granted))
    return starts


def most_in_a_minute(starts: list[tuple[datetime, int]]) -> int:
    return max(sum(count for when, count in starts if end - MINUTE < when <= end) for end, _ in starts)


@pytest.mark.parametrize("limit", [500, 20])
@pytest.mark.parametrize(
    ("seconds", "late"), [(1, 0.2), (2, 0), (2, 0.5), (5, 1), (10, 1), (30, 0), (30, 0.05), (30, 3), (60, 2)]
)
def test_the_limit_is_used_and_never_passed(seconds: float, late: float, limit: int) -> None:
    starts = given(seconds, late, limit, minutes=20)
    assert most_in_a_minute(starts) <= limit
    assert sum(count for _, count in starts) >= 0.9 * 20 * limit


def test_after_a_rest_the_limit_holds_for_the_minute_that_follows() -> None:
    _, rest = Allowance().take(BEGIN, 60, 5)
    later = BEGIN + timedelta(hours=1)
    burst, rest = rest.take(later, 60, 1000)
    assert burst == 60
    assert rest.take(later + timedelta(seconds=59), 60, 1000)[0] == 0
    assert rest.take(later + timedelta(seconds=60), 60, 1000)[0] == 60


def test_a_limit_of_less_than_one_a_tick_still_starts_something() -> None:
    starts = given(2, 0, 6, minutes=10)
    assert sum(count for _, count in starts) >= 54
    assert {count for _, count in starts} == {0, 1}


def test_nobody_waits_who_has_a_place() -> None:
    _, rest = Allowance(((BEGIN, 500),), BEGIN).take(BEGIN, 500, 0)
    early = BEGIN + timedelta(seconds=59)
    assert rest.pause(early, 500, 500) == pytest.approx(1, abs=0.01)
    assert rest.pause(early, 500, 0) == 0
    assert Allowance().pause(early, 500, 500) == 0


@pytest.mark.parametrize("text", [None, "", "nonsense", "1;2", "1;a*b", "*"])
def test_a_text_that_nobody_wrote_is_no_start_lately(text: str | None) -> None:
    assert Allowance.parse(text) == Allowance()
