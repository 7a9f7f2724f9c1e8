"""HTTP triggers: one server for all of them, each request one invocation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookies import Morsel
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from local.bindings import Function
from local.protos import load
from local.runtime import InvocationFailed, Runtime, WorkerDied

BODY_BYTES = 100 * 1024 * 1024
"""The platform's default limit of a request body."""

PLACEHOLDER = re.compile(r"\{(\*?)(\w+)(?::[^}?]*)?(\??)\}")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")


@dataclass(frozen=True)
class Route:
    """What requests a function answers."""

    function: Function
    pattern: re.Pattern[str]
    literal: int
    methods: frozenset[str]


class HttpListener:
    """Answers requests with `functions`, under the `prefix` of host.json."""

    def __init__(self, functions: Sequence[Function], runtime: Runtime, prefix: str) -> None:
        routes = [_route(function, prefix) for function in functions]
        # The route with the most literal text is the most specific.
        self._routes = sorted(routes, key=lambda route: -route.literal)
        self._runtime = runtime

    def application(self) -> web.Application:
        """To be run by aiohttp.

        It answers 404 and 405 without a function, 500 where one raised, 502 where the worker died.
        """
        application = web.Application(client_max_size=BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.raw_path.partition("?")[0]
        found = [route for route in self._routes if route.pattern.fullmatch(path)]
        allowed = [route for route in found if request.method in route.methods]
        if not allowed:
            return web.Response(status=405 if found else 404)
        route = allowed[0]
        match = route.pattern.fullmatch(path)
        assert match is not None
        try:
            reply = await self._runtime.invoke(route.function, await _to_rpc(request, match.groupdict()))
        except InvocationFailed:
            return web.Response(status=500)
        except WorkerDied:
            return web.Response(status=502)
        if reply is None:
            return web.Response(status=204)
        # A function may also return plain text.
        if not reply.HasField("http"):
            return web.Response(text=reply.string)
        return _from_rpc(request.method, reply.http)


def _route(function: Function, prefix: str) -> Route:
    template = str(function.trigger.get("route") or function.name).strip("/")
    template = f"{prefix.strip('/')}/{template}".strip("/")
    pattern, literal, end = "/", 0, 0
    for match in PLACEHOLDER.finditer(template):
        text = template[end : match.start()]
        pattern += re.escape(text)
        literal += len(text)
        star, name, optional = match.groups()
        pattern += f"(?P<{name}>{'.*' if star else '[^/]+'})" + ("?" if optional else "")
        end = match.end()
    pattern += re.escape(template[end:]) + "/?"
    literal += len(template) - end
    methods = frozenset(str(method).upper() for method in function.trigger.get("methods") or METHODS)
    return Route(function, re.compile(pattern, re.DOTALL), literal, methods)


async def _to_rpc(request: web.Request, params: Mapping[str, str | None]) -> Any:
    """`TypedData` of a request: the address as it was sent, headers in lower case, the body as bytes."""
    protos = load()
    http = protos.RpcHttp(method=request.method, url=f"http://{request.host}{request.raw_path}")
    for name in {name.lower() for name in request.headers}:
        http.headers[name] = ", ".join(request.headers.getall(name))
    for name in request.query:
        http.query[name] = ",".join(request.query.getall(name))
    for name, value in params.items():
        http.params[name] = unquote(value or "")
    http.body.bytes = await request.read()
    return protos.TypedData(http=http)


def _from_rpc(method: str, http: Any) -> web.Response:
    kind = http.body.WhichOneof("data")
    content = getattr(http.body, kind) if kind else b""
    body = content if isinstance(content, bytes) else str(content).encode()
    response = web.Response(status=int(http.status_code or 200), body=body)
    # What a HEAD tells is the length of what a GET would give.
    ours = ("transfer-encoding",) if method == "HEAD" else ("content-length", "transfer-encoding")
    for name, value in http.headers.items():
        if name.lower() not in ours:
            response.headers[name] = value
    for cookie in http.cookies:
        response.headers.add("Set-Cookie", _cookie(cookie))
    return response


def _cookie(cookie: Any) -> str:
    """The header that an `RpcHttpCookie` stands for."""
    morsel: Morsel[str] = Morsel()
    morsel.set(cookie.name, cookie.value, cookie.value)
    for attribute in ("domain", "path"):
        if cookie.HasField(attribute):
            morsel[attribute] = getattr(cookie, attribute).value
    if cookie.HasField("expires"):
        moment = datetime.fromtimestamp(cookie.expires.value.ToSeconds(), UTC)
        morsel["expires"] = f"{moment:%a, %d %b %Y %H:%M:%S} GMT"
    if cookie.HasField("max_age"):
        morsel["max-age"] = int(cookie.max_age.value)
    morsel["secure"] = cookie.secure.value
    morsel["httponly"] = cookie.http_only.value
    same_site = type(cookie).SameSite.Name(cookie.same_site)
    if same_site != "None":
        morsel["samesite"] = same_site.removeprefix("Explicit")
    return morsel.OutputString()
