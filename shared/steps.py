"""The steps of a conversion, from intake to finish, done by one run that holds its record.

The write that enters a step also claims it, so a step that follows at once costs no write of its own;
``tries`` says how many claims of it nobody completed (R8).
"""

import asyncio
import logging
import random
from datetime import datetime, timedelta
from typing import Any

from shared import manifest, paths
from shared.clients import ConversionService, InputFile, Order, Place, Warned
from shared.conversion import Conversion, Message, Outcome, Status, Step
from shared.copies import SHORT, Copies, TooLong
from shared.in_flight import Held, NotOurs
from shared.intake import Companions
from shared.outcome import collected, reported, told, with_outputs
from shared.problems import Code, Problem, ServiceFault
from shared.storage import Conflict
from shared.telemetry import event
from shared.tools import Tools

_ROUNDS = 10
_MOST_BAD_REPLIES = 5
_SAS_MARGIN = timedelta(minutes=15)
_LEAST_BACK_OFF = 2.0
_MOST_BACK_OFF = 300.0
# How long files may be moved by a run that others wait for.
_SHORT_SECONDS = 20.0


# What a call that worked makes of earlier ones that did not.
_NO_FAULTS: dict[str, Any] = {"faults": 0, "bad_replies": 0, "fault": None}


class _HeldBack(ServiceFault):
    """The service was not called: it had asked, on another conversion's call, to be left alone."""


class Changed(Exception):
    """The model is another version than the one that is being converted."""


