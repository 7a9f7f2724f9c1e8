"""No secret leaves by way of Model Derivative: tokens, addresses of parts, download cookies (promise 7)."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from local.azurite import Azurite
from shared.clients import model_derivative_upload
from shared.conversion import Status
from tests.copier import Copier
from tests.embedded.models import obj
from tests.faults.leaks import Leaks, leaks
from tests.model_derivative import sidecar, translating

__all__ = ["leaks"]  # a fixture, used by its name


class Tattling(httpx.AsyncBaseTransport):
    """Keeps every secret that travels, and fails one kind of call with an answer that repeats all of them."""

    def __init__(
        self, own: httpx.AsyncBaseTransport, kept: Leaks, method: str, ending: str, status: int
    ) -> None:
        self._own = own
        self._kept = kept
        self._fails = (method, ending)
        self._status = status

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if authorization := request.headers.get("Authorization"):
            self._kept.secrets.add(authorization.split(" ", 1)[1])
        for cookie in filter(None, request.headers.get("Cookie", "").split("; ")):
            name, _, value = cookie.partition("=")
            if name != "CloudFront-Key-Pair-Id":
                self._kept.secrets.add(value)
        if "sig=" in request.url.query.decode():
            self._kept.keep(request.url.query.decode())
        method, ending = self._fails
        if request.method == method and ending in urlsplit(str(request.url)).path:
            if self._status == 0:
                raise httpx.ConnectError(
                    f"no answer from {request.url} with {request.headers}", request=request
                )
            said = f"{request.url} {dict(request.headers)}"
            return httpx.Response(self._status, json={"diagnostic": said, "developerMessage": said})
        return await self._own.handle_async_request(request)


CASES = [
    ("POST", "/nothing", 500),
    ("POST", "/token", 400),
    ("POST", "/buckets", 403),
    ("GET", "/signeds3upload", 400),
    ("PUT", "/oss/data/", 403),
    ("PUT", "/oss/data/", 0),
    ("POST", "/job", 400),
    ("POST", "/job", 0),
    ("GET", "/manifest", 401),
    ("GET", "/signedcookies", 400),
    ("GET", "/cdn/", 403),
    ("GET", "/cdn/", 0),
    ("GET", "/derivatives/", 404),
]


@pytest.mark.parametrize(("method", "ending", "status"), CASES)
async def test_whatever_fails_nothing_secret_is_told(
    azurite: Azurite, leaks: Leaks, method: str, ending: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_derivative_upload, "_TRIES", 1)

    def wrap(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return Tattling(own, leaks, method, ending, status)

    settings: dict[str, Any] = {"converter": Copier(), "wrap": wrap, "deadline_seconds": 100}
    async with translating(azurite, **settings) as (pipeline, _):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await pipeline.settle(rounds=30, seconds=20)
        manifest = await pipeline.manifest("pyramid.obj")
        assert (manifest.status is Status.SUCCESS) is (ending == "/nothing")
        await leaks.check(pipeline)
