"""The outputs of a job: listed, renamed, deleted, downloaded."""

import base64
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, Request, Response

from shared import paths
from shared.embedded.api.api2convert.access import Access, header, same
from shared.embedded.api.api2convert.bodies import list_in, password_digest, read, text_in
from shared.embedded.api.api2convert.change import Change
from shared.embedded.api.api2convert.documents import Documents
from shared.embedded.api.api2convert.model import Job, Output
from shared.embedded.api.api2convert.refusals import not_completed, refused
from shared.embedded.api.api2convert.store import LIFETIME, Jobs, Seen, is_id
from shared.embedded.api.replies import Reply
from shared.problems import Problem
from shared.sas import Signer

_LINK_LIFETIME = timedelta(minutes=10)
# A multiple of three, so that the pieces' encodings join to the whole's.
_PIECE = 3 * 1024 * 1024
_LONGEST_NAME = 200


def router(
    jobs: Jobs, access: Access, change: Change, signer: Signer, documents: Documents, most: int
) -> APIRouter:
    """The routes; ``most`` is the largest body, in bytes."""
    api = _Outputs(jobs, access, change, signer, documents, most)
    routes = APIRouter(prefix="/v2")
    every, one = "/jobs/{job_id}/output", "/jobs/{job_id}/output/{output_id}"
    routes.get(every)(api.every)
    routes.patch(every)(api.patch_every)
    routes.get(one)(api.get)
    routes.api_route(one, methods=["PATCH", "POST"])(api.patch)
    routes.delete(one)(api.delete)
    routes.api_route("/dl/{server}/download-file/{job_id}/{name:path}", methods=["GET", "HEAD"])(api.download)
    return routes


def patched(output: Output, body: Mapping[str, Any]) -> Output:
    """An output with the name, without its extension, and the password that a body gives it.

    Raises:
        Refused: 400.
    """
    changes: dict[str, Any] = {}
    if stem := text_in(body, "filename"):
        folder, _, old = output.name.rpartition("/")
        extension = old[old.rindex(".") :] if "." in old else ""
        name = f"{stem.removesuffix(extension) or stem}{extension}"
        try:
            paths.check(name)
        except Problem as problem:
            raise refused(400, f"'filename': {problem.message}") from None
        if "/" in name or "\\" in name or len(name) > _LONGEST_NAME:
            raise refused(
                400, f"'filename' must be a name without folders, of at most {_LONGEST_NAME} characters."
            )
        changes["name"] = f"{folder}/{name}" if folder else name
    if "download_password" in body:
        password = text_in(body, "download_password")
        changes["password"] = password_digest(password) if password else None
    return output.model_copy(update=changes)


