"""Uploads: files that come with a request, kept as blobs of their job."""

import hashlib
import mimetypes
import uuid
from typing import Any

from fastapi import APIRouter, Request, Response, UploadFile
from starlette.exceptions import HTTPException

from shared.embedded.api.api2convert.access import Access, header
from shared.embedded.api.api2convert.bodies import decoded, file_name, list_in, read, text_in, too_large
from shared.embedded.api.api2convert.change import Change
from shared.embedded.api.api2convert.documents import input_file
from shared.embedded.api.api2convert.model import UPLOADED, Input, Job
from shared.embedded.api.api2convert.refusals import no_job, refused, started
from shared.embedded.api.api2convert.store import Jobs, file, new_id
from shared.embedded.api.replies import Reply

_BYTES = "application/octet-stream"
# Around a file there are its headers, and other fields.
_MULTIPART_MARGIN = 64 * 1024


async def keep(jobs: Jobs, job_id: str, input_id: str, data: bytes) -> dict[str, Any]:
    """Keeps an input's bytes; what the input is to say of them."""
    # A name of its own for each upload: two at once do not write one blob.
    blob = file(job_id, f"in/{input_id}/{uuid.uuid4()}")
    await jobs.storage.put(jobs.container, blob, data, content_type=_BYTES)
    return {
        "blob": blob,
        "size": len(data),
        "checksum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
    }


def content_type_of(name: str) -> str:
    """What a file name says of the content."""
    return mimetypes.guess_type(name)[0] or _BYTES


def router(jobs: Jobs, access: Access, change: Change, most: int) -> APIRouter:
    """The routes under a job's server; ``most`` is the largest file, in bytes."""
    api = _Uploads(jobs, access, change, most)
    routes = APIRouter(prefix="/v2/dl/{server}")
    routes.post("/upload-file/{job_id}")(api.multipart)
    routes.post("/upload-base64/{job_id}")(api.base64)
    return routes


class _Uploads:
    def __init__(self, jobs: Jobs, access: Access, change: Change, most: int) -> None:
        self._jobs = jobs
        self._access = access
        self._change = change
        self._most = most

    async def multipart(self, job_id: str, request: Request) -> Response:
        """A file in the field `file` of a form, with its `decrypt_password` if it needs one."""
        await self._admit(job_id, request)
        stated = request.headers.get("Content-Length", "")
        if stated.isdecimal() and int(stated) > self._most + _MULTIPART_MARGIN:
            raise too_large(self._most)
        if len(await request.body()) > self._most + _MULTIPART_MARGIN:
            raise too_large(self._most)
        try:
            async with request.form(max_files=1, max_fields=20) as form:
                upload = form.get("file")
                if not isinstance(upload, UploadFile) and not hasattr(upload, "read"):
                    raise refused(400, "The form has no file in its field 'file'.")
                assert upload is not None and not isinstance(upload, str)
                data = await upload.read()
                name = upload.filename or ""
                password = form.get("decrypt_password")
        except HTTPException:
            raise refused(400, "The body is no multipart form with one file.") from None
        if len(data) > self._most:
            raise too_large(self._most)
        key = header(request, "Upload-Uuid")[:200] or None
        added = await self._add(
            job_id, data, file_name(name) or "file", password if isinstance(password, str) else None, key
        )
        return Reply(input_file(added))

    async def base64(self, job_id: str, request: Request) -> Response:
        """Files as JSON: `{content, filename}`, or a list of such objects."""
        await self._admit(job_id, request)
        body = await read(request, self._most * 4 // 3 + _MULTIPART_MARGIN)
        added = []
        for item in list_in(body, "body"):
            data, guessed = decoded(text_in(item, "content", None), self._most)
            name = file_name(text_in(item, "filename")) or guessed or "output"
            password = text_in(item, "decrypt_password") or None
            added.append(input_file(await self._add(job_id, data, name, password, None)))
        if not added:
            raise refused(400, "There is no file in the body.")
        return Reply(added if isinstance(body, list) else added[0])

    async def _admit(self, job_id: str, request: Request) -> None:
        job = await self._access.job(request, job_id)
        if not job.is_staged and not _sent_before(job, header(request, "Upload-Uuid")):
            raise started()

    async def _add(self, job_id: str, data: bytes, name: str, password: str | None, key: str | None) -> Input:
        """Adds an uploaded file to the job's inputs; a repeat with the same ``key`` is the same file."""
        now = self._jobs.now()
        # The job as it is after the body, which may have been long in coming.
        seen = await self._jobs.see(job_id)
        if seen is None:
            raise no_job()
        if sent := _sent_before(seen.job, key):
            return sent
        input_id = new_id()
        kept = await keep(self._jobs, job_id, input_id, data)
        fields: dict[str, Any] = {**kept, "content_type": content_type_of(name), "upload": key}

        def added(job: Job) -> dict[str, Any]:
            if _sent_before(job, key):
                return {}
            # What was announced at the creation, with the file that it waits for.
            waiting = next((item for item in job.inputs if not item.is_complete), None)
            if waiting is not None:
                filled = waiting.model_copy(
                    update={
                        **fields,
                        "filename": waiting.filename or name,
                        "password": password or waiting.password,
                        "modified": now,
                    }
                )
                return {"inputs": tuple(filled if item is waiting else item for item in job.inputs)}
            new = Input(
                id=input_id,
                type=UPLOADED[0],
                filename=name,
                password=password,
                created=now,
                modified=now,
                **fields,
            )
            return {"inputs": (*job.inputs, new)}

        job = (await self._change.staged(seen, added)).job
        found = next((item for item in job.inputs if item.blob == kept["blob"]), None)
        sent = found or _sent_before(job, key)
        assert sent is not None
        return sent


def _sent_before(job: Job, key: str | None) -> Input | None:
    return next((item for item in job.inputs if key and item.upload == key), None)
