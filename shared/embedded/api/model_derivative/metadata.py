"""What is in a design: its views, the tree of its objects, and their properties.

There is one view, of everything. The worker leaves the objects beside each translation's files; until
the first has ended well, the answer is 202.
"""

import json
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from shared import model_derivative_formats as seed
from shared.embedded.api.model_derivative.access import READ, Access
from shared.embedded.api.model_derivative.designs import Design, Designs
from shared.embedded.api.model_derivative.queries import Query
from shared.embedded.api.model_derivative.refusals import flag_in, json_of, refused, region_of
from shared.embedded.api.model_derivative.views import view_guid
from shared.embedded.api.replies import Reply
from shared.embedded.engine.job import TREE
from shared.embedded.requests import Record, State
from shared.problems import Problem
from shared.storage import Storage

_LARGEST = 20 * 1024 * 1024

Objects = Sequence[dict[str, Any]]


class Metadata:
    """The handlers."""

    def __init__(self, designs: Designs, access: Access, storage: Storage, container: str) -> None:
        self._designs = designs
        self._access = access
        self._storage = storage
        self._container = container

    def routes(self) -> APIRouter:
        """The routes."""
        routes = APIRouter(prefix="/modelderivative/v2/designdata/{urn}/metadata")
        routes.get("")(self.views)
        routes.get("/{guid}")(self.tree)
        routes.get("/{guid}/properties")(self.properties)
        routes.post("/{guid}/properties:query")(self.query)
        return routes

    async def views(self, urn: str, request: Request) -> Response:
        """The views of a design."""
        self._access.admit(request, READ)
        design, objects = await self._objects(urn, None, request)
        if objects is None:
            return _processing()
        view = {"name": design.name, "role": "3d", "guid": view_guid(design.urn)}
        return Reply({"data": {"type": "metadata", "metadata": [view]}})

    async def tree(self, urn: str, guid: str, request: Request) -> Response:
        """The objects, each with those below it; from ``objectid`` on, and so deep as ``level`` says."""
        self._access.admit(request, READ)
        _, objects = await self._objects(urn, guid, request)
        if objects is None:
            return _processing()
        top, level = _number(request, "objectid"), _number(request, "level")
        if top is not None and all(one["id"] != top for one in objects):
            raise refused(request, 404, f"The design has no object {top}.")
        return self._sized({"data": {"type": "objects", "objects": nested(objects, top, level)}}, request)

    async def properties(self, urn: str, guid: str, request: Request) -> Response:
        """The properties of all objects, or of ``objectid``."""
        self._access.admit(request, READ)
        _, objects = await self._objects(urn, guid, request)
        if objects is None:
            return _processing()
        wanted = _number(request, "objectid")
        chosen = [one for one in objects if wanted is None or one["id"] == wanted]
        if not chosen:
            raise refused(request, 404, f"The design has no object {wanted}.")
        collection = [described(one) for one in chosen]
        return self._sized({"data": {"type": "properties", "collection": collection}}, request)

    async def query(self, urn: str, guid: str, request: Request) -> Response:
        """The properties of the objects that a query finds, by pages."""
        self._access.admit(request, READ)
        try:
            query = Query.check(await json_of(request))
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        _, objects = await self._objects(urn, guid, request)
        if objects is None:
            return _processing()
        found = [one for one in map(described, objects) if query.finds(one)]
        page = found[query.offset : query.offset + query.limit]
        return Reply(
            {
                "pagination": {"limit": query.limit, "offset": query.offset, "totalResults": len(found)},
                "data": {"type": "properties", "collection": [query.cut(one) for one in page]},
            }
        )

    async def _objects(self, urn: str, guid: str | None, request: Request) -> tuple[Design, Objects | None]:
        """A design and its objects, None while they are not known."""
        try:
            encoded, _ = seed.urn_of(urn)
            region = region_of(request) or seed.DEFAULT_REGION
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        found = await self._designs.read(encoded, region)
        if found is None:
            raise refused(request, 404, f"The design was not translated in the region {region}.")
        design = found[0]
        if guid is not None and guid.lower() != view_guid(encoded):
            raise refused(request, 404, "The design has no view with this guid.")
        records = await self._designs.records(design)
        blob = None
        for path in _trees(design, records):
            blob = await self._storage.read(self._container, path)
            if blob is not None:
                break
        if blob is not None:
            objects: Objects = json.loads(blob.data)
            return design, objects
        if all(record.final for record in records.values()):
            raise refused(request, 404, "The translation of the design failed; its manifest says why.")
        return design, None

    def _sized(self, body: dict[str, Any], request: Request) -> Response:
        reply = Reply(body)
        size = len(reply.body)
        try:
            forced = flag_in(request.query_params.get("forceget"), "forceget")
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        if size > _LARGEST and not forced:
            raise refused(
                request,
                413,
                "Please use the 'forceget' parameter to force querying the data.",
                {"x-ads-size": str(size)},
            )
        return reply


def nested(objects: Objects, top: int | None, level: int | None) -> list[dict[str, Any]]:
    """The objects as a tree, from ``top`` or else the first on; ``level`` is how far below it goes."""
    made: dict[int, dict[str, Any]] = {}
    depth: dict[int, int] = {}
    start = objects[0]["id"] if top is None else top
    # Parents stand before their children.
    for one in objects:
        identity, parent = one["id"], one["parent"]
        below = depth[parent] + 1 if parent in depth else 0
        if (identity != start and parent not in made) or (level is not None and below > level):
            continue
        depth[identity] = below
        made[identity] = {"objectid": identity, "name": one["name"]}
        if parent in made:
            made[parent].setdefault("objects", []).append(made[identity])
    return [made[start]]


def described(one: dict[str, Any]) -> dict[str, Any]:
    """An object with its properties, as the API tells of it."""
    return {
        "objectid": one["id"],
        "name": one["name"],
        "externalId": one["externalId"],
        "properties": one["properties"],
    }


def _trees(design: Design, records: dict[str, Record]) -> list[str]:
    """Where the objects are, the newest first."""
    return [
        entry["path"]
        for record in (
            records[one] for job in reversed(design.jobs) for one in job.requests if one in records
        )
        if record.state is State.SUCCEEDED
        for entry in (record.result or {}).get("outputs", ())
        if entry["type"] == TREE
    ]


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise refused(request, 400, f"'{name}' must be a number.")
    return int(text)


def _processing() -> Response:
    return Reply({"result": "success"}, 202)
