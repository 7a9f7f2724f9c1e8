"""The client against the bundle's own API: from a model that lands to its manifest."""

import io
import re
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.conversion import Status, Step
from shared.embedded.converter import Converter
from tests.embedded.models import encrypted, mtl, obj, packed, png, read_glb
from tests.pipeline import ACCOUNT_KEY, Pipeline, start

SETTINGS: dict[str, Any] = {
    "embedded_apis": "remote-rendering,api2convert",
    "default_service": "api2convert",
}
#: The same API, as if it were somebody else's.
VENDOR: dict[str, Any] = {"api2convert_api_key": ACCOUNT_KEY, "api2convert_url": "http://127.0.0.1:1/v2"}


@pytest.fixture
async def pipeline(azurite: Azurite, converter: Converter) -> AsyncIterator[Pipeline]:
    async with start(azurite, converter=converter, **SETTINGS) as running:
        yield running


async def test_a_model_is_converted_and_its_job_deleted(pipeline: Pipeline) -> None:
    manifest = await pipeline.convert("box.obj", obj())
    assert manifest.status is Status.SUCCESS, manifest.errors
    (derivative,) = manifest.derivatives
    assert (derivative.name, derivative.output_type) == ("box.glb", "glb")
    assert derivative.content_type == "model/gltf-binary"
    read_glb(await pipeline.read(derivative.path))
    assert manifest.service is not None
    assert (manifest.service.name, manifest.source.path) == ("api2convert", "box.obj")
    assert await jobs_left(pipeline) == []


async def jobs_left(pipeline: Pipeline) -> list[str]:
    """What the service still holds of any job."""
    container = pipeline.app.settings.embedded_container
    return [blob.name async for blob in pipeline.app.storage.list(container, "api2convert-")]


async def test_a_multi_file_model_brings_its_companions_as_inputs(pipeline: Pipeline) -> None:
    await pipeline.upload("deep/box.mtl", mtl("maps/skin.png"))
    await pipeline.upload("deep/maps/skin.png", png())
    await pipeline.upload("deep/box.obj.conversion.json", b'{"formats": [{"type": "glb"}, {"type": "obj"}]}')
    manifest = await pipeline.convert("deep/box.obj", obj("box.mtl"))
    assert manifest.status is Status.SUCCESS, manifest.errors
    glb, again = manifest.derivatives
    assert len(read_glb(await pipeline.read(glb.path))["images"]) == 1
    assert again.name == "box.obj"
    assert {child.role for child in again.children} == {"companion"}
    for derivative in manifest.derivatives:
        assert derivative.md5 is not None and derivative.sha256 is not None


