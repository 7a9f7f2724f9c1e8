"""What the service offers, to whoever asks: targets, statuses, presets, and the description of the API."""

from typing import Any

from fastapi import APIRouter, Request, Response

from shared.embedded.api.api2convert import catalogue
from shared.embedded.api.api2convert.access import Access
from shared.embedded.api.api2convert.bodies import object_in, read, text_in
from shared.embedded.api.api2convert.model import STATUSES
from shared.embedded.api.api2convert.refusals import refused
from shared.embedded.api.api2convert.schema import schema
from shared.embedded.api.api2convert.store import Jobs, Preset, is_id, new_id
from shared.embedded.api.replies import Reply
from shared.problems import Problem

_SCOPES = ("private", "public")
_MOST_PRESETS = 200
_LONGEST_NAME = 200
_PERIODS = ("day", "month", "year")
_FILTERS = ("single", "all")


def router(jobs: Jobs, access: Access, base: str, most: int) -> APIRouter:
    """The routes; ``base`` is the service's address, ``most`` the largest body in bytes."""
    api = _Offers(jobs, access, base, most)
    routes = APIRouter(prefix="/v2")
    routes.get("/conversions")(api.conversions)
    routes.get("/statuses")(api.statuses)
    routes.get("/schema")(api.schema)
    routes.get("/openapi.json")(api.schema)
    routes.get("/contracts")(api.contracts)
    routes.get("/stats/{period}/{value}")(api.stats)
    routes.get("/stats/{period}/{value}/{which}")(api.stats)
    routes.get("/presets")(api.presets)
    routes.post("/presets")(api.add_preset)
    routes.get("/presets/{preset_id}")(api.preset)
    routes.patch("/presets/{preset_id}")(api.patch_preset)
    routes.delete("/presets/{preset_id}")(api.delete_preset)
    return routes


class _Offers:
    def __init__(self, jobs: Jobs, access: Access, base: str, most: int) -> None:
        self._jobs = jobs
        self._access = access
        self._base = base
        self._most = most

    async def conversions(self, request: Request) -> Response:
        """Every target with its options; `source` leaves those that can be made of such a file."""
        query = request.query_params
        rows = catalogue.rows(query.get("category"), query.get("target"), query.get("source"))
        first_page = query.get("page", "1") == "1"
        return Reply(rows if first_page else [], headers={"X-Count": str(len(rows))})

    async def statuses(self) -> Response:
        return Reply([{"code": code, "info": info} for code, info in STATUSES.items()])

    async def schema(self) -> Response:
        return Reply(schema(self._base))

    async def contracts(self, request: Request) -> Response:
        """There are none: the service costs nothing."""
        self._access.account(request)
        return Reply([])

    async def stats(self, request: Request, period: str, which: str = "all") -> Response:
        """Nothing is counted."""
        self._access.account(request)
        if period not in _PERIODS or which not in _FILTERS:
            raise refused(400, f"Statistics are of a {', '.join(_PERIODS)}, for {' or '.join(_FILTERS)}.")
        return Reply([])

    # --- Presets ------------------------------------------------------------------------------

    async def presets(self, request: Request) -> Response:
        """The presets, by name, less what the query filters out."""
        query = request.query_params
        chosen = [
            preset
            for preset in await self._jobs.presets()
            if query.get("category") in (None, preset.category)
            and query.get("target") in (None, preset.target)
            and (query.get("filter") or "").casefold() in preset.name.casefold()
        ]
        return Reply([preset.model_dump() for preset in sorted(chosen, key=lambda one: (one.name, one.id))])

    async def preset(self, preset_id: str) -> Response:
        return Reply((await self._preset(preset_id)).model_dump())

    async def add_preset(self, request: Request) -> Response:
        self._access.account(request)
        if len(await self._jobs.presets()) >= _MOST_PRESETS:
            raise refused(400, f"There are {_MOST_PRESETS} presets already. Delete one.")
        return await self._write(request, None, 201)

    async def patch_preset(self, preset_id: str, request: Request) -> Response:
        self._access.account(request)
        return await self._write(request, await self._preset(preset_id), 200)

    async def delete_preset(self, preset_id: str, request: Request) -> Response:
        self._access.account(request)
        await self._preset(preset_id)
        await self._jobs.delete_preset(preset_id)
        return Response(status_code=204)

    async def _preset(self, preset_id: str) -> Preset:
        preset = await self._jobs.preset(preset_id) if is_id(preset_id) else None
        if preset is None:
            raise refused(404, "The preset does not exist.")
        return preset

    async def _write(self, request: Request, old: Preset | None, status: int) -> Response:
        body = await read(request, self._most)
        if not isinstance(body, dict):
            raise refused(400, "The body is not a JSON object.")
        fields: dict[str, Any] = old.model_dump() if old else {"id": new_id(), "scope": _SCOPES[0]}
        fields |= {name: text for name in ("name", "target", "scope") if (text := text_in(body, name))}
        if "options" in body or old is None:
            fields["options"] = object_in(body.get("options"), "options")
        if not fields.get("name") or len(fields["name"]) > _LONGEST_NAME:
            raise refused(400, f"'name' must be 1 to {_LONGEST_NAME} characters.")
        if fields["scope"] not in _SCOPES:
            raise refused(400, f"'scope' must be one of {', '.join(_SCOPES)}.")
        if not catalogue.is_target(fields.get("target", "")):
            raise refused(400, "'target' is missing, or no target of this service.")
        try:
            catalogue.check_options(fields["target"], fields["options"])
        except Problem as problem:
            raise refused(400, problem.message) from None
        preset = Preset(**fields | {"category": catalogue.category_of(fields["target"])})
        await self._jobs.keep_preset(preset)
        return Reply(preset.model_dump(), status)
