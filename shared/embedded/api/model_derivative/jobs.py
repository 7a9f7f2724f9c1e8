"""The job operation: an order checked, compared with what there is, and handed to the worker.

The order of refusals is fixed: 401, 403, 429, 400, 404, 406, 409; then 201 where nothing is missing, or 200.
"""

import re
import unicodedata
import uuid
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from shared import model_derivative_formats as seed
from shared import paths
from shared.embedded.api.model_derivative.access import READ, WRITE, Access
from shared.embedded.api.model_derivative.designs import (
    Derivative,
    Design,
    Designs,
    Job,
    Reference,
    References,
    place_of,
)
from shared.embedded.api.model_derivative.objects import Objects, StoredObject
from shared.embedded.api.model_derivative.plan import ZIP, NotMade, Planned, groups, plan
from shared.embedded.api.model_derivative.refusals import (
    flag,
    json_of,
    object_of,
    refused,
    region_of,
    text_in,
)
from shared.embedded.api.model_derivative.views import view_guid
from shared.embedded.api.replies import Reply
from shared.embedded.engine.formats import file_name
from shared.embedded.engine.job import Output
from shared.embedded.reports import short, stem
from shared.embedded.requests import Location, Record, State
from shared.embedded.requests import Request as Work
from shared.formats import MODEL_DERIVATIVE, extension
from shared.problems import Problem
from shared.storage import Conflict
from shared.telemetry import event

_ATTEMPTS = 10
_MOST_REFERENCES = 10_000
_MOST_NESTED = 20


@dataclass(frozen=True)
class Reading:
    """How a source is read: the file at its top, whether it is a zip, whether it has references."""

    root: str | None
    compressed: bool
    references: bool


@dataclass(frozen=True)
class Source:
    """What a job reads: the name of its model, and what lies beside it by name -> blob."""

    model: str
    files: dict[str, str]


class Jobs:
    """The handlers of what starts a translation."""

    def __init__(self, designs: Designs, objects: Objects, access: Access, place: Location) -> None:
        """``place`` is the private container, in which the objects are and the derivatives will be."""
        self._designs = designs
        self._objects = objects
        self._access = access
        self._place = place

    def routes(self) -> APIRouter:
        """The routes."""
        routes = APIRouter(prefix="/modelderivative/v2/designdata")
        routes.post("/job")(self.job)
        routes.post("/{urn}/references")(self.references)
        return routes

    async def job(self, request: Request) -> Response:
        """Starts a translation."""
        self._access.admit(request, READ, WRITE, limit="job")
        try:
            force = flag(request, "x-ads-force")
            _check_derivative_format(request)
            order = seed.check(await json_of(request), region_of(request))
            # Most designs are new, and the write that makes one tells which are not: only an extraction has
            # to know it before.
            extracts = any(one.model_guid is not None for one in order.formats)
            found = await self._designs.read(order.urn, order.region) if extracts else None
            _check_views(order, found[0] if found else None)
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        stored = await self._objects.find_urn(order.source)
        if stored is None:
            raise refused(request, 404, "The source design does not exist, or has expired.")
        for _ in range(_ATTEMPTS):
            before = found[0] if found else None
            reading = _reading(order, before)
            source = await self._source(request, order, stored, reading)
            try:
                planned = plan(order.formats, _kind(source.model, reading.root))
            except NotMade as not_made:
                found = found or await self._designs.read(order.urn, order.region)
                if before is None and found is not None:
                    continue  # how it was read before may make the difference
                raise refused(request, 406, str(not_made)) from None
            records = await self._designs.records(before) if before else {}
            if any(not record.final for record in records.values()):
                raise refused(request, 409, "A translation of this design is still in progress.")
            kept = () if before is None or force else _made(before, records)
            signatures = {one.signature for one in kept}
            missing = tuple(one for one in planned if one.signature not in signatures)
            if before is not None and not missing:
                return self._reply(order, 201, "created")
            old = None if force else before
            design, job = self._extended(old, kept, order, reading, source, missing)
            try:
                await self._designs.write(design, found[1] if found else None)
            except Conflict:
                found = await self._designs.read(order.urn, order.region)
                continue
            await self._designs.hand_in(design.requests[identity] for identity in job.requests)
            if before is not None and force:
                await self._designs.clear(before)
            for identity in job.requests:
                event(
                    "request.accepted",
                    service=MODEL_DERIVATIVE,
                    service_id=identity,
                    model=f"{stored.bucket}/{stored.key}",
                    trace_id=request.state.ms_cv,
                )
            return self._reply(order, 200, "success")
        raise refused(request, 409, "The design's manifest keeps changing.")

    @staticmethod
    def _reply(order: seed.Order, status: int, result: str) -> Response:
        body = {"result": result, "urn": order.urn, "acceptedJobs": {"output": dict(order.output)}}
        return Reply(body, status)

    async def _source(
        self, request: Request, order: seed.Order, stored: StoredObject, reading: Reading
    ) -> Source:
        model = _tidy(stored.file_name)
        if reading.compressed and extension(model) != ZIP:
            model += ZIP
        files: dict[str, str] = {}
        if reading.references:
            references = await self._designs.references(order.urn, order.region)
            model = references.filename or model
            for reference in references.files:
                companion = await self._objects.find_urn(reference.urn)
                if companion is None:
                    raise refused(request, 404, f"The referenced file {reference.path!r} does not exist.")
                files[reference.path] = companion.blob
        return Source(model, files | {model: stored.blob})

    def _extended(
        self,
        before: Design | None,
        kept: tuple[Derivative, ...],
        order: seed.Order,
        reading: Reading,
        source: Source,
        missing: tuple[Planned, ...],
    ) -> tuple[Design, Job]:
        """The design with what is to be made, and the job that makes it."""
        root = reading.root
        name = short(stem(root or source.model)) or "model"
        requests: dict[str, Work] = {}
        derivatives = []
        for group in groups(missing):
            identity = uuid.uuid4().hex
            outputs = tuple(
                Output(one.type, file_name(name, one.type, one.options), one.options) for one in group
            )
            requests[identity] = Work(
                api=MODEL_DERIVATIVE,
                id=identity,
                source=self._place,
                model=source.model,
                root=root,
                target=self._place.model_copy(update={"prefix": place_of(order.urn, order.region, identity)}),
                outputs=outputs,
                files=source.files,
                tree=True,
                watched=order.workflow is not None,
            )
            derivatives += [
                Derivative(
                    type=one.type,
                    asked=one.asked,
                    signature=one.signature,
                    request=identity,
                    name=output.name,
                    notes=(*one.notes, *order.notes),
                )
                for one, output in zip(group, outputs, strict=True)
            ]
        job = Job(requests=tuple(requests), workflow=order.workflow, attribute=order.attribute)
        if before is None:
            before = Design(urn=order.urn, region=order.region, name=_tidy(root or source.model))
        # A derivative that failed makes room for the one that takes its place.
        again = {one.signature for one in derivatives}
        old = tuple(one for one in before.derivatives if one in kept or one.signature not in again)
        return (
            before.changed(
                compressed=reading.compressed,
                root=root,
                references=reading.references,
                derivatives=(*old, *derivatives),
                jobs=(*before.jobs, job),
                requests={**before.requests, **requests},
            ),
            job,
        )

    async def references(self, urn: str, request: Request) -> Response:
        """Says which files a design of several needs, for jobs with ``checkReferences``."""
        self._access.admit(request, READ, WRITE)
        try:
            encoded, _ = seed.urn_of(urn)
            header = region_of(request)
            body = await object_of(request)
            region = header or seed.check_region(body.get("region"), "region") or seed.DEFAULT_REGION
            filename = body.get("filename")
            if filename is not None:
                filename = paths.check(_tidy(text_in(body, "filename")))
            files = tuple(_references(body.get("references"), 0))
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        if len(files) > _MOST_REFERENCES:
            raise refused(request, 400, f"'references' has more than {_MOST_REFERENCES} files.")
        await self._designs.set_references(encoded, region, References(filename=filename, files=files))
        return Reply({"result": "success", "urn": encoded})