async def test_another_service_gets_the_model_and_its_companions_as_a_zip(
    azurite: Azurite, converter: Converter
) -> None:
    async with start(azurite, converter=converter, **SETTINGS, **VENDOR) as pipeline:
        await pipeline.upload("box.mtl", mtl("maps/skin.png"))
        await pipeline.upload("maps/skin.png", png())
        await pipeline.drop("box.obj", obj("box.mtl"))
        await pipeline.work()  # handed over, and started
        staged = [
            blob.name
            async for blob in pipeline.app.storage.list(pipeline.app.settings.in_flight_container, "staged/")
        ]
        assert [name.rpartition("/")[2] for name in staged] == ["box.zip"]
        blob = await pipeline.app.storage.read(pipeline.app.settings.in_flight_container, staged[0])
        assert blob is not None
        with zipfile.ZipFile(io.BytesIO(blob.data)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == ["box.obj", "box.mtl", "maps/skin.png"]
        await pipeline.settle()
        manifest = await pipeline.manifest("box.obj")
        assert manifest.status is Status.SUCCESS, manifest.errors
        (derivative,) = manifest.derivatives
        assert len(read_glb(await pipeline.read(derivative.path))["images"]) == 1
        left = pipeline.app.storage.list(pipeline.app.settings.in_flight_container, "staged/")
        assert [blob.name async for blob in left] == []


@pytest.mark.parametrize("is_own", [True, False])
async def test_files_that_the_service_cannot_fetch_are_uploaded(
    azurite: Azurite, converter: Converter, is_own: bool
) -> None:
    settings = SETTINGS | ({} if is_own else VENDOR) | {"api2convert_upload": True}
    async with start(azurite, converter=converter, **settings) as pipeline:
        await pipeline.upload("box.mtl", mtl("skin.png"))
        await pipeline.upload("skin.png", png())
        manifest = await pipeline.convert("box.obj", obj("box.mtl"))
        assert manifest.status is Status.SUCCESS, manifest.errors
        (derivative,) = manifest.derivatives
        assert len(read_glb(await pipeline.read(derivative.path))["images"]) == 1


async def test_a_target_that_the_catalogue_lacks_is_refused_before_a_job_is_made(
    azurite: Azurite, converter: Converter
) -> None:
    async with start(azurite, converter=converter, **SETTINGS, **VENDOR) as pipeline:
        sidecar = b'{"formats": [{"type": "docx"}]}'
        await pipeline.upload("box.obj.conversion.json", sidecar)
        manifest = await pipeline.convert("box.obj", obj())
        assert manifest.errors[0].code == "unsupported-output"
        assert "glb" in manifest.errors[0].message
        assert manifest.service is not None
        assert manifest.service.id is None


async def test_an_option_that_the_target_lacks_is_refused(azurite: Azurite, converter: Converter) -> None:
    async with start(azurite, converter=converter, **SETTINGS, **VENDOR) as pipeline:
        sidecar = b'{"formats": [{"type": "stl", "advanced": {"colour": "red"}}]}'
        await pipeline.upload("box.obj.conversion.json", sidecar)
        manifest = await pipeline.convert("box.obj", obj())
        assert manifest.errors[0].code == "invalid-settings"
        assert "'colour'" in manifest.errors[0].message


async def test_what_the_service_says_is_in_the_manifest(pipeline: Pipeline) -> None:
    manifest = await pipeline.convert("box.stl", b"solid but nothing in it")
    assert manifest.status is Status.FAILED
    (error,) = manifest.errors
    assert error.source == "conversion"
    assert isinstance(error.code, int)
    assert error.id_source != manifest.id
    assert "cannot be read" in error.message


async def test_a_warning_stays_a_warning(pipeline: Pipeline) -> None:
    # One conversion fails, and is to be no reason to fail the job.
    sidecar = b'{"formats": [{"type": "glb"}], "options": {"fail_on_conversion_error": false}}'
    await pipeline.upload("models.zip.conversion.json", sidecar)
    manifest = await pipeline.convert("models.zip", packed({"box.obj": obj("lost.mtl")}))
    assert manifest.status is Status.SUCCESS, manifest.errors
    assert all(warning.source in ("input", "conversion") for warning in manifest.warnings)


# --- Replies that are lost ---------------------------------------------------------------------


class Lossy(httpx.AsyncBaseTransport):
    """Does what it is asked, and loses the first reply to each call that ``loses`` names."""

    def __init__(self, own: httpx.AsyncBaseTransport, *loses: tuple[str, str]) -> None:
        self._own = own
        self._loses = list(loses)
        self.calls: list[tuple[str, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = (request.method, request.url.path)
        self.calls.append(call)
        response = await self._own.handle_async_request(request)
        for lost in self._loses:
            if call[0] == lost[0] and re.fullmatch(lost[1], call[1]):
                self._loses.remove(lost)
                await response.aread()
                raise httpx.ReadError("the reply was lost")
        return response


JOB = r"/v2/jobs/[^/]+"


@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize(
    "loses",
    [
        [("POST", "/v2/jobs")],
        [("PATCH", JOB)],
        [("POST", "/v2/jobs"), ("PATCH", JOB)],
        [("GET", JOB)],
        [("DELETE", JOB)],
        [("GET", "/v2/dl/.*")],
        [("POST", "/v2/dl/.*")],
    ],
    ids=str,
)
async def test_a_lost_reply_costs_no_second_start(
    azurite: Azurite, converter: Converter, loses: list[tuple[str, str]], upload: bool
) -> None:
    lossy: list[Lossy] = []

    def wrap(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        lossy.append(Lossy(own, *loses))
        return lossy[0]

    settings = SETTINGS | {"api2convert_upload": upload}
    async with start(azurite, converter=converter, wrap=wrap, **settings) as pipeline:
        await pipeline.drop("box.obj", obj())
        runs = []
        for _ in range(12):
            runs += await pipeline.requests()
            for request in runs[-1:]:
                await pipeline.run(request)
            await pipeline.work()
            pipeline.later(10)
            await pipeline.app.tick.run()
        manifest = await pipeline.manifest("box.obj")
        assert manifest.status is Status.SUCCESS, manifest.errors
        assert len(set(runs)) <= 1
        assert manifest.service is not None
        assert manifest.warnings == ()
        assert await jobs_left(pipeline) == []


# --- Callbacks ---------------------------------------------------------------------------------


async def test_the_service_calls_back_and_polling_is_slow(pipeline: Pipeline) -> None:
    await pipeline.drop("box.obj", obj())
    record = await pipeline.record("box.obj")
    assert record is not None
    assert record.callback
    await pipeline.work()  # converts, and is told so
    record = await pipeline.record("box.obj")
    assert record is None or record.due_at <= pipeline.app.tools.now()
    await pipeline.work()
    assert (await pipeline.manifest("box.obj")).status is Status.SUCCESS


async def test_a_callback_of_a_stranger_moves_nothing_and_one_twice_moves_once(pipeline: Pipeline) -> None:
    await pipeline.drop("box.obj", obj())
    record = await pipeline.record("box.obj")
    assert record is not None
    url = pipeline.app.callbacks.url(record)
    assert url is not None
    path = url.partition("127.0.0.1:1")[2]
    async with pipeline.http() as client:
        body: dict[str, Any] = {"id": record.service_id, "status": {"code": "completed"}, "output": []}
        assert (await client.post(f"{path[:-1]}x", json=body)).status_code == 404
        assert await pipeline.record("box.obj") == record
        for _ in range(2):
            assert (await client.post(path, json=body)).status_code == 204
    # What it says is not believed: the job is still pending.
    await pipeline.app.tick.run()
    still = await pipeline.record("box.obj")
    assert still is not None
    assert still.step is Step.POLL
    await pipeline.settle()
    assert (await pipeline.manifest("box.obj")).status is Status.SUCCESS


async def test_another_service_is_given_no_address_that_it_cannot_reach(
    azurite: Azurite, converter: Converter
) -> None:
    async with start(azurite, converter=converter, **SETTINGS, **VENDOR) as pipeline:
        await pipeline.drop("box.obj", obj())
        await pipeline.work()
        record = await pipeline.record("box.obj")
        assert record is not None
        assert record.step is Step.POLL
        assert not record.callback


# --- Secrets -----------------------------------------------------------------------------------


async def test_a_password_is_named_and_never_told(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("INPUT_PASSWORD_PARTS", "open sesame")
    sidecar = b'{"options": {"password_setting": "INPUT_PASSWORD_PARTS"}}'
    await pipeline.upload("box.zip.conversion.json", sidecar)
    await pipeline.drop("box.zip", encrypted("box.obj", obj(), b"open sesame"))
    await pipeline.settle()
    manifest = await pipeline.manifest("box.zip")
    assert manifest.status is Status.SUCCESS, manifest.errors
    assert "open sesame" not in manifest.encode().decode()
    assert "open sesame" not in caplog.text


async def test_no_other_app_setting_can_be_named(pipeline: Pipeline) -> None:
    sidecar = b'{"options": {"password_setting": "EMBEDDED_ACCOUNT_KEY"}}'
    await pipeline.upload("box.zip.conversion.json", sidecar)
    manifest = await pipeline.convert("box.zip", packed({"box.obj": obj()}))
    assert manifest.errors[0].code == "invalid-settings"
    assert "INPUT_PASSWORD" in manifest.errors[0].message
