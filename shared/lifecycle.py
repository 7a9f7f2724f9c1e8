"""The way in and the way on: ``consider`` a model, ``advance`` a conversion.

The rules R1 to R10 that the comments name are the design's: conditional writes on one record are the
whole concurrency control. Between any two lines the process may die, run twice, or lose a reply; what
follows must then still be right.
"""

from datetime import timedelta
from typing import Any

from shared import formats
from shared.closing import Changed
from shared.conversion import Conversion, Step
from shared.in_flight import Held, NotOurs, Unreadable
from shared.problems import Code, Problem
from shared.steps import Run
from shared.telemetry import event
from shared.tools import Tools

# How often a race is run again before the caller's own retry takes over.
_ROUNDS = 10
_MOST_TRIES = 3

_CLAIMED = (Step.INTAKE, Step.START, Step.COLLECT)


class Lifecycle:
    """The one state machine. What it knows is in the records; it keeps nothing between calls."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._in_flight = tools.in_flight

    async def consider(self, path: str) -> bool:
        """Makes sure that the newest version of the model at ``path`` is converted, or is being (R1).

        An event or the sweep calls it, as often as they like: a sidecar stands for its model, and
        any other file is ignored. True if a conversion is in flight because of this call.
        """
        model = formats.model_of_sidecar(path)
        if model is None and not formats.is_model(path):
            return False
        # A sidecar's model has most often landed before it.
        held = await self._accept(model or path, look=model is not None, has_new_settings=model is not None)
        if held is None:
            return False
        await self._go_on(held)
        return True

    async def advance(self, name: str, *, transfers: bool = False, moved: str | None = None) -> None:
        """Does what the record called ``name`` needs next, if it is due; and then what follows.

        ``transfers`` is True for `transfer_files`: it moves files, and takes a step that was handed over
        to it at once. What the tick hands out, only the tick starts. ``moved`` is the id of a conversion
        that its service says has moved: it is asked about now, and nothing else is believed.
        """
        try:
            held = await self._in_flight.read(name)
        except Unreadable as record:
            if record.path is None:
                if moved is None:
                    raise
                return  # a callback is a hint, and the next tick says what is wrong
            await self.consider(record.path)
            return
        if held is None:
            return
        if held.conversion.id == moved and held.conversion.step is Step.POLL:
            held = Held(held.conversion.model_copy(update={"due_at": self._tools.now()}), held.etag)
        conversion = held.conversion
        if conversion.due_at > self._tools.now() and not (transfers and conversion.handed_over):
            return
        if conversion.step is Step.START and not conversion.ordered and transfers:
            return
        if conversion.tries >= _MOST_TRIES and conversion.step in _CLAIMED:
            problem = Problem(
                Code.GAVE_UP,
                f"The step '{conversion.step}' was begun {conversion.tries} times and never ended: its "
                "process died each time, or met a fault of this software. Its log says more; delete the "
                "manifest to try again.",
            )
            await self._go_on(held, problem, transfers=transfers)
            return
        try:
            if conversion.step in _CLAIMED:
                held = await self._claim(held)
        except NotOurs:
            return
        await self._go_on(held, transfers=transfers)

    async def _accept(
        self, path: str, *, look: bool = False, has_new_settings: bool = False, misread: str | None = None
    ) -> Held | None:
        """The record of the newest version of a model, if this call has made it the newest.

        Most models that land have no record, so one is written without a look, where there must be none;
        ``look`` is for where there is one. ``misread`` is a conversion that was not of what is there.
        """
        for _ in range(_ROUNDS):
            # In this order: a record read after the model could be of a newer version than the model's.
            held, unreadable = None, None
            if look:
                try:
                    held = await self._in_flight.of(path)
                except Unreadable as record:
                    unreadable = record
            head = await self._tools.head(path)
            if head is None:
                return None
            now = self._tools.now()
            if unreadable and now < unreadable.due_at + timedelta(seconds=self._tools.pace.claim):
                return None  # a release that can read it may be at work on it
            due_at = now + timedelta(seconds=self._tools.pace.claim)
            fresh = Conversion.begin(path, head.etag, head.size, head.md5, now, due_at)
            try:
                if unreadable is not None:
                    held = await self._in_flight.take_over(unreadable, fresh)
                elif held is None:
                    held = await self._in_flight.create(fresh)
                else:
                    # The same content under a new ETag is no new version: finish takes the ETag over.
                    is_same = held.conversion.etag == head.etag or held.conversion.is_same_content(
                        head.size, head.md5
                    )
                    if (
                        is_same
                        and held.conversion.id != misread
                        and not (has_new_settings and await self._differs(held.conversion))
                    ):
                        return None
                    held = await self._supersede(held, fresh)
            except (NotOurs, Unreadable):
                look = True
                continue
            event("conversion.accepted", held.conversion, size=held.conversion.size)
            return held
        raise Problem(Code.INTERNAL, "The record of this model changes faster than it can be read.")

    async def _differs(self, conversion: Conversion) -> bool:
        """Whether the sidecar that has landed says something else than the record was made with.

        A run that is reading the settings right now may have read the old ones.
        """
        if conversion.step is Step.INTAKE:
            return True
        return (await self._tools.intake.settings_of(conversion.path)).digest != conversion.settings_hash

    async def _supersede(self, held: Held, fresh: Conversion) -> Held:
        """A newer version, or newer settings, in the place of the conversion in flight."""
        old = held.conversion
        taken = await self._in_flight.replace(held, fresh.changed(**old.left_behind))
        event("conversion.superseded", old, by=fresh.id)
        return taken

    async def _claim(self, held: Held) -> Held:
        """R8: a step that may die is counted before it is begun."""
        now = self._tools.now()
        changes: dict[str, Any] = {}
        if held.conversion.step is Step.START:
            changes = self._tools.ordering(held.conversion)
        return await self._in_flight.save(
            held,
            tries=held.conversion.tries + 1,
            handed_over=False,
            due_at=now + timedelta(seconds=self._tools.pace.claim),
            **changes,
        )

    async def _go_on(
        self, held: Held | None, problem: Problem | None = None, *, transfers: bool = False
    ) -> None:
        """Step after step, until the conversion waits for something or is gone."""
        while held is not None:
            run = Run(self._tools, held, transfers=transfers)
            try:
                await (run.work() if problem is None else run.fail(problem))
                return
            except Changed as change:
                problem = None
                misread = run.conversion.id if change.misread else None
                held = await self._accept(run.conversion.path, look=True, misread=misread)
            except NotOurs as lost:
                # R4. Another run of this conversion carries on; another conversion has no use for it.
                event("conversion.lost", run.conversion, now=lost.id)
                left = run.conversion.at_service
                if lost.id != run.conversion.id and left is not None:
                    await self._tools.abandon(run.conversion.path, left)
                return
