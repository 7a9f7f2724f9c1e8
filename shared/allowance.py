"""How many conversions a service with a limit may be asked to start now. Pure.

The limit holds for any minute, whenever it begins, not only for those of a clock; it is given in shares, so
that what has waited does not all start at once. What was given is kept by the tick, as one text.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

_MINUTE = timedelta(minutes=1)
# Nothing is known of an earlier share: as if it had been a tick ago, on a fast schedule.
_LEAST = timedelta(seconds=2)
# A timer is now early and now late: what part of its interval is waited for.
_EARLY = 8


@dataclass(frozen=True)
class Allowance:
    """The starts of the last minute, as (when, how many), and the time up to which shares were given."""

    given: tuple[tuple[datetime, int], ...] = ()
    shared_until: datetime | None = None

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """What :meth:`text` wrote; of anything else, nothing.

        The time of each is in seconds, UTC: ``shared until;when*how many;…``."""
        try:
            until, *given = (text or "").split(";")
            return cls(
                tuple((_time(when), int(count)) for when, _, count in (one.partition("*") for one in given)),
                _time(until),
            )
        except ValueError:
            return cls()

    def text(self) -> str:
        """For metadata: a minute of ticks is a few hundred characters."""
        if self.shared_until is None:
            return ""
        # Rounded up: a start must not be forgotten before its minute is over.
        given = [f"{math.ceil(when.timestamp() * 1000) / 1000:.3f}*{count}" for when, count in self.given]
        return ";".join([f"{self.shared_until.timestamp():.3f}", *given])

    def take(self, now: datetime, limit: int, wanted: int) -> tuple[int, "Allowance"]:
        """How many of those ``wanted`` may start, at a ``limit`` a minute, and what is left to give."""
        given = self._since(now - _MINUTE)
        passed, share = self._share(now, limit)
        granted = max(min(share, wanted, limit - _sum(given)), 0)
        # The part of a start that is left over is for the next share.
        until = now - passed + _MINUTE * share / limit
        return granted, Allowance((*given, (now, granted)) if granted else given, until)

    def pause(self, now: datetime, limit: int, wanted: int) -> float:
        """Seconds after which a whole share may start: not 0 where this tick is just too early for what
        another one, a minute ago, has started. Else a tick that is early by a moment would start nothing."""
        passed, share = self._share(now, limit)
        soon = now - _MINUTE + passed / _EARLY
        if min(share, wanted) + _sum(self._since(now - _MINUTE)) <= limit:
            return 0.0
        ends = [(when - now + _MINUTE).total_seconds() for when, _ in self.given if when <= soon]
        return max(0.0, *ends) if ends else 0.0

    def _share(self, now: datetime, limit: int) -> tuple[timedelta, int]:
        """The time since the last share, and how many starts it is worth."""
        last = min(self.shared_until or now - _LEAST, now)
        passed = min(now - last, _MINUTE)
        return passed, int(limit * (passed / _MINUTE))

    def _since(self, begin: datetime) -> tuple[tuple[datetime, int], ...]:
        return tuple((when, count) for when, count in self.given if when > begin)


def _sum(given: tuple[tuple[datetime, int], ...]) -> int:
    return sum(count for _, count in given)


def _time(seconds: str) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)
