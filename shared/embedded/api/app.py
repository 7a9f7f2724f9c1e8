"""Assembles the APIs of the embedded service into one ASGI app.

Whatever happens, a reply has the shape of the API that was called, never the web framework's own, and
carries ``MS-CV``, the name under which the logs know the call.
"""

import base64
import logging
import os
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.embedded.api import model_derivative, remote_rendering
from shared.embedded.api.api2convert import refusals
from shared.embedded.api.api2convert import service as api2convert
from shared.embedded.api.remote_rendering_bodies import Translator
from shared.embedded.api.replies import Refused, Reply
from shared.embedded.containers import Containers
from shared.embedded.requests import Requests
from shared.embedded.tokens import Tokens
from shared.formats import API2CONVERT, MODEL_DERIVATIVE, REMOTE_RENDERING
from shared.outbound import Outbound
from shared.settings import Settings
from shared.storage import Storage
from shared.telemetry import event, where

_MESSAGES = {404: "There is no such resource.", 405: "The resource does not support this method."}
_CODES = {400: "BadRequest", 404: "NotFound", 405: "MethodNotAllowed", 500: "InternalServerError"}


def build_api(
    settings: Settings, storage: Storage, requests: Requests, containers: Containers, outbound: Outbound
) -> FastAPI:
    """The APIs that the settings turn on. More routes may be included; their errors are shaped too."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    if REMOTE_RENDERING in settings.serves:
        tokens = Tokens(settings, requests.now)
        translator = Translator(containers, outbound)
        app.include_router(remote_rendering.router(requests, tokens, translator, settings.own_url))
    if MODEL_DERIVATIVE in settings.serves:
        app.include_router(model_derivative.router(settings, storage, requests, outbound))
    if API2CONVERT in settings.serves:
        app.include_router(api2convert.router(settings, storage, requests, outbound))
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(_Envelope)
    if MODEL_DERIVATIVE in settings.serves:
        app.add_middleware(model_derivative.Envelope, identifier=model_derivative.identifier(settings))
    return app


async def _refused(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, Refused)
    return exception.reply()


async def _framework(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, HTTPException)
    return _failure(request.scope, exception.status_code, None, exception.headers)


async def _invalid(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, RequestValidationError)
    names = ", ".join(str(fault["loc"][-1]) for fault in exception.errors())
    return _failure(request.scope, 400, f"Wrong or missing: {names}.")


def _failure(
    scope: Scope, status: int, message: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """An error that no handler of an API has shaped, in the shape that the path calls for."""
    text = message or _MESSAGES.get(status, "The request cannot be served.")
    if model_derivative.owns(scope["path"]):
        return Reply(model_derivative.body_of(status, text, scope["path"]), status, headers)
    if scope["path"].lower().startswith("/v1/"):
        return Reply(remote_rendering.v1_error(text), status, headers)
    if scope["path"].startswith("/v2/"):
        return Reply(refusals.body_of(status, text), status, headers)
    return Reply(remote_rendering.error(_CODES.get(status, "BadRequest"), text), status, headers)


class _Envelope:
    """Adds the headers of every reply, and turns a bug of ours into one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ms_cv = base64.b64encode(os.urandom(16)).decode().rstrip("=") + ".0"
        scope.setdefault("state", {})["ms_cv"] = ms_cv
        scope["path"] = remote_rendering.canonical(scope["path"])
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["MS-CV"] = ms_cv
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as exception:
            # Without the exception's text: a client library's may quote an address with its SAS.
            event(
                "http.bug",
                level=logging.ERROR,
                bug=type(exception).__name__,
                # Not the path: a callback's ends with its code.
                route=getattr(scope.get("route"), "path", None),
                trace_id=ms_cv,
                where=where(exception),
            )
            if started:
                raise
            failure = _failure(scope, 500, "The service failed. Its logs name this call by its MS-CV.")
            await failure(scope, receive, send_with_headers)
