"""Timer triggers: one run at a time; the next occurrence is chosen after the run, so long runs skip some."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime

from local.bindings import Function
from local.cron import Schedule
from local.protos import load
from local.runtime import InvocationFailed, Runtime, WorkerDied

EPSILON_SECONDS = 0.005
PAST_DUE_SECONDS = 1
"""A run that starts later than this after its moment is told that it is past due."""


class TimerListener:
    """Runs `function` at the moments of `schedule`."""

    def __init__(self, function: Function, runtime: Runtime, schedule: Schedule) -> None:
        self._function = function
        self._runtime = runtime
        self._schedule = schedule

    async def run(self) -> None:
        """Until cancelled. A failed run is logged, and the next one comes as planned."""
        last: datetime | None = None
        while True:
            due = self._schedule.after(datetime.now(UTC))
            # A little late, never early: an early run would find its own moment still to come.
            await asyncio.sleep((due - datetime.now(UTC)).total_seconds() + EPSILON_SECONDS)
            late = (datetime.now(UTC) - due).total_seconds() > PAST_DUE_SECONDS
            status = {
                "Last": (last or due).isoformat(),
                "LastUpdated": (last or due).isoformat(),
                "Next": self._schedule.after(due).isoformat(),
            }
            info = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": late}
            # Logged by the runtime; the .NET host's scheduler swallows a failed run too.
            with contextlib.suppress(InvocationFailed, WorkerDied):
                await self._runtime.invoke(self._function, load().TypedData(json=json.dumps(info)))
            last = due
