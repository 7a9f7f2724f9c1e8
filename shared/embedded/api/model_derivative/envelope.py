"""What is around every call of this API: the spellings of its paths, and the headers of its replies."""

import time
import uuid
from datetime import UTC, datetime

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ROOTS = ("/modelderivative/", "/oss/", "/authentication/", "/webhooks/", "/cdn/")
_EUROPE = "/modelderivative/v2/regions/eu/"
_HERE = "/modelderivative/v2/"

_TROUBLESHOOTING = {
    400: "Invalid Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Resource Not Found",
    406: "Not Acceptable",
    409: "Request Conflict",
    429: "Quota Limit Exceeded",
}


def owns(path: str) -> bool:
    """Whether a path is one of this API's."""
    return path.startswith(_ROOTS)


class Envelope:
    """Brings a path into the one spelling that the routes have, and adds the replies' headers."""

    def __init__(self, app: ASGIApp, identifier: str) -> None:
        """``identifier`` is the service's name, version and environment."""
        self._app = app
        self._identifier = identifier
        self._started = f"{datetime.now(UTC):%a %b %d %H:%M:%S UTC %Y}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = "/" + scope["path"].lstrip("/")
            if owns(path):
                scope["path"] = path
                send = self._sealed(send)
                if path.startswith(_EUROPE):
                    _in_europe(scope)
        await self._app(scope, receive, send)

    def _sealed(self, send: Send) -> Send:
        begun = time.monotonic()

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-ads-app-identifier"] = self._identifier
                headers["x-ads-startup-time"] = self._started
                headers["x-ads-duration"] = f"{round((time.monotonic() - begun) * 1000)} ms"
                status = message["status"]
                if status < 400:
                    headers["Access-Control-Allow-Credentials"] = "true"
                    headers["Access-Control-Allow-Origin"] = "*"
                else:
                    headers["x-ads-exception-id"] = str(uuid.uuid4())
                    headers["x-ads-troubleshooting"] = _TROUBLESHOOTING.get(
                        status, "Internal Service Error" if status >= 500 else "Invalid Request"
                    )
            await send(message)

        return sealed


def _in_europe(scope: Scope) -> None:
    """The old way to say EMEA, in the path; it does not heed the header."""
    scope["path"] = _HERE + scope["path"].removeprefix(_EUROPE)
    scope["headers"] = [
        *(
            (name, value)
            for name, value in scope["headers"]
            if name.lower() not in (b"region", b"x-ads-region")
        ),
        (b"region", b"EMEA"),
    ]
