"""What came of a translation: the manifest, the files it names, and the picture.

Files come straight from storage. A download address with its three cookies is one of ours, as the real
service's is one of its CDN's: it redirects to a short SAS, so that no SAS stands in a reply.
"""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from shared import model_derivative_formats as seed
from shared.embedded.api.model_derivative.access import READ, VIEW, WRITE, Access
from shared.embedded.api.model_derivative.designs import Derivative, Design, Designs
from shared.embedded.api.model_derivative.manifests import file_of_urn, files_of, manifest, status_of
from shared.embedded.api.model_derivative.objects import Objects
from shared.embedded.api.model_derivative.refusals import refused, region_of
from shared.embedded.api.replies import Reply
from shared.embedded.engine.formats import thumbnail_size
from shared.embedded.requests import Record
from shared.embedded.seals import Seals, decode, encode
from shared.problems import Problem
from shared.storage import Conflict, Storage

_MOST_MINUTES = 360
_KEY_PAIR = "APKAMODELCONVERSION"
_SIDES = ("100", "200", "400")
_ATTEMPTS = 10

# Long enough for one file over a slow line: storage looks at it when a download begins.
_REDIRECT_LIFETIME = timedelta(minutes=15)

_JOB_STATUS = {"pending": "inprogress", "timeout": "timedout"}