class _Outputs:
    def __init__(
        self, jobs: Jobs, access: Access, change: Change, signer: Signer, documents: Documents, most: int
    ) -> None:
        self._jobs = jobs
        self._access = access
        self._change = change
        self._signer = signer
        self._documents = documents
        self._most = most

    async def every(self, job_id: str, request: Request) -> Response:
        """The outputs, or those of one conversion or input."""
        job = await self._access.job(request, job_id)
        return Reply(self._documents.outputs(job, _chosen(job, request.query_params)))

    async def get(self, job_id: str, output_id: str, request: Request) -> Response:
        job = await self._access.job(request, job_id)
        return Reply(self._documents.outputs(job, [_output(job, output_id)])[0])

    async def patch(self, job_id: str, output_id: str, request: Request) -> Response:
        """Renames an output, or gives it a password."""
        seen = await self._access.seen(request, job_id)
        body = await read(request, self._most)
        job = await self._patch(seen, lambda job: [(_output(job, output_id), body)])
        return Reply(self._documents.outputs(job, [_output(job, output_id)])[0])

    async def patch_every(self, job_id: str, request: Request) -> Response:
        """Changes the outputs that a list names by their ids, or all that the query chooses."""
        seen = await self._access.seen(request, job_id)
        body = await read(request, self._most)
        items = list_in(body, "output")

        def changes(job: Job) -> Any:
            if all("id" in item for item in items):
                return [(_output(job, str(item["id"])), item) for item in items]
            return [(output, items[0]) for output in _chosen(job, request.query_params)]

        job = await self._patch(seen, changes)
        return Reply(self._documents.outputs(job, _chosen(job, request.query_params)))

    async def delete(self, job_id: str, output_id: str, request: Request) -> Response:
        """Deletes an output and its file."""
        seen = await self._access.seen(request, job_id)
        output = _output(seen.job, output_id)

        def without(job: Job) -> Job:
            outputs = tuple(item for item in job.outputs if item.id != output_id)
            return job.changed(self._jobs.now(), outputs=outputs)

        await self._change.change(seen, without)
        await self._jobs.drop(job_id, output.blob.partition(f"{job_id}/")[2])
        return Response(status_code=204)

    async def download(self, job_id: str, name: str, request: Request) -> Response:
        """Redirects to the bytes at the storage service, which need no key: the address is the secret."""
        encoding = request.query_params.get("encoding")
        if encoding not in (None, "base64"):
            raise refused(400, "'encoding' must be base64: there is no other.")
        seen = await self._jobs.see(job_id) if is_id(job_id) else None
        output = _named(seen.job, name) if seen is not None else None
        if seen is None or output is None:
            raise refused(404, "The file does not exist.")
        job = seen.job
        if job.ended is not None and self._jobs.now() > job.ended + LIFETIME:
            raise refused(404, "The file was kept for 24 hours, and is gone. Convert again.")
        _check_password(request, job, output)
        blob = output.blob if encoding is None else await self._encoded(output)
        kind = output.content_type if encoding is None else "text/plain"
        file_name = output.name.rpartition("/")[2]
        sas = await self._signer.blob_sas(
            self._jobs.container,
            blob,
            "r",
            self._jobs.now() + _LINK_LIFETIME,
            disposition=f"attachment; filename*=UTF-8''{quote(file_name, safe='')}",
            content_type=kind,
        )
        if request.method == "GET":
            await self._count(seen, output.id)
        base = str(self._jobs.storage.blob_service.primary_endpoint).rstrip("/")
        location = f"{base}/{self._jobs.container}/{quote(blob)}?{sas}"
        return Response(status_code=302, headers={"Location": location, "Cache-Control": "no-store"})

    async def _encoded(self, output: Output) -> str:
        """The output's twin in base64, which is made once, a piece at a time."""
        twin = f"{output.blob}.b64"
        storage, container = self._jobs.storage, self._jobs.container
        if await storage.head(container, twin) is None:
            await storage.write_stream(container, twin, self._base64(output), content_type="text/plain")
        return twin

    async def _base64(self, output: Output) -> AsyncIterator[bytes]:
        pending = bytearray()
        async for piece in self._jobs.storage.stream(self._jobs.container, output.blob):
            pending += piece
            whole = len(pending) - len(pending) % _PIECE
            yield base64.b64encode(pending[:whole])
            del pending[:whole]
        yield base64.b64encode(pending)

    async def _count(self, seen: Seen, output_id: str) -> None:
        def counted(job: Job) -> Job:
            outputs = tuple(
                item.model_copy(update={"downloads": item.downloads + 1}) if item.id == output_id else item
                for item in job.outputs
            )
            return job.changed(job.modified, outputs=outputs)

        await self._change.change(seen, counted)

    async def _patch(self, seen: Seen, changes: Any) -> Job:
        def apply(job: Job) -> Job:
            if job.status != "completed":
                raise not_completed()
            outputs = {item.id: item for item in job.outputs}
            for output, body in changes(job):
                outputs[output.id] = patched(output, body)
            return job.changed(self._jobs.now(), outputs=tuple(outputs.values()))

        return (await self._change.change(seen, apply)).job


def _chosen(job: Job, query: Mapping[str, str]) -> list[Output]:
    conversion_id, input_id = query.get("conversion_id"), query.get("input_id")
    return [
        item
        for item in job.outputs
        if conversion_id in (None, item.conversion) and (input_id is None or input_id in item.inputs)
    ]


def _output(job: Job, output_id: str) -> Output:
    found = job.output(output_id)
    if found is None:
        raise refused(404, "The output does not exist.")
    return found


def _named(job: Job, name: str) -> Output | None:
    """The output that an address means: by its name, where only one has it, or by its id and name."""
    output_id, slash, rest = name.partition("/")
    found = job.output(output_id)
    if slash and found is not None and found.name == rest:
        return found
    same_name = [item for item in job.outputs if item.name == name]
    return same_name[0] if len(same_name) == 1 else None


def _check_password(request: Request, job: Job, output: Output) -> None:
    """A password opens its own output, or all of its job's; none is asked for where none is set."""
    wanted = [output.password] if output.password else list(job.passwords)
    if not wanted:
        return
    given = header(request, "Download-Password") or next(
        (
            unquote(value)
            for name, value in request.cookies.items()
            if name.lower() in ("x-oc-download-password", "x-api2convert-download-password")
        ),
        "",
    )
    digests = [password_digest(one.strip()) for one in given.split(",") if one.strip()][:10]
    if not any(same(one, other) for one in digests for other in wanted):
        raise refused(401, "The file needs a download password.")
