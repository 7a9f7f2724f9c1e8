"""Jobs: create, list, read, change, delete."""

import re
import secrets
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from shared.embedded.api.api2convert.access import Access, header, same
from shared.embedded.api.api2convert.bodies import (
    Bodies,
    Content,
    list_in,
    object_in,
    order_digest,
    read,
    refreshed,
)
from shared.embedded.api.api2convert.change import Change
from shared.embedded.api.api2convert.documents import Documents
from shared.embedded.api.api2convert.files import keep
from shared.embedded.api.api2convert.model import STATUSES, Input, Job
from shared.embedded.api.api2convert.outputs import patched
from shared.embedded.api.api2convert.refusals import (
    bad_key,
    no_job,
    not_completed,
    refused,
    started,
)
from shared.embedded.api.api2convert.store import Jobs, is_id, new_id, token_digest
from shared.embedded.api.replies import Reply
from shared.telemetry import event

PAGE = 50

_KEY = re.compile(r"[\x21-\x7e]{1,256}")
_STAGED_FIELDS = (
    "process",
    "conversion",
    "limits",
    "input",
    "callback",
    "notify_status",
    "fail_on_input_error",
    "fail_on_conversion_error",
    "download_passwords",
)


def router(
    jobs: Jobs, access: Access, bodies: Bodies, change: Change, documents: Documents, most: int
) -> APIRouter:
    """The routes; ``most`` is the largest body, in bytes."""
    api = _Jobs(jobs, access, bodies, change, documents, most)
    routes = APIRouter(prefix="/v2/jobs")
    routes.post("")(api.create)
    routes.get("")(api.page)
    routes.get("/{job_id}")(api.get)
    # The guide's own samples say POST where its text says PATCH.
    routes.api_route("/{job_id}", methods=["PATCH", "POST"])(api.patch)
    routes.delete("/{job_id}")(api.delete)
    routes.get("/{job_id}/threads")(api.threads)
    routes.get("/{job_id}/history")(api.history)
    return routes


