"""Client of the API2Convert jobs API, v2: the vendor's, and the embedded service's.

A conversion is one job. It is created without being processed, its id is noted, and only then it is
started: a reply that is lost at any point costs no second, billed, run. Files go by read-only addresses,
or by upload where the service cannot reach them; outputs are brought back, checked and then deleted there.
"""

import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import httpx

from shared.clients import InputFile, Order, OutputFile, Progress, Started, Status, Transfer
from shared.clients.api2convert_catalogue import Catalogue, no_api
from shared.clients.api2convert_wire import (
    FLAGS,
    NAME,
    check_options,
    conversion,
    decoded,
    form,
    is_denied_input,
    messages,
    objects,
    output_name,
    unique,
    without_output,
)
from shared.clients.transport import Answer, Transport, is_loopback, redacted
from shared.clients.zipped import zipped
from shared.embedded.engine.formats import check_output
from shared.formats import API2CONVERT, READS, services_that_read
from shared.problems import Code, Problem, ServiceFault

VENDOR_URL = "https://api.api2convert.com/v2"

_STATUS = {
    "created": Status.PENDING,
    "incomplete": Status.PENDING,
    "ready": Status.PENDING,
    "pending": Status.PENDING,
    "queued": Status.PENDING,
    "completed": Status.SUCCESS,
    "failed": Status.FAILED,
    "canceled": Status.FAILED,
}

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MD5 = re.compile(r"[0-9a-fA-F]{32}")

_BASE64_PIECE = 4


