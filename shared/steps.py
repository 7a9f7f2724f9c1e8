"""The steps of a conversion, from intake to collect, done by one run that holds its record."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from azure.core.exceptions import AzureError

from shared import manifest, paths
from shared.clients import ConversionService, Order, Place, Progress
from shared.closing import Changed, Closing, distinct
from shared.conversion import Conversion, Outcome, Status, Step
from shared.copies import SHORT, Copies, TooLong
from shared.hold import NO_FAULTS, Hold
from shared.in_flight import Held
from shared.outcome import collected, out_of_time, reported, with_outputs
from shared.problems import Code, Problem, ServiceFault
from shared.storage import BlobHead, Conflict, outage
from shared.telemetry import event
from shared.tools import Tools, files_of, jitter

_MOST_BAD_REPLIES = 5
# Of storage, in a row, once the time is over; an app may have been stopped for as long.
_MOST_FAULTS_OF_INTAKE = 5
# How long files may be moved by a run that others wait for.
_SHORT_SECONDS = 20.0
# How long outputs may take to be found, or brought, at the least, or for a second deadline where that is
# shorter: a job may end just before the first, or be found to have ended long after it.
_SECONDS_TO_COLLECT = 3600.0


class _HeldBack(ServiceFault):
    """The service was not called: it had asked, on another conversion's call, to be left alone."""


