"""The bundle's own HTTP: health, the list of conversions, and callbacks."""

import re
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from shared.clients.model_derivative_webhook import LARGEST, PATH, SIGNATURE, source_of
from shared.conversion import Status
from shared.embedded.tokens import Tokens
from shared.overview import MOST, BadCursor
from shared.telemetry import event

if TYPE_CHECKING:
    from shared.app import App


def router(app: "App") -> APIRouter:
    """The routes, for the ASGI app that also serves the embedded service's APIs."""
    routes = APIRouter()
    tokens = Tokens(app.settings, app.storage.now)

    @routes.get("/health")
    async def health() -> Response:
        """Whether storage answers. Open to everybody, and so without details."""
        await (await app.ready()).storage.head(app.settings.in_flight_container, "health")
        return JSONResponse({"status": "healthy"})

    @routes.get("/conversions")
    async def conversions(request: Request) -> Response:
        """The conversions, for whoever has the account's key or a token of it."""
        if not _may_read(request, tokens):
            return _error(
                401,
                "Unauthorized",
                "Send the header 'Authorization: Bearer <account id>:<account key>', or an access token.",
            )
        query = request.query_params
        try:
            status = Status(query["status"]) if query.get("status") else None
        except ValueError:
            return _error(400, "BadRequest", f"'status' must be one of {', '.join(Status)}.")
        limit = query.get("limit", "100")
        if not re.fullmatch("[0-9]{1,4}", limit) or not 0 < int(limit) <= MOST:
            return _error(400, "BadRequest", f"'limit' must be a number from 1 to {MOST}.")
        try:
            page = await (await app.ready()).overview.page(
                query.get("prefix", ""), status, int(limit), query.get("next")
            )
        except BadCursor:
            return _error(400, "BadRequest", "'next' must be the 'next' of an earlier answer.")
        return JSONResponse(page.json())

    @routes.post("/callbacks/{record}/{conversion_id}/{mac}")
    async def callback(record: str, conversion_id: str, mac: str) -> Response:
        """A service says that a conversion has moved: it is asked next, nothing else is believed."""
        name = app.callbacks.record_of(record, conversion_id, mac)
        if name is None:
            event("callback.forged")
            return Response(status_code=404)
        await _moved(app, name, conversion_id)
        return Response(status_code=204)

    @routes.post(PATH)
    async def webhook(request: Request) -> Response:
        """Model Derivative says that a translation has ended: the conversion is asked next."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST:
                return Response(status_code=413)
        if app.webhook is None or not app.webhook.verifies(bytes(body), request.headers.get(SIGNATURE)):
            event("callback.forged")
            return Response(status_code=404)
        source = source_of(bytes(body))
        if source is not None:
            await _moved(app, f"{source.record}.json", source.id)
        return Response(status_code=204)

    return routes


async def _moved(app: "App", record: str, conversion_id: str) -> None:
    """Has a conversion asked about at once; the message is all there is to it."""
    await app.storage.enqueue(app.settings.transfer_queue, {"record": record, "moved": conversion_id})


def _may_read(request: Request, tokens: Tokens) -> bool:
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return False
    account_id, colon, key = credential.partition(":")
    return tokens.opens(account_id, key) if colon else tokens.accepts(credential)


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
