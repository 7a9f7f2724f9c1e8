"""Derivatives out of the service: an address with three cookies for each, streamed to where they belong.

The cookies are of the download's host, not of the API's, so that no cookie jar would send them. A download
that answers with a redirect is followed without them: they are for the one address.
"""

import io
import json
import posixpath
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urljoin

import httpx

from shared.clients import OutputFile, Transfer, Warned, Written
from shared.clients.model_derivative_calls import DESIGN_DATA, NAME, Calls, bad
from shared.clients.model_derivative_manifest import Resource
from shared.clients.model_derivative_urn import Source
from shared.clients.transport import NotFound, Reply
from shared.problems import Code, ServiceFault

_MOST_REDIRECTS = 3

# An SVF is a small zip that names its packs; one that is larger is copied, and not looked into.
_LARGEST_SVF = 64 * 1024 * 1024
_MOST_PACKS = 10_000
_EMBEDDED = "embed:/"

NOT_OFFLINE = "not-viewable-offline"


@dataclass(frozen=True)
class _Signed:
    """An address to download from, and what is stated of the file; a secret."""

    url: str = field(repr=False)
    cookies: str = field(repr=False)
    size: int | None
    sha256: str | None
    content_type: str | None


class Downloads:
    """Fetches the files of derivatives."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def fetch(self, source: Source, resource: Resource, transfer: Transfer) -> OutputFile:
        """Copies one file, and checks it.

        Raises:
            ServiceFault: transient for one that is not there yet, or not as stated.
        """
        return await self._copy(source, resource, transfer, None)

    async def fetch_svf(self, source: Source, resource: Resource, transfer: Transfer) -> list[OutputFile]:
        """Copies an SVF or F2D, and the packs without which no viewer opens the copy; a warning says so where
        not all of them can be had.

        Raises:
            ServiceFault
        """
        kept = bytearray()
        made = [await self._copy(source, resource, transfer, kept)]
        packs = packs_of(bytes(kept)) if len(kept) <= _LARGEST_SVF else None
        lost = packs is None
        base, _, _ = resource.urn.rpartition("/")
        folder, _, _ = resource.name.rpartition("/")
        for pack in packs or ():
            # Some lie in a folder above the SVF's own, but never outside the derivative's.
            urn, name = posixpath.normpath(f"{base}/{pack}"), posixpath.normpath(f"{folder}/{pack}")
            if not urn.startswith(f"{base.partition('/output/')[0]}/output/") or name.startswith(".."):
                lost = True
                continue
            other = replace(resource, urn=urn, name=name, content_type=None, is_companion=True)
            try:
                made.append(await self._copy(source, other, transfer, None))
            except NotFound:
                lost = True
        if lost:
            transfer.warn(
                Warned(
                    NOT_OFFLINE,
                    "The copy of this viewable is not viewable offline: not all that it needs was found.",
                    {"name": resource.name},
                )
            )
        return made

    async def fetch_thumbnail(
        self, source: Source, width: int, height: int, name: str, transfer: Transfer
    ) -> OutputFile:
        """Copies the picture that the service has of a design, where no derivative names one.

        Raises:
            ServiceFault
        """
        path = f"{DESIGN_DATA}/{source.urn}/thumbnail?width={width}&height={height}"
        async with self._calls.download(path, source.region) as response:
            if response.status_code != 200:
                raise _refused(response.status_code, name)
            written = await transfer.write(name, response.aiter_bytes(), content_type="image/png")
        return OutputFile(written.path, "thumbnail", written.size, written.sha256, "image/png")

    async def _copy(
        self, source: Source, resource: Resource, transfer: Transfer, kept: bytearray | None
    ) -> OutputFile:
        """One file; ``kept`` gets its first bytes, one more at most than an SVF may have."""
        signed = await self._sign(source, resource)
        content_type = resource.content_type or signed.content_type
        async with self._open(signed) as response:
            if response.status_code != 200:
                raise _refused(response.status_code, resource.name)
            written = await transfer.write(resource.name, _pieces(response, kept), content_type=content_type)
            # An answer may be compressed on its way; what is stated is then the size of either.
            sizes = (written.size, response.num_bytes_downloaded)
        _check(resource.name, signed, written, sizes)
        return OutputFile(
            written.path,
            resource.type,
            written.size,
            written.sha256,
            content_type,
            "companion" if resource.is_companion else None,
        )

    async def _sign(self, source: Source, resource: Resource) -> _Signed:
        reply = await self._calls.call(
            "GET",
            f"{DESIGN_DATA}/{source.urn}/manifest/{quote(resource.urn, safe='')}/signedcookies",
            source.region,
            not_found=(
                Code.MISSING_OUTPUT,
                f"{NAME} does not have {resource.name}, which its manifest names. "
                "Delete the manifest to convert again.",
            ),
        )
        if reply.status == 202:
            raise ServiceFault(
                Code.SERVICE_UNAVAILABLE, f"{NAME} does not have {resource.name} ready yet.", transient=True
            )
        url = reply.body.get("url")
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise bad("signed no address to download from", reply)
        size, kind, etag = (reply.body.get(name) for name in ("size", "content-type", "etag"))
        tag = etag.strip('"').lower() if isinstance(etag, str) else ""
        return _Signed(
            url,
            _cookies(reply),
            size if isinstance(size, int) else None,
            tag if len(tag) == 64 and all(digit in "0123456789abcdef" for digit in tag) else None,
            kind if isinstance(kind, str) else None,
        )

    @asynccontextmanager
    async def _open(self, signed: _Signed) -> AsyncIterator[httpx.Response]:
        url, headers = signed.url, {"Cookie": signed.cookies, "Accept-Encoding": "identity"}
        for _ in range(_MOST_REDIRECTS):
            async with self._calls.transport.open(url, headers=headers) as response:
                location = response.headers.get("Location")
                if not response.is_redirect or location is None:
                    yield response
                    return
                url, headers = urljoin(url, location), {"Accept-Encoding": "identity"}
        raise ServiceFault(Code.SERVICE_BAD_REPLY, f"{NAME} redirects a download in circles.", transient=True)


async def _pieces(response: httpx.Response, kept: bytearray | None) -> AsyncIterator[bytes]:
    async for piece in response.aiter_bytes():
        if kept is not None:
            kept += piece[: _LARGEST_SVF + 1 - len(kept)]
        yield piece


def _cookies(reply: Reply) -> str:
    return "; ".join(one.partition(";")[0] for one in reply.headers.get_list("set-cookie"))


def _check(name: str, signed: _Signed, written: Written, sizes: tuple[int, int]) -> None:
    wrong = None
    if signed.size is not None and signed.size not in sizes:
        wrong = f"it has {written.size} bytes of {signed.size}"
    elif signed.sha256 is not None and signed.sha256 != written.sha256:
        wrong = "its hash is another"
    if wrong is not None:
        raise ServiceFault(
            Code.SERVICE_BAD_REPLY, f"{NAME} sent {name} other than it said: {wrong}.", transient=True
        )


def _refused(status: int, name: str) -> ServiceFault:
    # 403 is what an address that has expired says: the next try signs a new one.
    transient = status in (202, 403, 408, 429) or status >= 500
    return ServiceFault(
        Code.SERVICE_UNAVAILABLE if transient else Code.MISSING_OUTPUT,
        f"{NAME} answered {status} to the download of {name}.",
        transient=transient,
    )


def packs_of(svf: bytes) -> list[str] | None:
    """The files that an SVF names in its inner manifest, relative to it; None where that cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(svf)) as archive:
            if archive.getinfo("manifest.json").file_size > _LARGEST_SVF:
                return None
            manifest: Any = json.loads(archive.read("manifest.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError, NotImplementedError, RuntimeError):
        return None
    assets = manifest.get("assets") if isinstance(manifest, dict) else None
    if not isinstance(assets, list) or len(assets) > _MOST_PACKS:
        return None
    named = [one.get("URI") for one in assets if isinstance(one, dict)]
    packs = [uri for uri in named if isinstance(uri, str) and uri and not uri.startswith(_EMBEDDED)]
    return list(dict.fromkeys(packs))
