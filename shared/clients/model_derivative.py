"""Client of the Autodesk Model Derivative API, v2.

The service reaches no blobs: a model goes into its object storage, its derivatives come from its CDN, both
in bounded memory. The object's key starts with the conversion's id and is recorded before the start, so
the manifest behind its URN is that conversion's alone: 200, 201 and 409 to the job all mean it exists.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import httpx

from shared import model_derivative_formats as table
from shared import paths
from shared.clients import InputFile, Order, OutputFile, Progress, Started, Status, Warned
from shared.clients.model_derivative_calls import DESIGN_DATA, NAME, Calls, bad
from shared.clients.model_derivative_download import Downloads
from shared.clients.model_derivative_extraction import (
    first_formats,
    guid_of,
    is_extracted,
    is_extraction,
    second_formats,
    waiting,
)
from shared.clients.model_derivative_manifest import progress_of, resources_of, types_of
from shared.clients.model_derivative_notes import notes_on
from shared.clients.model_derivative_upload import Uploads
from shared.clients.model_derivative_urn import Source
from shared.clients.model_derivative_webhook import EVENT, Webhook
from shared.clients.transport import Conflicting, NotFound, Reply, Transport, is_loopback
from shared.embedded.engine.formats import READS as ENGINE_READS
from shared.embedded.engine.formats import WRITES, thumbnail_size
from shared.formats import MODEL_DERIVATIVE, READS, extension, services_that_read
from shared.problems import Code, Problem, ServiceFault
from shared.telemetry import event

#: Where Autodesk runs the service.
AUTODESK = "https://developer.api.autodesk.com"

_ZIP = ".zip"
_OPTIONS = ("region", "derivativeFormat", "compressedUrn", "checkReferences", "misc")
# Any URN: what is checked of an order before there is one.
_SOME_URN = "dXJuOng"
_LOST = (
    Code.SERVICE_LOST_CONVERSION,
    f"{NAME} no longer has a manifest of this conversion. Delete the manifest to convert again.",
)


class ModelDerivative:
    """One application at one Model Derivative service."""

    name: str = MODEL_DERIVATIVE
    uploads = True
    downloads = True
    starts_per_minute: int | None = 500

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        *,
        region: str = table.DEFAULT_REGION,
        bucket: str | None = None,
        is_embedded: bool = False,
        emea_path: bool = False,
        delete_uploads: bool = True,
        webhook: Webhook | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``region`` is where manifests and derivatives are kept, unless the settings of a model say; without
        a ``bucket``, one for each region, named after the application. ``is_embedded`` says that the service
        reads and makes what the bundle's engine does; ``emea_path``: see :class:`Calls`. With a ``webhook``
        the service tells of the end of jobs that the settings give no workflow of their own."""
        self._base = url.rstrip("/")
        self._region = region
        self._bucket = bucket
        self._client_id = client_id
        self._is_embedded = is_embedded
        self._delete_uploads = delete_uploads
        self._webhook = webhook
        # Region -> whether the service has our webhook; asked once a process, for few may be asked for.
        self._hooked: dict[str, bool] = {}
        self._hooking = asyncio.Lock()
        self.reads = frozenset(ENGINE_READS) | {_ZIP} if is_embedded else READS[MODEL_DERIVATIVE]
        self._transport = Transport(NAME, trace_header="x-ads-exception-id", transport=transport)
        self._calls = Calls(
            self._transport, self._base, client_id, client_secret, emea_path=emea_path, clock=clock
        )
        self._uploads = Uploads(self._calls, sleep=sleep)
        self._downloads = Downloads(self._calls)

    def check(self, extension: str, formats: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> None:
        """Refuse what cannot be converted, or asked for: see `ConversionService.check`."""
        if not self._base.startswith("https://") and not is_loopback(self._base):
            raise Problem(
                Code.INVALID_SETTINGS,
                "MODEL_DERIVATIVE_URL is no https URL: credentials travel encrypted or not at all.",
            )
        if extension.lower() not in self.reads:
            others = [service for service in services_that_read(extension) if service != self.name]
            hint = f"{' and '.join(others)} can: name it as `service` in the settings" if others else ""
            raise Problem(
                Code.UNSUPPORTED_FORMAT,
                f"{self.name} cannot read {extension} files"
                + (f"; {hint}." if hint else f". It reads {', '.join(sorted(self.reads))}."),
            )
        types = table.ADVANCED.keys() | (WRITES.keys() if self._is_embedded else set())
        for wanted in formats:
            if wanted["type"] not in types:
                raise Problem(
                    Code.UNSUPPORTED_OUTPUT,
                    f"The output type {wanted['type']!r} is not one that {self.name} makes: "
                    f"{', '.join(sorted(types))}.",
                )
        self._check_options(options)
        # The order as it would be sent, against the reference; the URN and the file are not known yet.
        table.check(
            {
                "input": {"urn": _SOME_URN},
                "output": {"formats": [dict(wanted) for wanted in formats]},
                "misc": options.get("misc", {}),
            },
            self._region_of(options),
        )
        files = set()
        for wanted in formats:
            kind = wanted["type"]
            size = thumbnail_size(wanted.get("advanced", {})) if kind == "thumbnail" else None
            if (kind, size) in files:
                raise Problem(
                    Code.INVALID_SETTINGS,
                    f"Two entries of `formats` would both be written to one file, of the type {kind!r}. "
                    "Remove one of them.",
                )
            files.add((kind, size))

    def _check_options(self, options: Mapping[str, Any]) -> None:
        for key in options:
            if key not in _OPTIONS:
                raise Problem(
                    Code.INVALID_SETTINGS,
                    f"`options` has a key {key!r} that {self.name} lacks; it has {', '.join(_OPTIONS)}.",
                )
        for key, allowed in (
            ("region", table.REGIONS),
            ("derivativeFormat", table.DERIVATIVE_FORMATS),
            ("compressedUrn", (True, False)),
            ("checkReferences", (True, False)),
        ):
            value = options.get(key, allowed[0])
            if not any(type(value) is type(one) and value == one for one in allowed):
                raise Problem(
                    Code.INVALID_SETTINGS,
                    f"`options.{key}` is {value!r}; it must be one of {', '.join(map(str, allowed))}.",
                )

    def id_ahead(self, conversion_id: str, files: Sequence[InputFile], options: Mapping[str, Any]) -> str:
        """The URN, which the upload's name makes."""
        region = self._region_of(options)
        record = paths.record(files[0].path).removesuffix(".json")
        companions = len(_companions(files, options))
        name = PurePosixPath(files[0].name).name
        return Source.of(self._bucket_in(region), conversion_id, record, region, companions, name).urn

    async def start(self, order: Order) -> Started:
        """Upload the model and its companions, and post the job; what was done before is not done again."""
        assert order.transfer is not None
        source = _source_of(order.service_id or self.id_ahead(order.id, order.files, order.options))
        companions = list(zip(source.companion_keys, _companions(order.files, order.options), strict=True))
        files = [(source.key, order.files[0]), *companions]
        await self._uploads.bring(source, files, order.transfer, repeated=order.repeated)
        if companions:
            named = [(key, file.name) for key, file in companions]
            await self._uploads.refer(source, order.model, named)
        calls_back = "workflow" not in order.options.get("misc", {}) and await self._have_hook(source.region)
        formats = first_formats(order.formats, is_embedded=self._is_embedded)
        body = self._body(order, source, formats, self._webhook if calls_back else None)
        reply = await self.post_job(
            body, source.region, derivative_format=order.options.get("derivativeFormat")
        )
        root = order.root_filename or order.model
        notes = notes_on(order.formats, order.options.get("misc", {}), extension(root))
        return Started(
            source.urn,
            reply.trace_id if reply else None,
            tuple(Warned("option-ignored", note) for note in notes),
            calls_back=calls_back,
            sent=True,
        )

    async def post_job(
        self,
        body: Mapping[str, Any],
        region: str,
        *,
        derivative_format: str | None = None,
        force: bool = False,
    ) -> Reply | None:
        """Starts a translation; None where one of the same source is still running.

        ``force`` deletes the manifest and every derivative first. A conversion has a URN of its own, so that
        it never needs to.

        Raises:
            ServiceFault
        """
        headers = {"x-ads-force": str(force).lower()}
        if derivative_format is not None:
            headers["x-ads-derivative-format"] = derivative_format
        try:
            reply = await self._calls.call("POST", f"{DESIGN_DATA}/job", region, body=body, headers=headers)
        except Conflicting:
            return None
        urn = reply.body.get("urn")
        if urn is not None and (not isinstance(urn, str) or urn.rstrip("=") != body["input"]["urn"]):
            raise bad("accepted a job for another source", reply)
        return reply

    async def poll(self, service_id: str) -> Progress:
        """What the manifest says, of the whole and of each derivative."""
        source = _source_of(service_id)
        reply = await self._manifest(source)
        if reply.status == 202:
            return Progress(Status.PENDING, "202", trace_id=reply.trace_id)
        progress = progress_of(reply.body)
        if progress is None:
            raise bad("answered with a manifest without a status", reply)
        return replace(progress, answer=reply.body)

    async def collect(self, order: Order, polled: Progress | None = None) -> tuple[OutputFile, ...]:
        """Fetch every file that the manifest names."""
        assert order.transfer is not None
        assert order.service_id is not None
        source = _source_of(order.service_id)
        manifest = polled.answer if polled else (await self._manifest(source)).body
        if any(is_extraction(one) for one in order.formats) and not is_extracted(manifest):
            guid = await guid_of(self._calls, source, order.formats, order.transfer)
            body = self._body(order, source, second_formats(order.formats, guid), None)
            await self.post_job(body, source.region, derivative_format=order.options.get("derivativeFormat"))
            raise waiting()
        stem = PurePosixPath(order.root_filename or order.model).stem or "model"
        wanted = {one["type"] for one in order.formats}
        made: list[OutputFile] = []
        for resource in resources_of(manifest, stem):
            if resource.type not in wanted:
                continue  # made for an extraction
            if resource.type == "svf" and not resource.is_companion:
                made += await self._downloads.fetch_svf(source, resource, order.transfer)
            else:
                made.append(await self._downloads.fetch(source, resource, order.transfer))
        if "thumbnail" in wanted and not any(one.type == "thumbnail" for one in made):
            for one in order.formats:
                if one["type"] == "thumbnail":
                    width, height = thumbnail_size(one.get("advanced", {}))
                    name = f"{stem}.{width}x{height}.png"
                    made.append(
                        await self._downloads.fetch_thumbnail(source, width, height, name, order.transfer)
                    )
        missing = wanted - types_of(manifest) - {one.type for one in made}
        if missing:
            raise ServiceFault(
                Code.MISSING_OUTPUT,
                f"{NAME} reported success, but its manifest has no {', '.join(sorted(missing))}. "
                "Delete the manifest to convert again.",
                transient=False,
            )
        # A pack may be named by its viewable and by the manifest as well.
        return tuple({one.path: one for one in made}.values())

    async def dispose(self, service_id: str) -> None:
        """Delete the uploaded objects, unless a setting keeps them. The manifest stays, and with it what can
        only be viewed at the service."""
        source = Source.parse(service_id)
        if self._delete_uploads and source is not None:
            await self._uploads.delete(source)

    async def cancel(self, service_id: str) -> None:
        """Delete the manifest, which ends what runs, and the uploaded objects."""
        source = Source.parse(service_id)
        if source is not None:
            with suppress(NotFound):  # the job was not posted yet, or is deleted
                await self._calls.call(
                    "DELETE", f"{_design(source)}/manifest", source.region, may_be_empty=True
                )
            await self.dispose(service_id)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _have_hook(self, region: str) -> bool:
        """Whether the service will tell of the ends of jobs in a region. Without, polling finds them."""
        if self._webhook is None:
            return False
        async with self._hooking:
            if region not in self._hooked:
                try:
                    await self._calls.call(
                        "POST",
                        f"/webhooks/v1/systems/derivative/events/{EVENT}/hooks",
                        region,
                        body={
                            "callbackUrl": self._webhook.url,
                            "scope": {"workflow": self._webhook.workflow},
                            "token": self._webhook.tokens[0],
                        },
                        secrets=self._webhook.tokens,
                        may_be_empty=True,
                    )
                except Conflicting:
                    self._hooked[region] = True  # it exists
                except ServiceFault as fault:
                    event("webhook.refused", level=logging.WARNING, code=fault.code, message=fault.message)
                    if fault.transient:
                        return False
                    self._hooked[region] = False
                else:
                    self._hooked[region] = True
            return self._hooked[region]

    async def _manifest(self, source: Source) -> Reply:
        try:
            return await self._calls.call(
                "GET", f"{_design(source)}/manifest", source.region, not_found=_LOST
            )
        except NotFound as fault:
            # For a short time after the job was accepted there may be none yet.
            raise ServiceFault(
                fault.code, fault.message, transient=False, trace_id=fault.trace_id, while_new=True
            ) from None

    def _region_of(self, options: Mapping[str, Any]) -> str:
        return str(options.get("region", self._region))

    def _bucket_in(self, region: str) -> str:
        """The names of buckets are global, over all applications."""
        if self._bucket is not None:
            return self._bucket
        digest = hashlib.sha256(f"{urlsplit(self._base).hostname} {self._client_id}".encode()).hexdigest()
        return f"models-{digest[:24]}-{region.lower()}"

    @staticmethod
    def _body(
        order: Order, source: Source, formats: Sequence[Mapping[str, Any]], webhook: Webhook | None
    ) -> dict[str, Any]:
        given: dict[str, Any] = {"urn": source.urn}
        compressed = order.options.get("compressedUrn", extension(order.model) == _ZIP)
        if compressed:
            if order.root_filename is None:
                raise Problem(
                    Code.INVALID_SETTINGS,
                    "`options.compressedUrn` is true, and the model is no zip with a model in it.",
                )
            given |= {"compressedUrn": True, "rootFilename": order.root_filename}
        if source.companions or order.options.get("checkReferences"):
            given["checkReferences"] = True
        body: dict[str, Any] = {
            "input": given,
            "output": {"formats": [dict(wanted) for wanted in formats]},
        }
        misc = dict(order.options.get("misc", {}))
        if webhook is not None:
            misc["workflow"] = webhook.workflow
        return body | {"misc": misc} if misc else body


def _design(source: Source) -> str:
    return f"{DESIGN_DATA}/{source.urn}"


def _companions(files: Sequence[InputFile], options: Mapping[str, Any]) -> list[InputFile]:
    """The companions to send: what is empty cannot be sent, and would not help."""
    if options.get("checkReferences") is False:
        return []
    return [file for file in files[1:] if file.size > 0]


def _source_of(service_id: str) -> Source:
    source = Source.parse(service_id)
    if source is None:
        raise ServiceFault(*_LOST, transient=False)
    return source
