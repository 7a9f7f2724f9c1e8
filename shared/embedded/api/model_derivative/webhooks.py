"""The webhook calls: hooks for the ends of jobs, and the token that signs what they are told."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from shared import model_derivative_formats as seed
from shared.embedded.api.model_derivative.access import CHANGE, READ, Access
from shared.embedded.api.model_derivative.hooks import EVENTS, SYSTEM, Hook, Hooks, hook_json, new_hook_id
from shared.embedded.api.model_derivative.refusals import object_of, refused, region_of, text_in
from shared.embedded.api.replies import Reply
from shared.outbound import Outbound
from shared.problems import Problem

_ID = re.compile(r"[0-9a-f]{32}")
_WORKFLOW = re.compile(r"[A-Za-z0-9-]{1,36}")
_MOST_HOOKS = 1000
_KEYS = {
    "callbackUrl",
    "scope",
    "hookAttribute",
    "hookExpiry",
    "autoReactivateHook",
    "callbackWithEventPayloadOnly",
    "token",
}


class Webhooks:
    """The handlers."""

    def __init__(
        self, hooks: Hooks, access: Access, outbound: Outbound, client_id: str, now: Callable[[], datetime]
    ) -> None:
        self._hooks = hooks
        self._access = access
        self._outbound = outbound
        self._client_id = client_id
        self._now = now

    def routes(self) -> APIRouter:
        """The routes."""
        routes = APIRouter(prefix="/webhooks/v1")
        event = "/systems/{system}/events/{event}/hooks"
        routes.post(event)(self.create)
        routes.get(event)(self.of_event)
        routes.get("/systems/{system}/hooks")(self.of_system)
        routes.get("/hooks")(self.every)
        routes.get(f"{event}/{{hook_id}}")(self.get)
        routes.patch(f"{event}/{{hook_id}}")(self.change)
        routes.delete(f"{event}/{{hook_id}}")(self.delete)
        routes.post("/tokens")(self.set_token)
        routes.put("/tokens/@me")(self.replace_token)
        routes.delete("/tokens/@me")(self.delete_token)
        return routes

    async def create(self, system: str, event: str, request: Request) -> Response:
        """A new hook."""
        self._access.admit(request, READ, CHANGE, limit="new-hooks")
        self._check(system, event, request)
        try:
            hook = self._new(event, await object_of(request), _region(request))
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        others = [one for one in await self._hooks.of(event) if one.workflow == hook.workflow]
        if any((one.callback, one.region) == (hook.callback, hook.region) for one in others):
            raise refused(request, 409, "There is such a hook already.")
        if len(others) >= _MOST_HOOKS:
            raise refused(request, 400, f"There are {_MOST_HOOKS} hooks for this event and scope already.")
        await self._hooks.add(hook)
        own = str(request.url).partition("?")[0].rstrip("/")
        return Response(status_code=201, headers={"Location": f"{own}/{hook.id}"})

    def _new(self, event: str, body: Mapping[str, Any], region: str) -> Hook:
        if unknown := sorted(set(body) - _KEYS):
            raise seed.invalid(f"{unknown[0]!r} is not supported; a hook has {', '.join(sorted(_KEYS))}.")
        callback = text_in(body, "callbackUrl")
        self._outbound.check(callback)
        scope = body.get("scope")
        workflow = scope.get("workflow") if isinstance(scope, dict) else None
        if not isinstance(workflow, str) or not _WORKFLOW.fullmatch(workflow):
            raise seed.invalid("'scope.workflow' must be 1 to 36 letters, digits and hyphens.")
        attribute = body.get("hookAttribute")
        if attribute is not None and not isinstance(attribute, dict):
            raise seed.invalid("'hookAttribute' must be a JSON object.")
        for name in ("autoReactivateHook", "callbackWithEventPayloadOnly"):
            if not isinstance(body.get(name, False), bool):
                raise seed.invalid(f"'{name}' must be true or false.")
        return Hook(
            id=new_hook_id(),
            event=event,
            callback=callback,
            workflow=workflow,
            region=region,
            created=self._now(),
            attribute=attribute,
            expires=_date(body.get("hookExpiry")),
            token=text_in(body, "token") if "token" in body else None,
            payload_only=body.get("callbackWithEventPayloadOnly", False),
            reactivates=body.get("autoReactivateHook", False),
        )

    async def of_event(self, system: str, event: str, request: Request) -> Response:
        """The hooks of an event."""
        self._access.admit(request, READ, limit="hooks")
        self._check(system, event, request)
        return self._listed(await self._hooks.of(event))

    async def of_system(self, system: str, request: Request) -> Response:
        """The hooks of all events of a system."""
        self._access.admit(request, READ, limit="hooks")
        self._check(system, EVENTS[0], request)
        return self._listed(await self._hooks.of(*EVENTS))

    async def every(self, request: Request) -> Response:
        """Every hook."""
        self._access.admit(request, READ, limit="hooks")
        return self._listed(await self._hooks.of(*EVENTS))

    async def get(self, system: str, event: str, hook_id: str, request: Request) -> Response:
        """One hook."""
        self._access.admit(request, READ, limit="hooks")
        return Reply(hook_json(await self._find(system, event, hook_id, request), self._client_id))

    async def change(self, system: str, event: str, hook_id: str, request: Request) -> Response:
        """Sets a hook's status: one that was not reached for long is switched on again so."""
        self._access.admit(request, READ, CHANGE, limit="hooks")
        hook = await self._find(system, event, hook_id, request)
        try:
            body = await object_of(request)
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        if set(body) != {"status"} or body["status"] not in ("active", "inactive"):
            raise refused(request, 400, "The body must be an object with a status, active or inactive.")
        active = body["status"] == "active"
        await self._hooks.add(hook.model_copy(update={"active": active, "undelivered": 0}))
        return Reply(None)

    async def delete(self, system: str, event: str, hook_id: str, request: Request) -> Response:
        """Deletes a hook."""
        self._access.admit(request, READ, CHANGE, limit="hooks")
        await self._hooks.remove(await self._find(system, event, hook_id, request))
        return Response(status_code=204)

    async def set_token(self, request: Request) -> Response:
        """Sets the token that deliveries are signed with; there must be none."""
        token = await self._token(request)
        if await self._hooks.token() is not None:
            raise refused(request, 400, "There is a token already: PUT /webhooks/v1/tokens/@me.")
        await self._hooks.set_token(token)
        return Reply({"status": 200, "detail": ["The token is set."]})

    async def replace_token(self, request: Request) -> Response:
        """Replaces the token that deliveries are signed with."""
        token = await self._token(request)
        if await self._hooks.token() is None:
            raise refused(request, 404, "There is no token.")
        await self._hooks.set_token(token)
        return Response(status_code=204)

    async def delete_token(self, request: Request) -> Response:
        """Deletes the token; deliveries are not signed from now on."""
        self._access.admit(request, READ, CHANGE, limit="hooks")
        await self._hooks.set_token(None)
        return Response(status_code=204)

    async def _token(self, request: Request) -> str:
        self._access.admit(request, READ, CHANGE, limit="hooks")
        try:
            return text_in(await object_of(request), "token")
        except Problem as problem:
            raise refused(request, 400, problem.message) from None

    async def _find(self, system: str, event: str, hook_id: str, request: Request) -> Hook:
        self._check(system, event, request)
        hook = await self._hooks.find(event, hook_id) if _ID.fullmatch(hook_id) else None
        if hook is None:
            raise refused(request, 404, "There is no such hook.")
        return hook

    def _listed(self, hooks: list[Hook]) -> Response:
        return Reply({"links": {"next": None}, "data": [hook_json(hook, self._client_id) for hook in hooks]})

    @staticmethod
    def _check(system: str, event: str, request: Request) -> None:
        if system != SYSTEM or event not in EVENTS:
            raise refused(request, 404, f"Events are {' and '.join(EVENTS)}, of the system {SYSTEM}.")


def _region(request: Request) -> str:
    """The header's region, else the query's."""
    stated = region_of(request) or seed.check_region(request.query_params.get("region"), "region")
    return stated or seed.DEFAULT_REGION


def _date(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        date = datetime.fromisoformat(str(value))
    except ValueError:
        raise seed.invalid("'hookExpiry' must be a date such as 2026-12-31T00:00:00Z.") from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
