"""Client of the Azure Remote Rendering conversion API, v1.

The wire is "Use the model conversion REST API" of 2020, field names and all: two ways to start (linked
storage, SAS), one to poll. Microsoft's service ended on 30 September 2025; the API lives on in the
embedded service, which also takes the optional members `formats`, `rootFilename` and `callback`,
honours `Idempotency-Key`, and answers with a `result`.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import httpx
from azure.core.credentials_async import AsyncTokenCredential

from shared.clients import InputFile, Order, OutputFile, Place, Progress, Started, Status, Warned
from shared.clients.mixed_reality_token import TokenSource
from shared.clients.transport import (
    Reply,
    Transport,
    Unauthenticated,
    Unreachable,
    error_of,
    is_loopback,
    redacted,
)
from shared.denial import is_denial
from shared.embedded.engine.formats import check_output, file_name
from shared.formats import READS, REMOTE_RENDERING, services_that_read
from shared.problems import Code, Problem, ServiceFault

#: Where Microsoft ran the service.
REGIONS = (
    "australiaeast", "eastus", "eastus2", "japaneast", "northeurope", "southcentralus", "southeastasia",
    "uksouth", "westeurope", "westus2",
)  # fmt: skip

_VENDOR_DOMAIN = "mixedreality.azure.com"
_RETIRED = (
    "Microsoft retired Azure Remote Rendering on 30 September 2025. Unset REMOTE_RENDERING_ENDPOINT to use "
    "the embedded service, which answers the same API"
)

_STATUS = {
    "created": Status.PENDING,
    "notstarted": Status.PENDING,
    "running": Status.INPROGRESS,
    "success": Status.SUCCESS,
    "succeeded": Status.SUCCESS,
    "failure": Status.FAILED,
    "failed": Status.FAILED,
    "cancelled": Status.FAILED,
    "aborted": Status.FAILED,
}

_ASSET = re.compile(r"[^/\\]+\.arrAsset")
_SERVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_OPTIONS = ("access", "outputAssetFileName")
_ACCESS = ("sas", "linked")
_NAME = "Remote Rendering"


class RemoteRendering:
    """One account at one Remote Rendering conversion service."""

    name: str = REMOTE_RENDERING
    reads = READS[REMOTE_RENDERING]
    # The service reads and writes blobs itself.
    uploads = False
    downloads = False
    starts_per_minute: int | None = None

    def __init__(
        self,
        endpoint: str,
        account_id: str,
        *,
        account_key: str | None = None,
        credential: AsyncTokenCredential | None = None,
        token: str | None = None,
        account_domain: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`endpoint` is one of REGIONS, or a URL; one of `account_key`, `credential` and `token` opens it.

        `account_domain` is where tokens come from: a domain such as `eastus.mixedreality.azure.com`, or a
        URL. Without it, Microsoft's own domain for Microsoft's service, and `endpoint` for any other.
        """
        if "://" not in endpoint:
            endpoint = f"https://remoterendering.{endpoint.lower()}.{_VENDOR_DOMAIN}"
        self._base = endpoint.rstrip("/")
        host = (urlsplit(self._base).hostname or "").lower()
        self._is_vendors = host == _VENDOR_DOMAIN or host.endswith(f".{_VENDOR_DOMAIN}")
        self._unusable: ServiceFault | None = None
        if self._is_vendors and host not in {
            f"remoterendering.{region}.{_VENDOR_DOMAIN}" for region in REGIONS
        }:
            self._unusable = ServiceFault(
                Code.SERVICE_RETIRED,
                f"{host} is no address of Azure Remote Rendering: its regions were {', '.join(REGIONS)}. "
                f"{_RETIRED}.",
                transient=False,
            )
        elif not self._base.startswith("https://") and not is_loopback(self._base):
            self._unusable = ServiceFault(
                Code.INVALID_SETTINGS,
                "REMOTE_RENDERING_ENDPOINT is neither a region nor an https URL: credentials and SAS tokens "
                "travel encrypted or not at all.",
                transient=False,
            )
        if account_domain is None:
            token_url = f"https://sts.{_VENDOR_DOMAIN}" if self._is_vendors else self._base
        elif "://" in account_domain:
            token_url = account_domain.rstrip("/")
        else:
            token_url = f"https://sts.{account_domain}"
        self._account = f"{self._base}/v1/accounts/{quote(account_id, safe='')}"
        self._transport = Transport(_NAME, trace_header="MS-CV", transport=transport)
        self._tokens = TokenSource(
            self._transport,
            token_url,
            account_id,
            key=account_key,
            credential=credential,
            token=token,
            clock=clock,
        )

    def check(self, extension: str, formats: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> None:
        """Refuse what cannot be converted, or asked for: see `ConversionService.check`."""
        if extension.lower() not in self.reads:
            others = " and ".join(name for name in services_that_read(extension) if name != self.name)
            hint = f"{others} can, once set up: name it as `service` in the settings" if others else ""
            raise Problem(
                Code.UNSUPPORTED_FORMAT,
                f"{self.name} cannot read {extension} files"
                + (f"; {hint}." if hint else f". It reads {', '.join(sorted(self.reads))}."),
            )
        stem = "the model's name"
        names = set()
        for wanted in formats:
            check_output(wanted["type"], wanted.get("advanced", {}))
            name = file_name(stem, wanted["type"], wanted.get("advanced", {}))
            if name in names:
                raise Problem(
                    Code.INVALID_SETTINGS,
                    f"Two entries of `formats` would both be written to one file, {stem} and "
                    f"{name.removeprefix(stem)!r}. Remove one of them.",
                )
            names.add(name)
        for key in options:
            if key not in _OPTIONS:
                raise Problem(
                    Code.INVALID_SETTINGS,
                    f"`options` has a key {key!r} that {self.name} lacks; it has {', '.join(_OPTIONS)}.",
                )
        access = options.get("access", _ACCESS[0])
        if access not in _ACCESS:
            raise Problem(
                Code.INVALID_SETTINGS,
                f"`options.access` is {access!r}; it must be one of {', '.join(_ACCESS)}.",
            )
        name = options.get("outputAssetFileName", "")
        if not isinstance(name, str) or (name and not _ASSET.fullmatch(name)):
            raise Problem(
                Code.INVALID_SETTINGS,
                f"`options.outputAssetFileName` is {name!r}; it must be a file name that ends in .arrAsset.",
            )

    def id_ahead(
        self, conversion_id: str, files: Sequence[InputFile], options: Mapping[str, Any]
    ) -> str | None:
        """The service names conversions itself."""
        return None

    async def start(self, order: Order) -> Started:
        """Create the conversion, with SAS tokens or by linked storage as the settings say."""
        linked = order.options.get("access") == "linked"
        body: dict[str, Any] = {
            "input": {**_place(order.input), "inputAssetPath": order.model},
            "output": _place(order.output),
        }
        secrets: list[str] = []
        if not linked:
            if order.input.sas is None or order.output.sas is None:
                raise ValueError("an order with access by SAS needs both tokens")
            body["input"]["containerReadListSas"] = order.input.sas
            body["output"]["containerWriteSas"] = order.output.sas
            secrets = [order.input.sas, order.output.sas]
        if name := order.options.get("outputAssetFileName"):
            body["output"]["outputAssetFileName"] = name
        if order.formats:
            body["formats"] = [dict(wanted) for wanted in order.formats]
        if order.root_filename is not None:
            body["rootFilename"] = order.root_filename
        if order.callback is not None:
            body["callback"] = order.callback
            secrets.append(order.callback)  # signed, so that nobody else can call
        reply = await self._call(
            "POST",
            "/conversions/create" if linked else "/conversions/createWithSharedAccessSignature",
            body=body,
            headers={"Idempotency-Key": order.id},
            not_found=(
                Code.SERVICE_NOT_FOUND,
                f"There is no Remote Rendering API at {urlsplit(self._base).hostname}. "
                "Check REMOTE_RENDERING_ENDPOINT and the account id.",
            ),
            secrets=secrets,
        )
        service_id = reply.body.get("conversionId")
        if not isinstance(service_id, str) or not _SERVICE_ID.fullmatch(service_id):
            self._bad("accepted the conversion without naming a conversionId", reply)
        warnings: tuple[Warned, ...] = ()
        if order.repeated and reply.headers.get("Idempotency-Key") != order.id:
            warnings = (
                Warned(
                    "started-again",
                    "An answer of the service was lost, and it may have started this conversion twice.",
                    {"service_id": service_id},
                ),
            )
        return Started(service_id, reply.trace_id, warnings)

    async def poll(self, service_id: str) -> Progress:
        """The state of a conversion; its outputs where the service names them."""
        reply = await self._call(
            "GET",
            f"/conversions/{quote(service_id, safe='')}",
            not_found=(
                Code.SERVICE_LOST_CONVERSION,
                f"Remote Rendering no longer knows the conversion {service_id}. "
                "Delete the manifest to convert again.",
            ),
        )
        word = reply.body.get("status")
        if not isinstance(word, str) or not 0 < len(word) <= 100:
            self._bad("answered without a status", reply)
        # The vendor's own script compares lower-cased.
        status = _STATUS.get(word.lower(), Status.INPROGRESS)
        code, message = error_of(reply.body.get("error"))
        result = reply.body.get("result")
        result = result if isinstance(result, dict) else {}
        outputs, warnings, statistics = _result(result)
        return Progress(
            status,
            word,
            code=code if status is Status.FAILED else None,
            message=redacted(message or "The service gave no reason.") if status is Status.FAILED else None,
            outputs=outputs,
            warnings=warnings,
            statistics=statistics,
            trace_id=reply.trace_id,
            denied=status is Status.FAILED and is_denial(code, message),
            model_etag=_text(result, "modelETag"),
            model_md5=_text(result, "modelMD5"),
        )

    async def collect(self, order: Order, polled: Progress | None = None) -> tuple[OutputFile, ...]:
        """Never asked: the outputs are where they belong."""
        raise AssertionError(f"{self.name} writes its outputs itself")

    async def dispose(self, service_id: str) -> None:
        """Nothing: the API has no call for it."""

    async def cancel(self, service_id: str) -> None:
        """Nothing: the API has no call for it, and what an abandoned conversion writes disturbs nobody."""

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        not_found: tuple[Code, str],
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> Reply:
        """One call with a token; with a new one, once, if the service refuses the first."""
        if self._unusable is not None:
            raise ServiceFault(self._unusable.code, self._unusable.message, transient=False)

        async def attempt(token: str) -> Reply:
            return await self._transport.call(
                method,
                self._account + path,
                headers={"Authorization": f"Bearer {token}", "Accept": "application/json", **(headers or {})},
                body=body,
                not_found=not_found,
                secrets=[token, *secrets],
            )

        try:
            token = await self._tokens.get()
            try:
                return await attempt(token)
            except Unauthenticated:
                if self._tokens.is_static:
                    raise
                return await attempt(await self._tokens.get(instead_of=token))
        except Unreachable as fault:
            raise self._retired(fault) if self._is_vendors else fault from None

    def _retired(self, fault: Unreachable) -> ServiceFault:
        """No answer from Microsoft's service: for good, where its very name is gone."""
        return ServiceFault(
            Code.SERVICE_RETIRED if fault.unresolved else fault.code,
            f"{fault.message} {_RETIRED}.",
            transient=not fault.unresolved,
        )

    def _bad(self, what: str, reply: Reply) -> NoReturn:
        raise ServiceFault(
            Code.SERVICE_BAD_REPLY, f"{_NAME} {what}.", transient=True, trace_id=reply.trace_id
        )


def _place(place: Place) -> dict[str, Any]:
    # A slash at the end is the folder's name's own, of a blob such as "a//b.obj"; the service drops one.
    folder = f"{place.folder}/" if place.folder.endswith("/") else place.folder
    # The lower-case n is the contract's.
    return {
        "storageAccountname": place.account,
        "blobContainerName": place.container,
        "folderPath": folder,
    }


def _result(
    result: Mapping[str, Any],
) -> tuple[tuple[OutputFile, ...] | None, tuple[Warned, ...], dict[str, Any]]:
    """The outputs, warnings and statistics of a `result`; of a malformed one, what is well-formed."""
    outputs = result.get("outputs")
    files = None
    if isinstance(outputs, list):
        files = tuple(_output(item) for item in outputs if isinstance(item, dict) and _text(item, "path"))
    warnings = tuple(
        Warned(
            str(item["code"]),
            redacted(_text(item, "title") or ""),
            item["details"] if isinstance(item.get("details"), dict) else {},
        )
        for item in result.get("warnings") or ()
        if isinstance(item, dict) and isinstance(item.get("code"), str | int)
    )
    statistics = result.get("statistics")
    return files, warnings, dict(statistics) if isinstance(statistics, dict) else {}


def _output(item: Mapping[str, Any]) -> OutputFile:
    size = item.get("size")
    return OutputFile(
        path=item["path"],
        type=_text(item, "type"),
        size=size if isinstance(size, int) else None,
        sha256=_text(item, "sha256"),
        content_type=_text(item, "contentType"),
        role=_text(item, "role"),
    )


def _text(item: Mapping[str, Any], key: str) -> str | None:
    value = item.get(key)
    return value if isinstance(value, str) and value else None
