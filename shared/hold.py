"""A run's hold on the record of its conversion: what it knows, and the only ways that it writes it.

The write that enters a step also claims it, so a step that follows at once costs no write of its own;
``tries`` says how many claims of it nobody completed (R8).
"""

from datetime import datetime, timedelta
from typing import Any

from shared.clients import Warned
from shared.conversion import Conversion, Message, Step
from shared.in_flight import Held
from shared.outcome import told
from shared.telemetry import event
from shared.tools import Tools

#: What a call that worked makes of earlier ones that did not.
NO_FAULTS: dict[str, Any] = {"faults": 0, "bad_replies": 0, "fault": None, "resume_at": None}


class Hold:
    """The record as this run last read or wrote it. Every write raises `NotOurs` if somebody else has
    changed the record."""

    def __init__(self, tools: Tools, held: Held) -> None:
        self.tools = tools
        self._held = held
        # Without what was noted since.
        self._written = held.conversion

    @property
    def conversion(self) -> Conversion:
        """The conversion, as far as this run knows."""
        return self._held.conversion

    def note(self, **changes: Any) -> None:
        """Changes the conversion in memory; the next write takes it along."""
        self._held = Held(self.conversion.model_copy(update=changes), self._held.etag)

    def warn(self, code: str, message: str) -> None:
        """Says something in the manifest, once; the next write takes it along."""
        warning = Message(type="warning", code=code, message=message)
        if warning not in self.conversion.messages:
            self.note(messages=(*self.conversion.messages, warning))

    def tell(self, warnings: tuple[Warned, ...]) -> None:
        """Says in the manifest what the service says; the next write takes it along."""
        self.note(messages=told(self.conversion.messages, warnings))

    async def save(self, **changes: Any) -> None:
        """Writes the record with some fields changed."""
        self._held = await self.tools.in_flight.save(self._held, **changes)
        self._written = self._held.conversion

    async def begin_again(self, due_at: datetime, **changes: Any) -> None:
        """Gives up the claim of this step, which is not counted: it is taken again from what the record says,
        and of all that this run has found stays only what a service has said or been told."""
        known = {name: getattr(self.conversion, name) for name in ("service_id", "trace_id", "abandoned")}
        tries = max(self._written.tries - 1, 0)
        self._held = Held(self._written.model_copy(update=known), self._held.etag)
        await self.save(**changes, tries=tries, due_at=due_at)

    async def enter(self, step: Step, **changes: Any) -> bool:
        """The next step, claimed by the same write; the one before is done, and timed."""
        before = self.conversion
        now = self.tools.now()
        begun = before.accepted_at + timedelta(seconds=sum(before.steps.values()))
        seconds = max((now - begun).total_seconds(), 0.0)
        claim: dict[str, Any] = {
            "tries": 1,
            **NO_FAULTS,
            "due_at": now + timedelta(seconds=self.tools.pace.claim),
        }
        steps = before.steps | {before.step: before.steps.get(before.step, 0.0) + seconds}
        await self.save(step=step, steps=steps, **(claim | changes))
        event(
            f"conversion.{step.value}",
            self.conversion,
            ended_step=before.step.value,
            seconds=round(seconds, 3),
        )
        return True

    async def renew(self) -> None:
        """Keeps the claim of a step that takes long."""
        claim = timedelta(seconds=self.tools.pace.claim)
        now = self.tools.now()
        if self.conversion.due_at - now < claim / 2:
            await self.save(due_at=now + claim)

    async def started_as(self, service_id: str) -> None:
        """Records the service's id before the step that must not be done twice."""
        if self.conversion.service_id != service_id:
            # Known before the write that may fail, for the cancel that then follows.
            self.note(service_id=service_id)
            await self.save(service_id=service_id)

    async def delete(self) -> None:
        """R7: the record goes, if it is still as this run wrote it."""
        await self.tools.in_flight.delete(self._held)