class Run:
    """One run of a conversion: the record it holds, and the steps it takes.

    Raises:
        NotOurs: somebody else has taken the record.
        Changed: the model is another version by now.
    """

    def __init__(self, tools: Tools, held: Held, *, transfers: bool = False) -> None:
        """``transfers`` says that this run may take its time, and move files."""
        self._tools = tools
        self._held = held
        self._transfers = transfers
        self._copies = Copies(self, None if transfers else SHORT)
        # Whether this run has made sure that the model is unchanged, and said so in the record (R6).
        self._is_fenced = False

    @property
    def conversion(self) -> Conversion:
        """The conversion, as far as this run knows."""
        return self._held.conversion

    async def work(self) -> None:
        """Step after step, until the conversion waits for something or is gone."""
        steps = {
            Step.INTAKE: self._intake,
            Step.START: self._start,
            Step.POLL: self._poll,
            Step.COLLECT: self._collect,
            Step.FINISH: self._finish,
        }
        goes_on = True
        while goes_on:
            try:
                goes_on = await steps[self.conversion.step]()
            except Problem as problem:
                if self.conversion.step is Step.FINISH:
                    raise  # there is no manifest to say it in; a later tick tries again
                await self._end(problem)
            except ServiceFault as fault:
                goes_on = await self._meet(fault)

    async def fail(self, problem: Problem) -> None:
        """Ends the conversion without success, and does what is left to do."""
        await self._end(problem)
        await self.work()

    def _note(self, **changes: Any) -> None:
        """Changes the conversion in memory; the next write takes it along."""
        self._held = Held(self.conversion.model_copy(update=changes), self._held.etag)

    async def _save(self, **changes: Any) -> None:
        self._held = await self._tools.in_flight.save(self._held, **changes)

    async def _enter(self, step: Step, **changes: Any) -> bool:
        """The next step, claimed by the same write; the one before is done, and timed."""
        before = self.conversion
        now = self._tools.now()
        begun = before.accepted_at + timedelta(seconds=sum(before.steps.values()))
        seconds = max((now - begun).total_seconds(), 0.0)
        claim: dict[str, Any] = {
            "tries": 1,
            **_NO_FAULTS,
            "due_at": now + timedelta(seconds=self._tools.pace.claim),
        }
        steps = before.steps | {before.step: before.steps.get(before.step, 0.0) + seconds}
        await self._save(step=step, steps=steps, **(claim | changes))
        event(
            f"conversion.{step.value}",
            self.conversion,
            ended_step=before.step.value,
            seconds=round(seconds, 3),
        )
        return True

    # --- Intake -------------------------------------------------------------------------------

    async def _intake(self) -> bool:
        tools, conversion = self._tools, self.conversion
        head = await tools.head(conversion.path)
        if head is not None and head.etag != conversion.etag:  # R2
            if not conversion.is_same_content(head.size, head.md5):
                raise Changed
            self._note(etag=head.etag)
        stored = await tools.manifests.of(conversion.path)
        old = stored.manifest if stored else None
        self._note(
            manifest_etag=stored.etag if stored else None,
            drop=_distinct(*conversion.drop, *((old.id,) if old else ())),
        )
        if head is None:
            raise Problem(
                Code.SOURCE_DELETED,
                "The model was deleted before its conversion began. Upload it again to convert it.",
            )
        now = tools.now()
        grace_ends = conversion.accepted_at + timedelta(seconds=tools.pace.grace)
        if head.size == 0 and now < grace_ends:
            return await self._wait(grace_ends)
        resolved = await tools.intake.settings_of(conversion.path)
        self._note(settings=resolved.settings, settings_hash=resolved.digest)
        if stored and old and old.settings_hash == resolved.digest and old.source.etag == head.etag:
            return await self._leave_as_it_is()
        if head.size == 0:
            raise Problem(Code.EMPTY, "The model is empty: it has no bytes. Upload it again.")
        settings = resolved.checked()
        tools.intake.service_for(conversion.path, settings)
        companions = await tools.intake.companions_of(head, settings)
        self._note(companions=companions.found, model_in_zip=companions.model_in_zip)
        if stored and old and _is_touched(old, self.conversion):
            # The same bytes under a new ETag: somebody changed metadata, or uploaded the file again.
            source = old.source.model_copy(update={"etag": head.etag})
            try:
                await tools.manifests.write(old.model_copy(update={"source": source}), stored.etag)
            except Conflict:
                return await self._wait(now)
            return await self._leave_as_it_is()
        if companions.missing and companions.awaited and now < grace_ends:
            return await self._wait(grace_ends, companions.missing)
        self._judge(companions)
        if tools.hands_out(settings.service):
            # The tick hands it out, and claims it then.
            await self._enter(Step.START, missing=(), tries=0, due_at=now)
            return False
        deadline = now + timedelta(seconds=tools.pace.deadline)
        return await self._enter(Step.START, missing=(), ordered=True, deadline=deadline)

    async def _leave_as_it_is(self) -> bool:
        """This version has its manifest, with these settings: the record goes, nothing else changes."""
        event("conversion.already-done", self.conversion)
        await self._tools.in_flight.delete(self._held)
        return False

    async def _wait(self, until: datetime, missing: tuple[str, ...] = ()) -> bool:
        """Looks again soon, and at the latest when the grace time ends."""
        now = self._tools.now()
        age = (now - self.conversion.accepted_at).total_seconds()
        soon = now + timedelta(seconds=min(max(age / 4, 2.0), 30.0))
        if missing and missing != self.conversion.missing:
            event("conversion.waiting", self.conversion, missing=", ".join(missing))
        await self._save(tries=0, due_at=min(until, soon), missing=missing)
        return False

    def _judge(self, companions: Companions) -> None:
        """What has not landed by the end of the grace time is a warning, or the end."""
        grace = self._tools.pace.grace
        if companions.required:
            raise Problem(
                Code.MISSING_COMPANION,
                f"The model needs {_listed(companions.required)}, which did not land in its folder within "
                f"{grace:g} s. Upload what is missing, then the model again.",
            )
        for name in companions.missing:
            self._warn(
                Code.MISSING_COMPANION,
                f"The model refers to {name!r}, which is not in its folder: it was converted without it.",
            )

    def _warn(self, code: str, message: str) -> None:
        warning = Message(type="warning", code=code, message=message)
        if warning not in self.conversion.messages:
            self._note(messages=(*self.conversion.messages, warning))

    # --- Start and poll -----------------------------------------------------------------------

    async def _start(self) -> bool:
        if self._is_late():
            return await self._time_out()
        service = self._service()
        if service.uploads and not self._transfers and sum(file.size for file in self._files()) > SHORT:
            return await self._hand_over()
        order = await self._order()
        try:
            async with asyncio.timeout(self._time_to_move if service.uploads else None):
                started = await service.start(order)  # R3
        except TimeoutError:
            return await self._hand_over()
        now = self._tools.now()
        # Known before the write that may fail, for the cancel that then follows.
        self._note(service_id=started.service_id)
        return await self._enter(
            Step.POLL,
            tries=0,
            due_at=now + timedelta(seconds=self._tools.pace.poll_floor),
            started_at=now,
            trace_id=started.trace_id or self.conversion.trace_id,
            callback=order.callback is not None and started.calls_back,
            messages=told(self.conversion.messages, started.warnings),
        )

    async def _order(self) -> Order:
        """What the service is asked; a repeated order differs in its SAS only (R3)."""
        tools, conversion = self._tools, self.conversion
        assert conversion.settings is not None
        assert conversion.deadline is not None
        until = conversion.deadline + _SAS_MARGIN
        linked = conversion.settings.options.get("access") == "linked"
        folder, _, model = conversion.path.rpartition("/")
        return Order(
            id=conversion.id,
            input=Place(
                tools.storage.account,
                tools.models,
                folder,
                None if linked else await tools.signer.container_sas(tools.models, "rl", until),
            ),
            model=model,
            output=Place(
                tools.storage.account,
                tools.converted,
                paths.outputs(conversion.path, conversion.id),  # R5
                None if linked else await tools.signer.container_sas(tools.converted, "cw", until),
            ),
            formats=[item.order() for item in conversion.settings.formats],
            options=conversion.settings.options,
            root_filename=conversion.model_in_zip,
            callback=tools.callbacks.url(conversion),
            repeated=conversion.tries > 1 or conversion.faults > 0,
            files=self._files(),
            service_id=conversion.service_id,
            transfer=self._copies,
        )

    def _files(self) -> list[InputFile]:
        conversion = self.conversion
        folder = conversion.path[: conversion.path.rfind("/") + 1]
        files = [InputFile(conversion.path.removeprefix(folder), conversion.path, conversion.size)]
        for companion in conversion.companions:
            files.append(InputFile(companion.path.removeprefix(folder), companion.path, companion.size))
        return files

    @property
    def _time_to_move(self) -> float | None:
        """Seconds that a step may move files for, None for any number."""
        return None if self._transfers else _SHORT_SECONDS

    async def _hand_over(self) -> bool:
        """Leaves a long step to `transfer_files`; should the message be lost, a tick hands it over again."""
        # The claim to hand it over ends here; those of transfers that died go on counting.
        await self._save(
            tries=max(self.conversion.tries - 1, 0),
            handed_over=True,
            due_at=self._tools.now() + timedelta(seconds=self._tools.pace.claim),
        )
        await self._tools.storage.enqueue(
            self._tools.transfer_queue, {"record": paths.record(self.conversion.path)}
        )
        return False

    async def renew(self) -> None:
        """Keeps the claim of a step that takes long."""
        claim = timedelta(seconds=self._tools.pace.claim)
        now = self._tools.now()
        if self.conversion.due_at - now < claim / 2:
            await self._save(due_at=now + claim)

    async def note(self, service_id: str) -> None:
        """Records the service's id before the step that must not be done twice."""
        if self.conversion.service_id != service_id:
            # Known before the write that may fail, for the cancel that then follows.
            self._note(service_id=service_id)
            await self._save(service_id=service_id)

    def warn(self, warning: Warned) -> None:
        """Says something in the manifest; the next write of the record takes it along."""
        self._note(messages=told(self.conversion.messages, (warning,)))

    @property
    def tools(self) -> Tools:
        """What the steps work with."""
        return self._tools

    async def _poll(self) -> bool:
        tools, conversion = self._tools, self.conversion
        if conversion.due_at > tools.now():
            return False
        assert conversion.service_id is not None
        assert conversion.started_at is not None
        if self._is_late(by=tools.pace.claim):
            return await self._time_out()  # asking fails in a way that nobody thought of
        progress = await self._service().poll(conversion.service_id)
        self._note(
            trace_id=progress.trace_id or conversion.trace_id,
            messages=told(conversion.messages, progress.warnings),
        )
        if progress.status.is_final:
            return await self._enter(Step.COLLECT, status=Status.INPROGRESS, outcome=reported(progress))
        if self._is_late():
            return await self._time_out()
        now = tools.now()
        age = (now - conversion.started_at).total_seconds()
        wait = tools.pace.next_poll(age, has_callback=conversion.callback)
        due_at = now + timedelta(seconds=wait)
        await self._save(
            due_at=min(due_at, conversion.deadline or due_at),
            **_NO_FAULTS,
            status=progress.status,
            percent=progress.percent,
        )
        return False

    def _service(self) -> ConversionService:
        """The conversion's service, unless it asked to be left alone: a 429 slows the service, not only
        the one conversion that met it."""
        name = self.conversion.service
        assert name is not None
        wait = (self._tools.resume_at.get(name, self._tools.now()) - self._tools.now()).total_seconds()
        if wait > 0:
            raise _HeldBack(
                Code.SERVICE_THROTTLED,
                f"{name} asked to be called less often.",
                transient=True,
                retry_after=wait + _jitter(2.0),
            )
        service = self._tools.services.get(name)
        if service is None:
            raise ServiceFault(
                Code.INVALID_SETTINGS,
                f"{name} is not set up in this app any more. Add its app settings again, and delete the "
                "manifest to convert again.",
                transient=False,
            )
        return service

    def _is_new(self) -> bool:
        """Whether the service was asked for the conversion only lately."""
        started_at = self.conversion.started_at
        grace = timedelta(seconds=self._tools.pace.grace)
        return started_at is not None and self._tools.now() < started_at + grace

    def _is_late(self, by: float = 0.0) -> bool:
        deadline = self.conversion.deadline
        return deadline is not None and self._tools.now() >= deadline + timedelta(seconds=by)

    # --- Collect and finish -------------------------------------------------------------------

    async def _collect(self) -> bool:
        """What is there against what the service says it wrote: nothing is taken on trust."""
        outcome = self.conversion.outcome
        assert outcome is not None
        if outcome.status is Status.SUCCESS and self._service().downloads:
            if self._is_late():
                return await self._time_out()
            try:
                async with asyncio.timeout(self._time_to_move):
                    outputs = await self._service().collect(await self._order())
            except (TooLong, TimeoutError):
                return await self._hand_over()
            # What this run wrote is what there is: nobody else writes into the folder.
            return await self._close(collected(with_outputs(outcome, outputs), self._copies.written))
        folder = paths.outputs(self.conversion.path, self.conversion.id)
        listing = self._tools.storage.list(self._tools.converted, f"{folder}/")
        there = {blob.name: blob async for blob in listing}
        return await self._close(collected(outcome, there))

    async def _close(self, outcome: Outcome) -> bool:
        """R6: the model is still the version that was converted, and the record says how it ended."""
        conversion = self.conversion
        head = await self._tools.head(conversion.path)
        if head is None:
            if outcome.code != Code.SOURCE_DELETED:
                self._warn(Code.SOURCE_DELETED, "The model was deleted while it was being converted.")
        elif head.etag != conversion.etag:
            if not conversion.is_same_content(head.size, head.md5):
                raise Changed
            self._note(etag=head.etag)
        if conversion.companions and conversion.ordered:
            await self._compare_companions()
        self._is_fenced = True
        return await self._enter(Step.FINISH, outcome=outcome, status=outcome.status)

    async def _compare_companions(self) -> None:
        """A warning for each companion that is another version by now."""
        folder = self.conversion.path[: self.conversion.path.rfind("/") + 1]
        listing = self._tools.storage.list(self._tools.models, folder)
        there = {blob.name: blob.etag async for blob in listing}
        for companion in self.conversion.companions:
            if there.get(companion.path) != companion.etag:
                self._warn(
                    "companion-changed",
                    f"{companion.path} changed while the model was being converted. "
                    "Upload the model again to convert it with the new one.",
                )

    async def _finish(self) -> bool:
        """R6 and R7: the manifest, once; then what nothing refers to any more; then the record."""
        tools = self._tools
        assert self.conversion.outcome is not None
        if not self._is_fenced:
            return await self._close(self.conversion.outcome)
        written = manifest.build(self.conversion, tools.now())
        for _ in range(_ROUNDS):
            try:
                await tools.manifests.write(written, self.conversion.manifest_etag)
                break
            except Conflict:
                current = await tools.manifests.of(self.conversion.path)
                if current and current.manifest and current.manifest.id == written.id:
                    break
                replaced = (current.manifest.id,) if current and current.manifest else ()
                await self._save(
                    manifest_etag=current.etag if current else None,
                    drop=_distinct(*self.conversion.drop, *replaced),
                )
        else:
            raise NotOurs(written.id)
        self._tell_end(written)
        for conversion_id in self.conversion.drop:
            # Before the record goes, so that a crash here leaves no folder behind.
            await tools.drop_outputs(paths.outputs(self.conversion.path, conversion_id))
        await tools.dispose(self.conversion)
        await tools.in_flight.delete(self._held)
        return False

    def _tell_end(self, written: manifest.Manifest) -> None:
        outcome = self.conversion.outcome
        assert outcome is not None
        event(
            f"conversion.{outcome.status.value}",
            self.conversion,
            level=logging.INFO if outcome.status is Status.SUCCESS else logging.WARNING,
            code=outcome.code,
            message=outcome.message,
            derivatives=len(written.derivatives),
            formats=",".join(sorted({item.output_type for item in written.derivatives})),
            seconds=round((written.timings.ended - written.timings.accepted).total_seconds(), 3),
        )

    # --- When it does not go well -------------------------------------------------------------

    async def _end(self, problem: Problem) -> bool:
        known = self.conversion.outcome
        return await self._close(
            Outcome(
                status=Status.TIMEOUT if problem.code is Code.TIMEOUT else Status.FAILED,
                code=problem.code,
                message=problem.message,
                logs=known.logs if known else (),
            )
        )

    async def _time_out(self) -> bool:
        conversion = self.conversion
        await self._tools.cancel(conversion)
        last = f" Its last word was '{conversion.status}'." if conversion.service_id else ""
        if conversion.fault is not None:
            last = f" The last call failed: {conversion.fault}"
        raise Problem(
            Code.TIMEOUT,
            f"{conversion.service} did not finish within {self._tools.pace.deadline:g} s.{last} Delete the "
            "manifest to try again, or raise DEADLINE_SECONDS.",
        )

    async def _meet(self, fault: ServiceFault) -> bool:
        """A transient fault makes the step due later; any other ends the conversion."""
        conversion = self.conversion
        self._note(trace_id=fault.trace_id or conversion.trace_id)
        bad_replies = conversion.bad_replies + 1 if fault.code is Code.SERVICE_BAD_REPLY else 0
        transient = fault.transient or (fault.while_new and self._is_new())
        if not transient or bad_replies >= _MOST_BAD_REPLIES:
            return await self._end(Problem(fault.code, fault.message))
        if self._is_late():
            return await self._end(
                Problem(
                    Code.TIMEOUT,
                    f"{conversion.service} did not finish within {self._tools.pace.deadline:g} s; the last "
                    f"call failed: {fault.message} Delete the manifest to try again.",
                )
            )
        now = self._tools.now()
        if isinstance(fault, _HeldBack):
            due_at = now + timedelta(seconds=fault.retry_after or 0.0)
            await self._save(tries=0, due_at=min(due_at, conversion.deadline or due_at))
            return False
        back_off = min(_LEAST_BACK_OFF * 2**conversion.faults, _MOST_BACK_OFF)
        wait = max(fault.retry_after or 0.0, back_off - _jitter(back_off / 2))
        if fault.code is Code.SERVICE_THROTTLED and conversion.service:
            self._tools.resume_at[conversion.service] = now + timedelta(seconds=wait)
        event(
            "service.fault",
            self.conversion,
            level=logging.WARNING,
            code=fault.code,
            message=fault.message,
            retry_in=round(wait, 1),
        )
        due_at = now + timedelta(seconds=wait)
        await self._save(
            tries=0,
            faults=conversion.faults + 1,
            bad_replies=bad_replies,
            fault=fault.message,
            due_at=min(due_at, conversion.deadline or due_at),
        )
        return False


def _is_touched(old: manifest.Manifest, conversion: Conversion) -> bool:
    """Whether the manifest is about the same bytes, companions included, converted the same way."""
    return (
        old.status is Status.SUCCESS
        and old.settings_hash == conversion.settings_hash
        and conversion.md5 is not None
        and (old.source.size, old.source.md5) == (conversion.size, conversion.md5)
        and old.source.companions == conversion.companions
    )


def _jitter(most: float) -> float:
    return random.uniform(0.0, most)  # noqa: S311


def _distinct(*values: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
