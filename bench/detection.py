"""How late the end of a job is noticed, against the polls spent on it: by simulation, with the real pace.

A poll comes at the first tick after it is due. The peer polls at every tick, as a fixed interval does. Jobs
of each length vary by a tenth, evenly; the delays are means.

    python -m bench.detection
"""

import statistics
from collections.abc import Callable

from bench.tables import table
from shared.settings import Settings
from shared.tools import Pace

LENGTHS = {"10 s": 10, "1 min": 60, "5 min": 300, "30 min": 1800, "2 h": 7200, "6 h": 21600}
#: Seconds between ticks: in Azure, and locally.
TICKS = (30.0, 2.0)
_JOBS = 400


def run(seconds: float, tick: float, wait: Callable[[float], float]) -> tuple[float, int]:
    """A job of so many seconds: how many seconds after its end it is found, and by how many polls;
    ``wait`` is the time to the next poll at an age."""
    due, polls = wait(0.0), 0
    while True:
        age = -(-due // tick) * tick  # the first tick that is not before
        polls += 1
        if age >= seconds:
            return age - seconds, polls
        due = age + wait(age)


def mean(length: float, tick: float, wait: Callable[[float], float]) -> tuple[float, float]:
    """The mean delay in seconds, and the mean number of polls, of jobs of about a length."""
    lengths = [length * (0.9 + 0.2 * (number + 0.5) / _JOBS) for number in range(_JOBS)]
    delays, polls = zip(*(run(one, tick, wait) for one in lengths), strict=True)
    return statistics.mean(delays), statistics.mean(polls)


def default_pace() -> Pace:
    """The pace of an app whose settings say nothing of it."""

    def seconds(name: str) -> float:
        return float(Settings.model_fields[f"{name}_seconds"].default)

    return Pace(
        grace=seconds("grace"),
        deadline=seconds("deadline"),
        claim=seconds("claim"),
        poll_floor=seconds("poll_floor"),
        poll_ceiling=seconds("poll_ceiling"),
    )


def main() -> None:
    """Prints delays and polls, ours and of the peer."""
    pace = default_pace()
    print("### Delay of detection against polls")
    for tick in TICKS:
        rows = []
        for name, length in LENGTHS.items():
            delay, polls = mean(length, tick, lambda age: pace.next_poll(age, has_callback=False))
            fixed_delay, fixed_polls = mean(length, tick, lambda age, tick=tick: tick)  # type: ignore[misc]
            rows.append(
                (
                    name,
                    f"{delay:.1f} s",
                    f"{delay / length:.1%}",
                    f"{polls:.1f}",
                    f"{fixed_delay:.1f} s",
                    f"{fixed_polls:.1f}",
                    f"{polls / fixed_polls:.0%}",
                )
            )
        print(f"\nA tick every {tick:g} s:")
        table(("job", "delay", "of its length", "polls", "fixed: delay", "polls", "polls, ratio"), rows)


if __name__ == "__main__":
    main()
