"""NCRONTAB expressions: six fields, seconds first, in UTC, as timer triggers have them.

`{second} {minute} {hour} {day} {month} {day of week}`; each is `*`, a number, a
name (`Jan`, `Mon`), a range, a list, any with a step `/n`. A day must match both
its day fields. https://github.com/atifaziz/NCrontab
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Self

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 6, DAYS),
)
YEARS = 9
"""A 29 February comes within eight years; a day that has not come in nine never does."""


class BadSchedule(ValueError):
    """Not an NCRONTAB expression; the message names the field."""


@dataclass(frozen=True)
class Schedule:
    """The moments an expression stands for."""

    times: tuple[time, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def parse(cls, expression: str) -> Self:
        """Raises `BadSchedule`."""
        fields = expression.split()
        if len(fields) != len(FIELDS):
            raise BadSchedule(f"{expression!r} has {len(fields)} fields, not the 6 of NCRONTAB")
        second, minute, hour, day, month, weekday = (
            _values(text, *field) for text, field in zip(fields, FIELDS, strict=True)
        )
        times = tuple(time(h, m, s) for h in sorted(hour) for m in sorted(minute) for s in sorted(second))
        return cls(times, day, month, weekday)

    def after(self, moment: datetime) -> datetime:
        """The first match later than `moment` (aware). Raises `BadSchedule` when there is none."""
        moment = moment.astimezone(UTC)
        for offset in range(366 * YEARS):
            date = moment.date() + timedelta(days=offset)
            if date.day in self.days and date.month in self.months and date.isoweekday() % 7 in self.weekdays:
                for clock in self.times:
                    match = datetime.combine(date, clock, UTC)
                    if match > moment:
                        return match
        raise BadSchedule("the schedule never comes")


def _values(text: str, name: str, low: int, high: int, names: Sequence[str]) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, high
        else:
            start = _number(first, name, low, names)
            end = _number(last, name, low, names) if dash else (high if slash else start)
        every = int(step) if step.isdecimal() else 0 if slash else 1
        if not (low <= start <= end <= high and every > 0):
            raise BadSchedule(f"{part!r} is no {name} between {low} and {high}")
        values.update(range(start, end + 1, every))
    return frozenset(values)


def _number(text: str, name: str, low: int, names: Sequence[str]) -> int:
    if text.isascii() and text.isdecimal():
        return int(text)
    if text.lower() in names:
        return names.index(text.lower()) + low
    raise BadSchedule(f"{text!r} is no {name}")