class Derivatives:
    """The handlers."""

    def __init__(
        self,
        designs: Designs,
        objects: Objects,
        access: Access,
        storage: Storage,
        container: str,
        seals: Seals,
        own_url: str | None,
    ) -> None:
        """``own_url`` is where download addresses lead, or None for the address of the call."""
        self._designs = designs
        self._objects = objects
        self._access = access
        self._storage = storage
        self._container = container
        self._seals = seals
        self._own_url = own_url

    def routes(self) -> APIRouter:
        """The routes."""
        routes = APIRouter()
        design = "/modelderivative/v2/designdata/{urn}"
        routes.get(f"{design}/manifest")(self.manifest)
        routes.delete(f"{design}/manifest")(self.delete)
        routes.get(f"{design}/manifest/{{derivative:path}}/signedcookies")(self.signed_cookies)
        routes.head(f"{design}/manifest/{{derivative:path}}")(self.head)
        routes.get(f"{design}/manifest/{{derivative:path}}")(self.get)
        routes.get(f"{design}/thumbnail")(self.thumbnail)
        routes.get("/cdn/{path:path}")(self.cdn)
        routes.head("/cdn/{path:path}")(self.cdn)
        return routes

    async def manifest(self, urn: str, request: Request) -> Response:
        """How the translations of a design are doing, and what they made."""
        self._access.admit(request, VIEW)
        design, _, records = await self._find(urn, request)
        return Reply(manifest(design, records))

    async def delete(self, urn: str, request: Request) -> Response:
        """Deletes the manifest and every derivative; the source stays."""
        self._access.admit(request, READ, WRITE)
        encoded, region = self._place(urn, request)
        for _ in range(_ATTEMPTS):
            try:
                await self._designs.drop(encoded, region)
            except Conflict:
                continue
            return Reply({"result": "success"})
        raise refused(request, 409, "The design's manifest keeps changing.")

    async def head(self, urn: str, derivative: str, request: Request) -> Response:
        """The size and type of a file."""
        self._access.admit(request, VIEW)
        entry = await self._file(urn, derivative, request)
        if entry is None:
            return Response(status_code=202)
        headers = {"Content-Length": str(entry["size"]), "Content-Type": entry["contentType"]}
        return Response(headers=headers)

    async def get(self, urn: str, derivative: str, request: Request) -> Response:
        """A file, by a redirect to where it is."""
        self._access.admit(request, VIEW)
        entry = await self._file(urn, derivative, request)
        if entry is None:
            return Reply({"result": "success"}, 202)
        return await self._redirect(entry["path"], None)

    async def signed_cookies(self, urn: str, derivative: str, request: Request) -> Response:
        """An address to download a file from, and the cookies without which it does not open."""
        self._access.admit(request, VIEW)
        query = request.query_params
        minutes = query.get("minutes-expiration", str(_MOST_MINUTES))
        if not minutes.isdecimal() or not 1 <= int(minutes) <= _MOST_MINUTES:
            raise refused(request, 400, f"'minutes-expiration' must be a number from 1 to {_MOST_MINUTES}.")
        disposition = query.get("response-content-disposition")
        if disposition is not None and not (
            disposition.startswith("attachment") and disposition.isprintable()
        ):
            raise refused(request, 400, "'response-content-disposition' must start with attachment.")
        entry = await self._file(urn, derivative, request)
        if entry is None:
            return Reply({"result": "success"}, 202)
        path = entry["path"]
        expires = int((time.time() + 60 * int(minutes)) * 1000)
        policy = encode({"path": path, "expires": expires, "disposition": disposition})
        base = self._own_url or str(request.base_url).rstrip("/")
        reply = Reply(
            {
                "etag": entry["sha256"],
                "size": entry["size"],
                "url": f"{base}/cdn/{quote(path)}",
                "content-type": entry["contentType"],
                "expiration": expires,
            }
        )
        # Clients take the three by their order.
        for name, value in (
            ("CloudFront-Policy", policy),
            ("CloudFront-Key-Pair-Id", _KEY_PAIR),
            ("CloudFront-Signature", self._seals.sign(policy)),
        ):
            reply.headers.append("Set-Cookie", f"{name}={value}; Path=/; HttpOnly")
        return reply

    async def cdn(self, path: str, request: Request) -> Response:
        """A file, for whoever has its cookies or brings them in the query."""
        given = {
            name: request.query_params.get(name) or request.cookies.get(f"CloudFront-{name}") or ""
            for name in ("Policy", "Key-Pair-Id", "Signature")
        }
        policy = decode(given["Policy"]) if self._seals.signed(given["Policy"], given["Signature"]) else None
        if (
            policy is None
            or given["Key-Pair-Id"] != _KEY_PAIR
            or policy["path"] != path
            or policy["expires"] < time.time() * 1000
        ):
            raise refused(request, 403, "The download's cookies are missing, wrong, or have expired.")
        return await self._redirect(path, policy["disposition"])

    async def thumbnail(self, urn: str, request: Request) -> Response:
        """The picture of a design that is nearest to the size asked for."""
        self._access.admit(request, VIEW)
        query = request.query_params
        for name in ("width", "height"):
            if query.get(name, _SIDES[0]) not in _SIDES:
                raise refused(request, 400, f"'{name}' must be one of {', '.join(_SIDES)}.")
        design, _, records = await self._find(urn, request)
        wanted = thumbnail_size({name: int(query[name]) for name in ("width", "height") if name in query})
        made = [
            (one, entry)
            for one in design.derivatives
            for entry in files_of(one, records[one.request])
            if one.type == "thumbnail"
        ]
        if not made:
            raise refused(request, 404, "The design has no thumbnail. Translate it to a thumbnail.")
        one, entry = min(made, key=lambda pair: _distance(pair[0], wanted))
        blob = await self._storage.read(self._container, entry["path"])
        if blob is None:
            raise refused(request, 404, "The design has no thumbnail any more.")
        status = status_of(design, records)
        return Response(
            blob.data,
            media_type="image/png",
            headers={
                "x-ads-name": quote(one.name),
                "x-ads-size": "[{},{}]".format(*thumbnail_size(one.asked)),
                "x-ads-role": "rendered",
                "x-ads-job-status": _JOB_STATUS.get(status, status),
            },
        )

    async def _redirect(self, path: str, disposition: str | None) -> Response:
        url = await self._objects.download_url(path, _REDIRECT_LIFETIME, disposition=disposition)
        return Response(status_code=302, headers={"Location": url, "Cache-Control": "no-store"})

    def _place(self, urn: str, request: Request) -> tuple[str, str]:
        try:
            encoded, _ = seed.urn_of(urn)
            return encoded, region_of(request) or seed.DEFAULT_REGION
        except Problem as problem:
            raise refused(request, 400, problem.message) from None

    async def _find(self, urn: str, request: Request) -> tuple[Design, str, dict[str, Record]]:
        encoded, region = self._place(urn, request)
        found = await self._designs.read(encoded, region)
        if found is None:
            raise refused(request, 404, f"The design was not translated in the region {region}.")
        return *found, await self._designs.records(found[0])

    async def _file(self, urn: str, derivative: str, request: Request) -> Mapping[str, Any] | None:
        """The file that a derivative's URN names; None while it may still be made."""
        encoded, region = self._place(urn, request)
        named = file_of_urn(derivative, encoded)
        record = None if named is None else await self._designs.record(encoded, region, named[0])
        missing = refused(request, 404, f"The design has no such derivative in the region {region}.")
        if named is None or record is None:
            raise missing
        path = record.request.target.prefix + named[1]
        for entry in (record.result or {}).get("outputs", ()):
            if entry["path"] == path:
                return dict(entry)
        if not record.final:
            return None
        raise missing


def _distance(one: Derivative, wanted: tuple[int, int]) -> int:
    width, height = thumbnail_size(one.asked)
    return abs(width - wanted[0]) + abs(height - wanted[1])