class _Jobs:
    def __init__(
        self, jobs: Jobs, access: Access, bodies: Bodies, change: Change, documents: Documents, most: int
    ) -> None:
        self._jobs = jobs
        self._access = access
        self._bodies = bodies
        self._change = change
        self._documents = documents
        self._most = most

    async def create(self, request: Request) -> Response:
        """A new job; with an Idempotency-Key the one that the key has made before."""
        self._access.account(request)
        key = request.headers.get("Idempotency-Key")
        if key is not None and not _KEY.fullmatch(key):
            raise refused(400, "The Idempotency-Key must be 1 to 256 visible ASCII characters.")
        body = object_in_body(await read(request, self._most))
        now = self._jobs.now()
        inputs, contents = self._bodies.inputs(body.get("input"), now)
        wanted = Job(
            id=_id_of(key) if key else new_id(),
            token=secrets.token_hex(16),
            conversions=await self._bodies.conversions(body.get("conversion")),
            key=key,
            order=order_digest(body) if key else None,
            created=now,
            modified=now,
        )
        inputs = await self._keep(wanted.id, inputs, contents)
        wanted = wanted.staged(now, inputs=inputs, **self._bodies.fields(body))
        seen = await self._jobs.create(wanted)
        if seen.job.rev != wanted.rev:
            if seen.job.order != wanted.order:
                raise refused(409, "The Idempotency-Key was used before, for another job.")
            seen = await self._change.change(seen, lambda old: refreshed(old, inputs, now))
        job = seen.job
        await self._change.go_on(job)
        event(
            "request.accepted" if job.rev == wanted.rev else "request.repeated",
            conversion_id=key,
            service="api2convert",
            service_id=job.id,
            trace_id=request.state.ms_cv,
        )
        return Reply(self._documents.job(job), 201, {"Idempotency-Key": key} if key else None)

    async def page(self, request: Request) -> Response:
        """The jobs of the account, newest first; for a job's token, that job. 204 where there is none."""
        chosen = await self._listed(request)
        status = request.query_params.get("status")
        if status is not None and status not in STATUSES:
            raise refused(400, f"'status' must be one of {', '.join(STATUSES)}.")
        number = request.query_params.get("page", "1")
        if not number.isdecimal() or not 0 < int(number) < 10**6:
            raise refused(400, "'page' must be a number from 1 on.")
        chosen = [item for item in chosen if status in (None, item.status)]
        begin = (int(number) - 1) * PAGE
        found = [await self._jobs.read(item.id) for item in chosen[begin : begin + PAGE]]
        documents = [self._documents.job(job) for job in found if job is not None]
        headers = {"X-Count": str(len(chosen))}
        return Reply(documents, headers=headers) if documents else Response(status_code=204, headers=headers)

    async def _listed(self, request: Request) -> Any:
        token = header(request, "Token")
        if header(request, "Api-Key") or not token:
            self._access.account(request)
            return await self._jobs.listing()
        chosen = [item for item in await self._jobs.listing() if same(item.token, token_digest(token))]
        if not chosen:
            raise bad_key()
        return chosen

    async def get(self, job_id: str, request: Request) -> Response:
        """A job."""
        job = await self._access.job(request, job_id)
        await self._jobs.look_after(job)
        return Reply(self._documents.job(job), headers={"Cache-Control": "no-store"})

    async def patch(self, job_id: str, request: Request) -> Response:
        """Changes a job before it starts, or its outputs after it has completed; `process` starts it."""
        seen = await self._access.seen(request, job_id)
        body = object_in_body(await read(request, self._most))
        if "output" in body:
            seen = await self._change.change(seen, _outputs_of(body["output"], self._jobs.now()))
        job = seen.job
        if not any(name in body for name in _STAGED_FIELDS):
            return Reply(self._documents.job(job))
        if not job.is_staged:
            raise started()
        fields = self._bodies.fields(body)
        now = self._jobs.now()
        if "conversion" in body:
            fields["conversions"] = await self._bodies.conversions(body["conversion"], job.conversions)
        if "input" in body:
            inputs, contents = self._bodies.inputs(body["input"], now, job.inputs)
            fields["inputs"] = await self._keep(job_id, inputs, contents)
        changed = await self._change.staged(seen, lambda _: fields)
        return Reply(self._documents.job(changed.job))

    async def delete(self, job_id: str, request: Request) -> Response:
        """Deletes a job with its files, in any state; a run of it stops."""
        await self._access.may(request, job_id)
        if not is_id(job_id) or not await self._jobs.delete(job_id):
            raise no_job()
        return Response(status_code=204)

    async def threads(self, job_id: str, request: Request) -> Response:
        """The vendor's own workers on a job: there are none to tell of."""
        await self._access.job(request, job_id)
        return Reply([])

    async def history(self, job_id: str, request: Request) -> Response:
        """The statuses of a job, as far as they are kept: the first and the present one."""
        job = await self._access.job(request, job_id)
        document = self._documents.job(job)
        told = [("incomplete", document["created_at"]), (job.status, document["modified_at"])]
        return Reply(
            [
                {
                    "id": str(uuid.uuid5(uuid.UUID(job.id), code)),
                    "status": code,
                    "info": STATUSES[code],
                    "created_at": at,
                }
                for code, at in dict(told).items()
            ]
        )

    async def _keep(
        self, job_id: str, inputs: tuple[Input, ...], contents: list[Content]
    ) -> tuple[Input, ...]:
        """The inputs, with the bytes of inline ones kept."""
        kept = {
            content.input_id: await keep(self._jobs, job_id, content.input_id, content.data)
            for content in contents
        }
        return tuple(item.model_copy(update=kept[item.id]) if item.id in kept else item for item in inputs)


def object_in_body(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refused(400, "The body is not a JSON object.")
    return value


def _outputs_of(value: Any, now: datetime) -> Callable[[Job], Job]:
    """Changes the outputs that a list names by their ids."""

    def apply(job: Job) -> Job:
        if job.status != "completed":
            raise not_completed()
        outputs = {item.id: item for item in job.outputs}
        for item in list_in(value, "output"):
            old = outputs.get(str(item.get("id")))
            if old is None:
                raise refused(404, "The output does not exist.")
            outputs[old.id] = patched(old, object_in(item, "output"))
        return job.changed(now, outputs=tuple(outputs.values()))

    return apply


def _id_of(key: str) -> str:
    """The id of the job that an Idempotency-Key makes."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"api2convert idempotency-key:{key}"))
