"""What was made for a service goes with the conversion, however that ends."""

from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.conversion import AtService, Status
from shared.tools import Tools
from tests.copier import Copier
from tests.faults.crowd import Between
from tests.pipeline import ACCOUNT_KEY, Pipeline, start

#: API2Convert as if it were somebody else's: model and companions go there as a zip, made for it.
VENDOR: dict[str, Any] = {
    "embedded_apis": "remote-rendering,api2convert",
    "api2convert_api_key": ACCOUNT_KEY,
    "api2convert_url": "http://127.0.0.1:1/v2",
    "default_service": "api2convert",
}
ALONE = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
OBJ = b"mtllib box.mtl\n" + ALONE


class Dies(Exception):
    """The process is gone."""


class Refuses(Between):
    """A service that makes no job, but answers with a status."""

    def __init__(self, own: httpx.AsyncBaseTransport, status: int) -> None:
        super().__init__(own)
        self.status = status

    async def answer(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if (request.method, request.url.path) != ("POST", "/v2/jobs"):
            return response
        return httpx.Response(self.status)


async def staged(pipeline: Pipeline) -> list[str]:
    listing = pipeline.app.storage.list(pipeline.app.settings.in_flight_container, "staged/")
    return [blob.name async for blob in listing]


async def pack(pipeline: Pipeline) -> None:
    """A model and its companion are packed for the service."""
    await pipeline.upload("box.mtl", b"newmtl red\n")
    await pipeline.drop("box.obj", OBJ)
    await pipeline.transfer()


@pytest.mark.parametrize(("status", "code"), [(402, "service-quota"), (503, "timeout")])
async def test_what_was_packed_goes_although_no_job_was_made(
    azurite: Azurite, status: int, code: str
) -> None:
    options = {"wrap": lambda own: Refuses(own, status), "deadline_seconds": 60, **VENDOR}
    async with start(azurite, converter=Copier(), **options) as pipeline:
        await pack(pipeline)
        assert status == 402 or await staged(pipeline)
        await pipeline.settle()
        assert [error.code for error in (await pipeline.manifest("box.obj")).errors] == [code]
        assert not await staged(pipeline)


async def test_what_was_packed_goes_although_a_newer_version_needs_nothing_packed(azurite: Azurite) -> None:
    options = {"wrap": lambda own: Refuses(own, 503), **VENDOR}
    async with start(azurite, converter=Copier(), **options) as pipeline:
        await pack(pipeline)
        assert await staged(pipeline)
        await pipeline.drop("box.obj", ALONE)
        assert not await staged(pipeline)


async def test_what_was_packed_goes_although_who_superseded_it_died(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(tools: Tools, path: str, left: AtService) -> bool:
        raise Dies

    async with start(azurite, converter=Copier(), **VENDOR) as pipeline:
        await pack(pipeline)
        with monkeypatch.context() as patched, pytest.raises(Dies):
            patched.setattr(Tools, "abandon", dies)
            await pipeline.drop("box.obj", ALONE)
        assert await staged(pipeline)
        await pipeline.settle(seconds=310)
        assert (await pipeline.manifest("box.obj")).status is Status.SUCCESS
        assert not await staged(pipeline)


async def test_what_was_packed_goes_although_its_service_is_not_set_up_any_more(azurite: Azurite) -> None:
    async with start(azurite, converter=Copier(), **VENDOR) as pipeline:
        await pack(pipeline)
        assert await staged(pipeline)
        services = pipeline.app.tools.services
        assert isinstance(services, dict)
        del services["api2convert"]
        await pipeline.settle()
        assert (await pipeline.manifest("box.obj")).errors
        assert not await staged(pipeline)
