"""The worker's part of a job: bring the inputs, convert each, keep the outputs, tell how it ended.

It may be killed between any two lines. The next run starts over: what an earlier one made is dropped, and
only the run whose name stands in the job may change it.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from shared.embedded.api.api2convert import catalogue, errors
from shared.embedded.api.api2convert.errors import InputError
from shared.embedded.api.api2convert.inputs import Bring, Brought, OnDisk
from shared.embedded.api.api2convert.model import Conversion, Input, Job, Message, Output, Status
from shared.embedded.api.api2convert.notices import Notices
from shared.embedded.api.api2convert.store import Gone, Jobs, Seen, file, new_id
from shared.embedded.containers import Container
from shared.embedded.engine.formats import PICTURES, file_name
from shared.embedded.engine.job import Job as EngineJob
from shared.embedded.engine.job import Limits, Made
from shared.embedded.engine.job import Output as Wanted
from shared.embedded.inputs import Inputs, fetch
from shared.embedded.reports import stem
from shared.embedded.requests import Error, Held, Location, Lost, Request
from shared.embedded.worker import Converts
from shared.formats import API2CONVERT, extension, is_companion
from shared.outbound import Outbound
from shared.problems import Code, Problem
from shared.settings import Settings

# How often a run looks whether its job, or the part that is converted, is still wanted.
_LOOK_SECONDS = 2.0


class _Unwanted(Exception):
    """The part of the job that is being converted has been deleted."""


class Runner:
    """Runs jobs, for the worker that holds their requests."""

    def __init__(
        self, settings: Settings, jobs: Jobs, converter: Converts, notices: Notices, outbound: Outbound
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._converter = converter
        self._notices = notices
        self._outbound = outbound

    async def run(self, held: Held, folder: Path) -> Mapping[str, Any]:
        """Runs a job from its beginning to its end.

        Raises:
            Lost: another run has taken the job over.
        """
        run = _Run(self, held, folder)
        try:
            job = await run.run()
        except Gone:
            await self._jobs.drop(held.record.request.id)
            return {"status": "deleted"}
        return {"status": job.status, "outputs": len(job.outputs)}

    async def fail(self, request: Request, error: Error) -> None:
        """Ends a job whose run could not end it."""

        def failed(job: Job) -> Job:
            if job.is_final:
                return job
            return _failed(job, self._jobs, [_general(job, error)])

        try:
            seen = await self._jobs.change(request.id, failed)
        except Gone:
            return
        await self._notices.tell(seen.job)


class _Run:
    def __init__(self, runner: Runner, held: Held, folder: Path) -> None:
        self._runner = runner
        self._jobs = runner._jobs
        self._settings = runner._settings
        self._id = held.record.request.id
        self._token = held.token
        self._is_first = held.record.tries == 1
        self._folder = folder
        self._errors: list[Message] = []
        self._warnings: list[Message] = []
        self._outputs: list[Output] = []
        self._names: set[str] = set()
        # What became of the job's inputs so far; written with the next change of the job.
        self._brought: dict[str, dict[str, Any]] = {}
        # The job as this run wrote or read it last; most often nobody else has changed it since.
        self._seen: Seen | None = None

    async def run(self) -> Job:
        job = await self._take()
        if job.is_final:
            # The run before ended it, and died before it could tell.
            await self._tell(job)
            return job
        await self._tell(job, "pending", "downloading")
        brought = await self._bring(job)
        if self._errors and job.fail_on_input_error:
            return await self._end()
        job = await self._change(lambda job: job.changed(self._jobs.now(), status="processing"))
        await self._tell(job, "queued", "processing")
        pairs = [(source, conversion) for source in _sources(brought) for conversion in job.conversions]
        for number, (source, conversion) in enumerate(pairs):
            # What came before it may have taken long; the first has just been written.
            await self._convert(await self._look() if number else job, conversion, source, brought)
            if self._errors and job.fail_on_conversion_error:
                break
        return await self._end()

    async def _take(self) -> Job:
        """Makes the job this run's own, and begins with its first input; a final one stays as it is."""

        def taken(job: Job) -> Job:
            if job.is_final:
                return job
            now = self._jobs.now()
            first = {job.inputs[0].id: {"status": "downloading", "modified": now}} if job.inputs else {}
            return job.changed(
                now,
                status="downloading",
                run=self._token,
                inputs=_inputs_with(job, first),
                outputs=(),
                errors=(),
                warnings=(),
            )

        self._seen = await self._jobs.change(self._id, taken)
        job = self._seen.job
        if not self._is_first and not job.is_final:
            await self._jobs.drop(self._id, "out/")
        return job

    async def _change(self, apply: Callable[[Job], Job]) -> Job:
        """The job after ``apply``, which is given it with what became of its inputs."""

        def ours(job: Job) -> Job:
            if job.run != self._token:
                raise Lost
            return apply(job.model_copy(update={"inputs": _inputs_with(job, self._brought)}))

        self._seen = await self._jobs.change(self._id, ours, self._seen)
        return self._seen.job

    async def _look(self) -> Job:
        """The job as it is now, if it is still this run's."""
        self._seen = await self._jobs.see(self._id)
        if self._seen is None:
            raise Gone
        if self._seen.job.run != self._token:
            raise Lost
        return self._seen.job

    async def _tell(self, job: Job, *statuses: Status) -> None:
        """Tells of the job, in each of ``statuses`` that it went through with one write."""
        for status in statuses or (job.status,):
            await self._runner._notices.tell(job.model_copy(update={"status": status}))

    # --- Inputs -------------------------------------------------------------------------------

    async def _bring(self, job: Job) -> list[Brought]:
        place = self._folder / "files"
        await asyncio.to_thread(place.mkdir)
        bring = Bring(self._jobs, self._runner._outbound, place, self._settings.engine_input_mb)
        brought: list[Brought] = []
        for number, item in enumerate(job.inputs):
            if number:
                self._note_input(item, status="downloading")
                await self._change(lambda job: job.changed(self._jobs.now()))
            try:
                one = await self._while_wanted(bring.one(item), partial(Job.input, input_id=item.id))
            except _Unwanted:
                continue
            except InputError as error:
                self._note_input(item, status="failed")
                (self._errors if job.fail_on_input_error else self._warnings).append(error.about(item))
                continue
            got = one.input
            self._note_input(
                item,
                status="ready",
                size=got.size,
                checksum=got.checksum,
                filename=got.filename,
                content_type=got.content_type,
            )
            brought.append(one)
        return brought

    def _note_input(self, item: Input, **changes: Any) -> None:
        self._brought[item.id] = {"modified": self._jobs.now(), **changes}

    # --- Conversions --------------------------------------------------------------------------

    async def _convert(
        self, job: Job, conversion: Conversion, source: Brought, brought: Sequence[Brought]
    ) -> None:
        """Makes the outputs of one conversion of one input; what goes wrong is noted."""
        if job.conversion(conversion.id) is None or job.input(source.input.id) is None:
            return
        if conversion.target not in catalogue.targets_of(extension(source.name)):
            number, words = errors.UNSUPPORTED
            said = Message(source="conversion", id_source=conversion.id, code=number, message=words)
            self._note(job, said)
            return
        try:
            await self._while_wanted(
                self._make(conversion, source, brought),
                lambda job: job.conversion(conversion.id) and job.input(source.input.id),
            )
        except _Unwanted:
            return
        except Problem as problem:
            self._note(job, errors.conversion_error(conversion, problem.code, problem.message))

    def _note(self, job: Job, said: Message) -> None:
        (self._errors if job.fail_on_conversion_error else self._warnings).append(said)

    async def _make(self, conversion: Conversion, source: Brought, brought: Sequence[Brought]) -> None:
        folder = self._folder / new_id()
        incoming, outgoing = folder / "in", folder / "out"
        await asyncio.to_thread(incoming.mkdir, parents=True)
        await asyncio.to_thread(outgoing.mkdir)
        name = file_name(self._stem(source.name, conversion), conversion.target, conversion.options)
        wanted = Wanted(conversion.target, name, conversion.options)
        inputs = await self._inputs(source, brought, incoming, wanted)
        result = await self._runner._converter.convert(
            EngineJob(
                input_folder=str(incoming),
                model=inputs.model,
                output_folder=str(outgoing),
                outputs=(wanted,),
                limits=Limits(
                    memory_mb=self._settings.engine_memory_mb,
                    cpu_seconds=self._settings.engine_cpu_seconds,
                    wall_seconds=self._settings.engine_wall_seconds,
                    output_mb=self._settings.engine_output_mb,
                ),
            )
        )
        if result.error is not None:
            raise Problem(Code(result.error.code), result.error.message)
        self._warnings += [errors.warning(conversion, said) for said in (*inputs.warnings, *result.warnings)]
        for made in result.made:
            self._outputs.append(await self._keep(conversion, source, made, outgoing / made.name))

    async def _inputs(
        self, source: Brought, brought: Sequence[Brought], into: Path, wanted: Wanted
    ) -> Inputs:
        if extension(source.name) in PICTURES:
            await OnDisk({source.name: source.path}).download(
                source.name, into / f"picture{extension(source.name)}", most=source.input.size
            )
            return Inputs(f"picture{extension(source.name)}", {}, ())
        request = _model_request(self._id, source, wanted)
        files = OnDisk({one.name: one.path for one in brought})
        password = source.input.password
        return await fetch(
            cast(Container, files),
            request,
            into,
            self._settings,
            password=password.encode() if password else None,
        )

    def _stem(self, model: str, conversion: Conversion) -> str:
        """What the outputs are called: as the model is, with a number where that would be two of a name."""
        base = stem(model)
        candidates = [base, *(f"{base}-{number}" for number in range(2, 10_000))]
        for candidate in candidates:
            name = file_name(candidate, conversion.target, conversion.options).casefold()
            if name not in self._names:
                self._names.add(name)
                return candidate
        raise AssertionError("a job has fewer inputs and conversions")

    async def _keep(self, conversion: Conversion, source: Brought, made: Made, path: Path) -> Output:
        output_id = new_id()
        blob = file(self._id, f"out/{output_id}/{made.name}")
        container = Container(self._jobs.storage.blob_service.get_container_client(self._jobs.container))
        await container.upload(blob, path, made.content_type)
        return Output(
            id=output_id,
            conversion=conversion.id,
            inputs=(source.input.id,),
            name=made.name,
            blob=blob,
            size=made.size,
            checksum=await asyncio.to_thread(_md5, path),
            content_type=made.content_type,
            role=made.role,
            created=self._jobs.now(),
        )

    async def _while_wanted[Value](
        self, work: Coroutine[Any, Any, Value], wanted: Callable[[Job], object]
    ) -> Value:
        """The result of ``work``, which stops when the job, or what ``wanted`` looks for in it, is gone."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=_LOOK_SECONDS)
                if task.done():
                    break
                if not wanted(await self._look()):
                    raise _Unwanted
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    # --- The end ------------------------------------------------------------------------------

    async def _end(self) -> Job:
        """The job's end: the outputs of what is still wanted, or none where something failed it."""

        def ended(job: Job) -> Job:
            now = self._jobs.now()
            if not job.conversions or not job.inputs:
                return job.ending(now, "canceled")
            if self._errors:
                return _failed(job, self._jobs, self._errors, self._warnings)
            outputs = tuple(
                item
                for item in self._outputs
                if job.conversion(item.conversion) and all(job.input(one) for one in item.inputs)
            )
            if not outputs:
                return _failed(job, self._jobs, [errors.no_output(job.conversions[0])], self._warnings)
            return job.ending(now, "completed", outputs=outputs, warnings=tuple(self._warnings))

        job = await self._change(ended)
        kept = {output.blob for output in job.outputs}
        for output in self._outputs:
            if output.blob not in kept:
                await self._jobs.storage.delete(self._jobs.container, output.blob)
        await self._tell(job)
        return job


