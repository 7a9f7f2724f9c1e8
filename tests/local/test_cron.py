"""NCRONTAB expressions."""

from datetime import UTC, datetime

import pytest

from local.cron import BadSchedule, Schedule


@pytest.mark.parametrize(
    ("expression", "after", "next_"),
    [
        ("* * * * * *", "2026-11-22T10:00:00", "2026-11-22T10:00:01"),
        ("*/2 * * * * *", "2026-11-22T10:00:00", "2026-11-22T10:00:02"),
        ("*/2 * * * * *", "2026-11-22T10:00:01.5", "2026-11-22T10:00:02"),
        ("*/30 * * * * *", "2026-12-31T23:59:45", "2027-01-01T00:00:00"),
        ("0 */15 * * * *", "2026-11-22T10:01:00", "2026-11-22T10:15:00"),
        ("5,10-12 0 0 * * *", "2026-11-22T00:00:10", "2026-11-22T00:00:11"),
        ("0 10/20 * * * *", "2026-11-22T10:10:00", "2026-11-22T10:30:00"),
        ("0 0 8-18/5 * * *", "2026-11-22T13:00:00", "2026-11-22T18:00:00"),
        ("0 0 9 * * Mon-Fri", "2026-11-21T00:00:00", "2026-11-23T09:00:00"),
        ("0 0 0 29 feb *", "2026-11-22T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 0 13 * 5", "2026-11-22T00:00:00", "2027-08-13T00:00:00"),
    ],
)
def test_the_next_moment(expression: str, after: str, next_: str) -> None:
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert Schedule.parse(expression).after(moment) == datetime.fromisoformat(next_).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * * *",
        "60 * * * * *",
        "*/0 * * * * *",
        "5-2 * * * * *",
        "x * * * * *",
        "*/a * * * * *",
        "0 0 0 0 * *",
    ],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(BadSchedule):
        Schedule.parse(expression)


def test_a_day_that_never_comes_is_refused() -> None:
    with pytest.raises(BadSchedule, match="never"):
        Schedule.parse("0 0 0 31 Feb *").after(datetime(2026, 11, 22, tzinfo=UTC))