class Api2Convert:
    """One account at one API2Convert service."""

    name: str = API2CONVERT
    reads = READS[API2CONVERT]
    downloads = True
    starts_per_minute: int | None = None

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        is_own: bool = False,
        upload: bool = False,
        password: Callable[[str], str | None] = lambda name: None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` is the API's address with its version. `is_own`: the bundle's own service, which takes
        companions as inputs. `upload`: files are sent, because the service cannot fetch them. `password`
        gives the value of an app setting."""
        self._base = url.rstrip("/")
        self._is_own = is_own
        self._upload = upload
        self._password = password
        self._key = api_key
        self._transport = Transport(
            NAME, trace_header="MS-CV" if is_own else "X-Request-Id", transport=transport
        )
        self._catalogue = Catalogue(self._transport, self._base, clock)
        #: The vendor's gets a zip of what has companions, and uploads are sent by the client itself.
        self.uploads = upload or not is_own

    def check(self, extension: str, formats: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> None:
        """Refuse what cannot be converted, or asked for: see `ConversionService.check`. What else the
        service has is in its catalogue, which `start` asks."""
        if extension.lower() not in self.reads:
            others = " and ".join(name for name in services_that_read(extension) if name != self.name)
            hint = f"{others} can, once set up: name it as `service` in the settings" if others else ""
            raise Problem(
                Code.UNSUPPORTED_FORMAT,
                f"{self.name} cannot read {extension} files"
                + (f"; {hint}." if hint else f". It reads {', '.join(sorted(self.reads))}."),
            )
        seen = []
        for wanted in formats:
            if self._is_own:
                check_output(wanted["type"], wanted.get("advanced", {}))
            entry = (wanted["type"], wanted.get("advanced", {}))
            if entry in seen:
                raise Problem(
                    Code.INVALID_SETTINGS,
                    f"Two entries of `formats` ask for the same {wanted['type']!r}. Remove one of them.",
                )
            seen.append(entry)
        check_options(options)
        setting = options.get("password_setting")
        if setting is not None and self._password(setting) is None:
            raise Problem(
                Code.INVALID_SETTINGS,
                f"`options.password_setting` names the app setting {setting}, which is not set.",
            )

    def id_ahead(
        self, conversion_id: str, files: Sequence[InputFile], options: Mapping[str, Any]
    ) -> str | None:
        """The service names jobs itself."""
        return None

    async def start(self, order: Order) -> Started:
        """Create a job, note its id, give it its files, and have it processed."""
        transfer = order.transfer
        assert transfer is not None
        await self._catalogue.check(order, is_packed=self._packs(order))
        job = None
        if order.service_id is not None:
            job = await self._job(order.service_id, may_be_gone=True)
        if job is None:
            job = await self._create(order, transfer)
        job_id = self._id_of(job)
        await transfer.note(job_id)
        if self._upload:
            await self._send_files(order, transfer, job)
        trace_id = await self._process(job_id)
        return Started(
            job_id,
            trace_id,
            calls_back=self._callback(order) is not None,
            sent=self._upload or self._packs(order),
        )

    async def poll(self, service_id: str) -> Progress:
        """The state of the job, with its errors and warnings."""
        job = await self._job(service_id)
        assert job is not None
        status = job.value.get("status")
        word = status.get("code") if isinstance(status, dict) else None
        if not isinstance(word, str) or not 0 < len(word) <= 100:
            self._bad("answered without a status", job)
        errors = messages(job.value.get("errors"))
        found = _STATUS.get(word, Status.INPROGRESS)
        has_failed = found is Status.FAILED
        said = errors[0] if errors else None
        info = status.get("info") if isinstance(status, dict) else None
        reason = said.title if said else info if isinstance(info, str) else "The service gave no reason."
        return Progress(
            found,
            word,
            code=said.code if said and has_failed else None,
            message=redacted(reason) if has_failed else None,
            errors=errors if has_failed else (),
            warnings=messages(job.value.get("warnings")) + (() if has_failed else errors),
            trace_id=job.trace_id,
            denied=has_failed and any(is_denied_input(one) for one in errors),
            answer=job,
        )

    async def collect(self, order: Order, polled: Progress | None = None) -> tuple[OutputFile, ...]:
        """Bring every output of the job, and hold it against the size and the MD5 that the job states."""
        assert order.service_id is not None and order.transfer is not None
        job = polled.answer if polled else await self._job(order.service_id)
        assert job is not None
        types = {
            item["id"]: item["target"]
            for item in objects(job.value.get("conversion"))
            if isinstance(item.get("id"), str) and isinstance(item.get("target"), str)
        }
        outputs = objects(job.value.get("output"))
        # Without that option a conversion that fails is a warning of the job's, and no output.
        if order.options.get("fail_on_conversion_error") is not False and (
            missing := without_output(types, outputs)
        ):
            raise ServiceFault(
                Code.MISSING_OUTPUT,
                f"{NAME} completed the job, but made no {', '.join(missing)}. "
                "Delete the manifest to convert again.",
                transient=False,
                trace_id=job.trace_id,
            )
        names: set[str] = set()
        return tuple([await self._bring(output, order.transfer, types, names, job) for output in outputs])

    async def dispose(self, service_id: str) -> None:
        """Delete the job with its files; one that is gone is deleted."""
        await self._ask("DELETE", f"/jobs/{quote(service_id, safe='')}", answers=(404,))

    async def cancel(self, service_id: str) -> None:
        """Delete the job: what runs, stops."""
        await self.dispose(service_id)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def content(self, uri: str, *, encoded: bool = False) -> AsyncIterator[bytes]:
        """The bytes of an output. `encoded` asks for them in base64, as networks may need that take
        nothing else, and decodes them.

        Raises:
            ServiceFault
        """
        gone = (
            Code.MISSING_OUTPUT,
            f"{NAME} no longer has an output of the conversion: it keeps them for 24 hours. "
            "Delete the manifest to convert again.",
        )
        url = f"{uri}?encoding=base64" if encoded else uri
        async with self._transport.download(url, not_found=gone, allowed=self._is_allowed) as chunks:
            pending = b""
            async for chunk in chunks:
                if not encoded:
                    yield chunk
                    continue
                pending += b"".join(chunk.split())
                whole = len(pending) - len(pending) % _BASE64_PIECE
                yield decoded(pending[:whole])
                pending = pending[whole:]
            if pending:
                yield decoded(pending)

    # --- Starting -----------------------------------------------------------------------------

    async def _create(self, order: Order, transfer: Transfer) -> Answer:
        inputs, secrets = ([], []) if self._upload else await self._inputs(order, transfer)
        body: dict[str, Any] = {
            "process": False,
            "conversion": [conversion(wanted, order.options) for wanted in order.formats],
            "input": inputs,
            **{name: order.options[name] for name in (*FLAGS, "limits") if name in order.options},
        }
        if callback := self._callback(order):
            body["callback"] = callback
            secrets.append(callback)  # signed, so that nobody else can call
        return await self._ask(
            "POST", "/jobs", body=body, headers={"Idempotency-Key": order.id}, secrets=secrets
        )

    async def _inputs(self, order: Order, transfer: Transfer) -> tuple[list[dict[str, Any]], list[str]]:
        """The inputs of a job by their addresses, and what of them is secret."""
        if self._packs(order):
            name, chunks = _packed(order, transfer)
            sources = [(name, await transfer.stage(name, chunks))]
        else:
            sources = [(file.name, await transfer.read_url(file.path)) for file in order.files]
        password = self._password_of(order)
        inputs = [{"type": "remote", "source": source, "filename": name} for name, source in sources]
        secrets = [source.partition("?")[2] for _, source in sources]
        first: dict[str, Any] = inputs[0]
        if password is not None:
            first["credentials"] = {"decrypt_password": password}
            secrets.append(password)
        if order.root_filename is not None and self._is_own:
            first["options"] = {"root_filename": order.root_filename}
        return inputs, secrets

    async def _send_files(self, order: Order, transfer: Transfer, job: Answer) -> None:
        """Uploads what the job does not have yet; an upload has a name of its own, so that one whose reply
        was lost is not a second file."""
        server, token = job.value.get("server"), job.value.get("token")
        if not isinstance(server, str) or not isinstance(token, str) or not self._is_allowed(server):
            self._bad("gave no server, or no token, for an upload", job)
        there = {item.get("filename") for item in objects(job.value.get("input"))}
        uploads: list[tuple[str, AsyncIterator[bytes], int | None]]
        if self._packs(order):
            uploads = [(*_packed(order, transfer), None)]
        else:
            uploads = [(file.name, transfer.read(file.path), file.size) for file in order.files]
        url = f"{server.rstrip('/')}/upload-file/{self._id_of(job)}"
        for name, chunks, size in uploads:
            if name not in there:
                await self._send(order, url, token, name, chunks, size)

    async def _send(
        self, order: Order, url: str, token: str, name: str, chunks: AsyncIterator[bytes], size: int | None
    ) -> None:
        boundary = uuid.uuid4().hex
        head, tail = form(boundary, name, self._password_of(order))
        headers = {
            "X-Oc-Token": token,
            "X-Oc-Upload-Uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{order.id}/{name}")),
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Accept": "application/json",
        }
        if size is not None:
            headers["Content-Length"] = str(len(head) + size + len(tail))

        async def whole() -> AsyncIterator[bytes]:
            yield head
            async for chunk in chunks:
                yield chunk
            yield tail

        password = self._password_of(order)
        await self._transport.ask(
            "POST",
            url,
            headers=headers,
            content=whole(),
            not_found=no_api(self._base),
            secrets=[token, *([password] if password else [])],
        )

    async def _process(self, job_id: str) -> str | None:
        """Starts the job; one that has been started already refuses with 409."""
        path = f"/jobs/{quote(job_id, safe='')}"
        answer = await self._ask("PATCH", path, body={"process": True}, answers=(405, 409))
        if answer.status == 405:
            # The vendor's own samples say POST where its text says PATCH.
            answer = await self._ask("POST", path, body={"process": True}, answers=(409,))
        return answer.trace_id

    def _packs(self, order: Order) -> bool:
        """Whether the model and what it refers to go as one file: the vendor's jobs know no companions."""
        return len(order.files) > 1 and not self._is_own

    def _callback(self, order: Order) -> str | None:
        """The address for callbacks, where the service can reach it."""
        if order.callback is None or (not self._is_own and not order.callback.startswith("https://")):
            return None
        return order.callback

    def _password_of(self, order: Order) -> str | None:
        setting = order.options.get("password_setting")
        return self._password(setting) if isinstance(setting, str) else None

    # --- Collecting ---------------------------------------------------------------------------

    async def _bring(
        self,
        output: Mapping[str, Any],
        transfer: Transfer,
        types: Mapping[str, str],
        names: set[str],
        job: Answer,
    ) -> OutputFile:
        uri = output.get("uri")
        if not isinstance(uri, str):
            self._bad("completed a job with an output that has no address", job)
        name = unique(output_name(output, uri), names)
        kind = output.get("content_type")
        content_type = kind if isinstance(kind, str) and re.fullmatch(r"[\w.+/-]{3,100}", kind) else None
        written = await transfer.write(name, self.content(uri), content_type=content_type)
        size, checksum = output.get("size"), output.get("checksum")
        if isinstance(size, int) and size != written.size:
            self._bad(f"said that {name} has {size} bytes, and sent {written.size}", job)
        if isinstance(checksum, str) and _MD5.fullmatch(checksum) and checksum.lower() != written.md5:
            self._bad(f"sent {name} with another checksum than it said", job)
        source = output.get("source")
        metadata = output.get("metadata")
        role = metadata.get("role") if isinstance(metadata, dict) else None
        return OutputFile(
            path=written.path,
            type=types.get(str(source.get("conversion"))) if isinstance(source, dict) else None,
            size=written.size,
            sha256=written.sha256,
            content_type=content_type,
            role=role if role == "companion" else None,
        )

    def _is_allowed(self, url: str) -> bool:
        """Whether files may go to, or come from, an address that the service gave: never unencrypted, but
        on one machine."""
        try:
            scheme = urlsplit(url).scheme
        except ValueError:
            return False
        return scheme == "https" or (scheme == "http" and is_loopback(self._base) and is_loopback(url))

    # --- Calls --------------------------------------------------------------------------------

    async def _job(self, job_id: str, *, may_be_gone: bool = False) -> Answer | None:
        """A job; None where it is gone, and that `may_be`."""
        answer = await self._ask(
            "GET",
            f"/jobs/{quote(job_id, safe='')}",
            answers=(404,) if may_be_gone else (),
            not_found=(
                Code.SERVICE_LOST_CONVERSION,
                f"{NAME} no longer knows the job {job_id}. Delete the manifest to convert again.",
            ),
        )
        if answer.status == 404:
            return None
        if not isinstance(answer.value, dict):
            self._bad("answered with JSON that is no object", answer)
        return answer

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        answers: tuple[int, ...] = (),
        not_found: tuple[Code, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> Answer:
        if not self._base.startswith("https://") and not is_loopback(self._base):
            raise ServiceFault(
                Code.INVALID_SETTINGS,
                "API2CONVERT_URL is no https URL: keys and addresses travel encrypted or not at all.",
                transient=False,
            )
        return await self._transport.ask(
            method,
            self._base + path,
            headers={"X-Oc-Api-Key": self._key, "Accept": "application/json", **(headers or {})},
            body=body,
            not_found=not_found or no_api(self._base),
            secrets=[self._key, *secrets],
            answers=answers,
        )

    def _id_of(self, job: Answer) -> str:
        job_id = job.value.get("id") if isinstance(job.value, dict) else None
        if not isinstance(job_id, str) or not _ID.fullmatch(job_id):
            self._bad("accepted the job without naming its id", job)
        return job_id

    def _bad(self, what: str, answer: Answer) -> NoReturn:
        raise ServiceFault(
            Code.SERVICE_BAD_REPLY, f"{NAME} {what}.", transient=True, trace_id=answer.trace_id
        )


def _packed(order: Order, transfer: Transfer) -> tuple[str, AsyncIterator[bytes]]:
    """The model and its companions as one file, and its name."""

    def read(file: InputFile) -> AsyncIterator[bytes]:
        return transfer.read(file.path)

    return f"{order.model.rpartition('.')[0] or order.model}.zip", zipped(order.files, read)