def _references(value: object, depth: int) -> list[Reference]:
    if not isinstance(value, list) or depth > _MOST_NESTED:
        raise seed.invalid("'references' must be a list of objects with a urn and a relativePath.")
    found = []
    for entry in value:
        if not isinstance(entry, dict):
            raise seed.invalid("'references' must be a list of objects with a urn and a relativePath.")
        urn = text_in(entry, "urn")
        if not urn.startswith("urn:"):
            _, urn = seed.urn_of(urn)
        path = text_in(entry, "relativePath" if "relativePath" in entry else "filename").replace("\\", "/")
        found.append(Reference(urn=urn, path=paths.check(path.removeprefix("./"))))
        if entry.get("references") is not None:
            found += _references(entry["references"], depth + 1)
    return found


def _check_derivative_format(request: Request) -> None:
    """Which ids ``objectIds`` are. Here both kinds are the same, so that the value has to be right only."""
    value = request.headers.get("x-ads-derivative-format", "latest")
    if value not in seed.DERIVATIVE_FORMATS:
        raise seed.invalid("The header 'x-ads-derivative-format' must be latest or fallback.")


def _check_views(order: seed.Order, design: Design | None) -> None:
    guid = view_guid(order.urn) if design is not None and design.derivatives else None
    for index, one in enumerate(order.formats):
        if one.model_guid is not None and one.model_guid.lower() != guid:
            raise seed.invalid(
                f"'output.formats[{index}].advanced.modelGuid' is not the guid of a 3D view of the design. "
                "Translate the design, and take the guid from its metadata."
            )


def _reading(order: seed.Order, before: Design | None) -> Reading:
    """How the source is read; a design that was translated before knows what a job does not say.

    Geometry is extracted from what was translated, so that its references count there too."""
    said = Reading(order.root, order.compressed, order.check_references)
    if before is None or said.compressed or said.root is not None:
        return said
    extracts = any(one.model_guid is not None for one in order.formats)
    return Reading(before.root, before.compressed, said.references or (extracts and before.references))


def _kind(model: str, root: str | None) -> str:
    """The extension of what is to be read; that of a zip where nobody said what is in it."""
    kind = extension(model)
    return extension(root) if kind == ZIP and root is not None else kind


def _made(design: Design, records: dict[str, Record]) -> tuple[Derivative, ...]:
    return tuple(one for one in design.derivatives if records[one.request].state is State.SUCCEEDED)


def _tidy(name: str) -> str:
    """A file name without what file systems and blob names do not take."""
    base = re.split(r"[/\\]", name)[-1]
    tidy = "".join("_" if unicodedata.category(char) in ("Cc", "Cs") else char for char in base)
    return tidy if tidy.strip(". ") else f"model{tidy}".rstrip(". ")