def _inputs_with(job: Job, changes: Mapping[str, Mapping[str, Any]]) -> tuple[Input, ...]:
    """The job's inputs, with the ``changes`` of some by their ids."""
    return tuple(item.model_copy(update=changes.get(item.id)) for item in job.inputs)


def _failed(job: Job, jobs: Jobs, said: Sequence[Message], warnings: Sequence[Message] = ()) -> Job:
    return job.ending(jobs.now(), "failed", errors=tuple(said), warnings=tuple(warnings), outputs=())


def _general(job: Job, error: Error) -> Message:
    """An error of the whole job, told of its first conversion."""
    about = job.conversions[0].id if job.conversions else job.id
    number, words, details = errors.problem_with(error.code, error.message)
    return Message(source="conversion", id_source=about, code=number, message=words, details=details)


def _sources(brought: Sequence[Brought]) -> list[Brought]:
    """What is to be converted: what is no companion. Beside a model, materials and pictures are its own."""
    kinds = {one.name: extension(one.name) for one in brought}
    if any(kind in catalogue.MODELS for kind in kinds.values()):
        return [
            one
            for one in brought
            if kinds[one.name] in catalogue.MODELS
            or not (is_companion(one.name) or kinds[one.name] in PICTURES)
        ]
    return list(brought)


def _model_request(job_id: str, source: Brought, wanted: Wanted) -> Request:
    """A request as the core's own fetching of models and companions knows it."""
    nowhere = Location(account="", container="")
    root = source.input.options.get("root_filename")
    return Request(
        api=API2CONVERT,
        id=job_id,
        source=nowhere,
        model=source.name,
        root=root if isinstance(root, str) else None,
        target=nowhere,
        outputs=(wanted,),
    )


def _md5(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