class Run:
    """One run of a conversion: the record it holds, and the steps it takes.

    Raises:
        NotOurs: somebody else has taken the record.
        Changed: the model is another version by now.
    """

    def __init__(self, tools: Tools, held: Held, *, transfers: bool = False) -> None:
        """``transfers`` says that this run may take its time, and move files."""
        self._tools = tools
        self._hold = Hold(tools, held)
        self._closing = Closing(self._hold)
        self._transfers = transfers
        self._copies = Copies(self._hold, None if transfers else SHORT)
        # What this run has heard of the end, so that it need not ask again.
        self._polled: Progress | None = None

    @property
    def conversion(self) -> Conversion:
        """The conversion, as far as this run knows."""
        return self._hold.conversion

    async def work(self) -> None:
        """Step after step, until the conversion waits for something or is gone."""
        steps = {
            Step.INTAKE: self._intake,
            Step.START: self._start,
            Step.POLL: self._poll,
            Step.COLLECT: self._collect,
            Step.FINISH: self._closing.finish,
        }
        try:
            await self._cancel_abandoned()
            while await self._take(steps[self.conversion.step]):
                pass
        except AzureError as error:
            fault = outage(error)
            if fault is None or self.conversion.step is Step.FINISH:
                raise
            await self._outlast(fault)

    async def _take(self, step: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await step()
        except Problem as problem:
            if self.conversion.step is Step.FINISH:
                raise  # there is no manifest to say it in; a later tick tries again
            return await self._end(problem)
        except ServiceFault as fault:
            return await self._meet(fault)

    async def fail(self, problem: Problem) -> None:
        """Ends the conversion without success, and does what is left to do."""
        await self._end(problem)
        await self.work()

    async def _cancel_abandoned(self) -> None:
        """Tells services of what this conversion has taken the place of. The next run tells them again,
        where one could not hear it, or where this one dies before its next write of the record."""
        path, left = self.conversion.path, self.conversion.abandoned
        if not left:
            return
        told = await asyncio.gather(*(self._tools.abandon(path, one) for one in left))
        self._hold.note(abandoned=tuple(one for one, heard in zip(left, told, strict=True) if not heard))

    # --- Intake -------------------------------------------------------------------------------

    async def _intake(self) -> bool:
        tools, conversion = self._tools, self.conversion
        if conversion.faults >= _MOST_FAULTS_OF_INTAKE and self._is_late():
            raise self._too_late()
        head = await tools.head(conversion.path)
        if head is not None and head.etag != conversion.etag:  # R2
            if not conversion.is_same_content(head.size, head.md5):
                raise Changed
            self._hold.note(etag=head.etag)
        stored = await tools.manifests.of(conversion.path)
        old = stored.manifest if stored else None
        self._hold.note(
            manifest_etag=stored.etag if stored else None,
            drop=distinct(*conversion.drop, *((old.id,) if old else ())),
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
        # Before they are read: a sidecar that lands meanwhile is news.
        settled_at = tools.now()
        resolved = await tools.intake.settings_of(conversion.path)
        self._hold.note(settings=resolved.settings, settings_hash=resolved.digest, settled_at=settled_at)
        if stored and old and old.settings_hash == resolved.digest and old.source.etag == head.etag:
            return await self._keep(old, stored.etag)
        if head.size == 0:
            raise Problem(Code.EMPTY, "The model is empty: it has no bytes. Upload it again.")
        settings = resolved.checked()
        tools.intake.service_for(conversion.path, settings)
        companions = await tools.intake.companions_of(head, settings)
        self._hold.note(companions=companions.found, model_in_zip=companions.model_in_zip)
        if stored and old and _is_touched(old, self.conversion):
            # The same bytes under a new ETag: somebody changed metadata, or uploaded the file again.
            return await self._keep(old, stored.etag)
        if companions.missing and companions.awaited and now < grace_ends:
            return await self._wait(grace_ends, companions.missing)
        companions.demand(tools.pace.grace)
        for name in companions.missing:
            self._hold.warn(
                Code.MISSING_COMPANION,
                f"The model refers to {name!r}, which is not in its folder: it was converted without it.",
            )
        if tools.hands_out(settings.service):
            # The tick hands it out, and claims it then.
            await self._hold.enter(Step.START, missing=(), tries=0, due_at=now)
            return False
        return await self._hold.enter(Step.START, missing=(), **tools.ordering(self.conversion))

    async def _keep(self, old: manifest.Manifest, etag: str) -> bool:
        """This version has its manifest, with these settings: it stays, and the record goes, with what
        superseded conversions have written."""
        tools, conversion = self._tools, self.conversion
        superseded = [one for one in conversion.drop if one != old.id]
        if superseded or old.source.etag != conversion.etag:
            source = old.source.model_copy(update={"etag": conversion.etag})
            assert conversion.settled_at is not None
            try:
                # Also where it says nothing new: a superseded run that sleeps before its own can then write
                # none.
                await tools.manifests.write(
                    old.model_copy(update={"source": source}), etag, conversion.settled_at
                )
            except Conflict:
                return await self._wait(tools.now())
        event("conversion.already-done", conversion)
        for conversion_id in superseded:
            await tools.drop_outputs(paths.outputs(conversion.path, conversion_id))
        if superseded:
            await tools.dispose(conversion)
        await self._hold.delete()
        return False

    async def _wait(self, until: datetime, missing: tuple[str, ...] = ()) -> bool:
        """Looks again soon, and at the latest when the grace time ends."""
        now = self._tools.now()
        age = (now - self.conversion.accepted_at).total_seconds()
        soon = now + timedelta(seconds=min(max(age / 4, 2.0), 30.0))
        if missing and missing != self.conversion.missing:
            event("conversion.waiting", self.conversion, missing=", ".join(missing))
        await self._hold.save(tries=0, due_at=min(until, soon), missing=missing, **NO_FAULTS)
        return False

    # --- Start and poll -----------------------------------------------------------------------

    async def _start(self) -> bool:
        if self._is_late():
            raise self._too_late()
        conversion = self.conversion
        service = self._service()
        size = sum(file.size for file in files_of(conversion))
        if service.uploads and not self._transfers and size > SHORT:
            return await self._hand_over()
        order = await self._order()
        try:
            async with asyncio.timeout(self._time_to_move if service.uploads else None):
                started = await service.start(order)  # R3
        except (TooLong, TimeoutError):
            return await self._hand_over(begun=True)
        now = self._tools.now()
        # Known before the write that may fail, for the cancel that then follows.
        self._hold.note(service_id=started.service_id)
        self._hold.tell(started.warnings)
        return await self._hold.enter(
            Step.POLL,
            tries=0,
            due_at=now + timedelta(seconds=self._tools.pace.poll_floor),
            started_at=now,
            trace_id=started.trace_id or conversion.trace_id,
            callback=order.callback is not None and started.calls_back,
            sent=started.sent,
        )

    async def _order(self) -> Order:
        """What the service is asked; a repeated order differs in its SAS only (R3)."""
        tools, conversion = self._tools, self.conversion
        assert conversion.settings is not None
        assert conversion.deadline is not None
        folder, _, model = conversion.path.rpartition("/")
        return Order(
            id=conversion.id,
            input=Place(
                tools.storage.account,
                tools.models,
                folder,
                await self._sas(tools.models, "rl"),
            ),
            model=model,
            output=Place(
                tools.storage.account,
                tools.converted,
                paths.outputs(conversion.path, conversion.id),  # R5
                await self._sas(tools.converted, "cw"),
            ),
            formats=[item.order() for item in conversion.settings.formats],
            options=conversion.settings.options,
            root_filename=conversion.model_in_zip,
            callback=tools.callbacks.url(conversion),
            repeated=conversion.tries > 1 or conversion.faults > 0,
            files=files_of(conversion),
            service_id=conversion.service_id,
            transfer=self._copies,
        )

    async def _sas(self, container: str, permissions: str) -> str | None:
        """A right for the service, which has one of its own where storage is linked to it."""
        conversion = self.conversion
        if self._is_linked():
            return None
        return await self._tools.signer.container_sas(
            container, permissions, conversion.sas_until, after=conversion.denied_at
        )

    def _is_linked(self) -> bool:
        settings = self.conversion.settings
        return settings is not None and settings.options.get("access") == "linked"

    @property
    def _time_to_move(self) -> float | None:
        """Seconds that a step may move files for, None for any number."""
        return None if self._transfers else _SHORT_SECONDS

    async def _hand_over(self, *, begun: bool = False) -> bool:
        """Leaves a long step to `transfer_files`; should the message be lost, a tick hands it over again."""
        # The claim to hand it over ends here; those of transfers that died go on counting, and so does a
        # start that was begun: the next order is a repeated one.
        await self._hold.save(
            tries=self.conversion.tries - (0 if begun else 1),
            handed_over=True,
            due_at=self._tools.now() + timedelta(seconds=self._tools.pace.claim),
        )
        await self._tools.storage.enqueue(
            self._tools.transfer_queue, {"record": paths.record(self.conversion.path)}
        )
        return False

    async def _poll(self) -> bool:
        tools, conversion = self._tools, self.conversion
        if conversion.due_at > tools.now():
            return False
        assert conversion.service_id is not None
        assert conversion.started_at is not None
        service = self._service()
        try:
            progress = await service.poll(conversion.service_id)
        except ServiceFault:
            raise
        except Exception:
            # Asking fails in a way that nobody thought of; it may do so for ever.
            if self._is_late(by=tools.pace.claim):
                raise self._too_late() from None
            raise
        self._hold.note(trace_id=progress.trace_id or conversion.trace_id)
        self._hold.tell(progress.warnings)
        if progress.denied and await self._may_start_anew():
            return await self._start_anew(progress)
        if progress.status.is_final:
            self._polled = progress
            until = tools.now() + timedelta(seconds=min(_SECONDS_TO_COLLECT, tools.pace.deadline))
            return await self._hold.enter(
                Step.COLLECT,
                status=Status.INPROGRESS,
                outcome=reported(progress),
                deadline=max(conversion.deadline or until, until),
            )
        if self._is_late():
            raise self._too_late()
        now = tools.now()
        age = (now - conversion.started_at).total_seconds()
        wait = tools.pace.next_poll(age, has_callback=conversion.callback)
        due_at = now + timedelta(seconds=wait)
        await self._hold.save(
            due_at=min(due_at, conversion.deadline or due_at),
            **NO_FAULTS,
            status=progress.status,
            percent=progress.percent,
        )
        return False

    async def _may_start_anew(self) -> bool:
        """Whether new SAS tokens may help, and have not been tried yet."""
        conversion = self.conversion
        if conversion.denied_at is not None or self._is_linked():
            return False
        head = await self._tools.head(conversion.path)
        return head is not None and (
            head.etag == conversion.etag or conversion.is_same_content(head.size, head.md5)
        )

    async def _start_anew(self, said: Progress) -> bool:
        """A new order, with SAS tokens that are signed for it: storage refused those of the first."""
        tools, old = self._tools, self.conversion
        assert old.service is not None
        self._hold.warn(
            "sas-renewed",
            f"Storage refused {old.service}, which said: {said.message} "
            "It was started once more, with new SAS tokens.",
        )
        now = tools.now()
        changes = old.started_anew(now)
        waits = tools.hands_out(old.service)
        if waits:
            changes |= {"tries": 0, "ordered": False, "due_at": now}
        else:
            changes |= tools.ordering(old.model_copy(update=changes))
        await self._hold.enter(Step.START, **changes)
        event("conversion.started-anew", old, level=logging.WARNING, by=self.conversion.id)
        await self._cancel_abandoned()
        return not waits

    def _service(self) -> ConversionService:
        """The conversion's service, unless it asked to be left alone: a 429 slows the service, not only
        the one conversion that met it."""
        name = self.conversion.service
        assert name is not None
        wait = self._tools.seconds_held_back(name)
        if wait > 0:
            raise _HeldBack(
                Code.SERVICE_THROTTLED,
                f"{name} asked to be called less often.",
                transient=True,
                retry_after=wait + jitter(2.0),
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
        if self.conversion.step is Step.INTAKE:
            deadline = self.conversion.accepted_at + timedelta(seconds=self._tools.pace.deadline)
        return deadline is not None and self._tools.now() >= deadline + timedelta(seconds=by)

    # --- Collect ------------------------------------------------------------------------------

    async def _collect(self) -> bool:
        """What is there against what the service says it wrote: nothing is taken on trust."""
        outcome = self.conversion.outcome
        assert outcome is not None
        assert self.conversion.settings is not None
        if outcome.status is Status.SUCCESS and self._service().downloads:
            if self._is_late():
                raise self._too_late()
            try:
                async with asyncio.timeout(self._time_to_move):
                    outputs = await self._service().collect(await self._order(), self._polled)
            except (TooLong, TimeoutError):
                return await self._hand_over()
            # Its client has held the outputs against the order, and what this run wrote is what there is:
            # nobody else writes into the folder.
            made = with_outputs(outcome, outputs)
            return await self._closing.close(collected(made, self._copies.written, []))
        wanted = [item.type for item in self.conversion.settings.formats]
        return await self._closing.close(collected(outcome, await self._there(), wanted))

    async def _there(self) -> dict[str, BlobHead]:
        """What is in the conversion's folder."""
        folder = paths.outputs(self.conversion.path, self.conversion.id)
        listing = self._tools.storage.list(self._tools.converted, f"{folder}/")
        return {blob.name: blob async for blob in listing}

    # --- When it does not go well -------------------------------------------------------------

    async def _end(self, problem: Problem) -> bool:
        known = self.conversion.outcome
        outcome = Outcome(
            status=Status.TIMEOUT if problem.code is Code.TIMEOUT else Status.FAILED,
            code=problem.code,
            message=problem.message,
            logs=known.logs if known else (),
        )
        if self.conversion.ordered:
            # What was written so far: no file is there that the manifest does not name.
            outcome = collected(outcome, await self._there(), [])
        return await self._closing.close(outcome)

    def _too_late(self, fault: str | None = None) -> Problem:
        """The end of a conversion whose time is over; ``fault`` is what the last call met, if it failed. Its
        job is cancelled when the manifest says so: until then another run may find that it has ended."""
        return out_of_time(self.conversion, self._tools.pace.deadline, fault or self.conversion.fault)

    async def _meet(self, fault: ServiceFault) -> bool:
        """A transient fault makes the step due later; any other ends the conversion."""
        conversion = self.conversion
        self._hold.note(trace_id=fault.trace_id or conversion.trace_id)
        bad_replies = conversion.bad_replies + 1 if fault.code is Code.SERVICE_BAD_REPLY else 0
        transient = fault.transient or (fault.while_new and self._is_new())
        if not transient or bad_replies >= _MOST_BAD_REPLIES:
            return await self._end(Problem(fault.code, fault.message))
        if self._is_late():
            return await self._end(self._too_late(fault.message))
        now = self._tools.now()
        if isinstance(fault, _HeldBack):
            due_at = now + timedelta(seconds=fault.retry_after or 0.0)
            await self._hold.begin_again(min(due_at, conversion.deadline or due_at))
            return False
        wait = max(fault.retry_after or 0.0, self._tools.pace.back_off(conversion.faults))
        due_at = now + timedelta(seconds=wait)
        is_throttled = fault.code is Code.SERVICE_THROTTLED
        if is_throttled and conversion.service:
            self._tools.hold_back(conversion.service, due_at)
        self._tell_fault(fault, wait)
        await self._hold.save(
            tries=0,
            faults=conversion.faults + 1,
            bad_replies=bad_replies,
            fault=fault.message,
            resume_at=due_at if is_throttled else None,
            due_at=min(due_at, conversion.deadline or due_at),
        )
        return False

    async def _outlast(self, fault: ServiceFault) -> None:
        """Storage that fails in the midst of a step is no death of it (R8), and no end: the step is taken
        again, and says itself when it is too late."""
        conversion, now = self.conversion, self._tools.now()
        wait = self._tools.pace.back_off(conversion.faults)
        due_at = now + timedelta(seconds=wait)
        if conversion.deadline is not None and conversion.deadline > now:
            due_at = min(due_at, conversion.deadline)
        self._tell_fault(fault, wait)
        await self._hold.begin_again(due_at, faults=conversion.faults + 1, fault=fault.message)

    def _tell_fault(self, fault: ServiceFault, wait: float) -> None:
        event(
            "service.fault",
            self.conversion,
            level=logging.WARNING,
            code=fault.code,
            message=fault.message,
            retry_in=round(wait, 1),
        )


def _is_touched(old: manifest.Manifest, conversion: Conversion) -> bool:
    """Whether the manifest is about the same bytes, companions included, converted the same way."""
    return (
        old.status is Status.SUCCESS
        and old.settings_hash == conversion.settings_hash
        and conversion.md5 is not None
        and (old.source.size, old.source.md5) == (conversion.size, conversion.md5)
        and old.source.companions == conversion.companions
    )
