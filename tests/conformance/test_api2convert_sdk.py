"""API2Convert's own Python client against the embedded service, over HTTP, with real conversions."""

import asyncio
import hashlib
import hmac
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from api2convert import Api2Convert
from api2convert.cloud import CloudInput
from api2convert.errors import (
    Api2ConvertError,
    AuthenticationError,
    ConversionFailedError,
    NotFoundError,
    SignatureVerificationError,
    ValidationError,
)
from PIL import Image

from local.azurite import ACCOUNT, Azurite
from shared.embedded.converter import Converter
from tests.embedded.bundle import ACCOUNT_KEY, Bundle, free_port, serve, start, working
from tests.embedded.models import obj, read_glb


@pytest.fixture(scope="module")
async def running(azurite: Azurite, converter: Converter) -> AsyncIterator[tuple[Bundle, str]]:
    """The service at an address, and at work."""
    port = free_port()
    settings = {"embedded_apis": "api2convert", "website_hostname": f"127.0.0.1:{port}"}
    async with (
        start(azurite, **settings) as bundle,
        serve(bundle.api, port) as url,
        working(bundle, bundle.worker(converter)),
    ):
        yield bundle, url


@pytest.fixture
def client(running: tuple[Bundle, str]) -> Iterator[Api2Convert]:
    with sdk(running[1]) as made:
        yield made


@contextmanager
def sdk(url: str, key: str = ACCOUNT_KEY) -> Iterator[Api2Convert]:
    with httpx.Client(trust_env=False, timeout=30.0) as http_client:
        yield Api2Convert(
            key, base_url=f"{url}/v2", poll_interval=0.5, poll_timeout=60, http_client=http_client
        )


async def off[T](call: Callable[..., T], *args: Any, **more: Any) -> T:
    """A call of the client, which blocks, beside the service that is to answer it."""
    return await asyncio.to_thread(call, *args, **more)


async def address(bundle: Bundle, name: str, data: bytes) -> str:
    """A blob's address with a SAS."""
    await bundle.upload(name, data)
    root = bundle.settings.embedded_blob_url.format(account=ACCOUNT)
    return f"{root}/{bundle.models}/{name}?{bundle.sas(bundle.models, 'r')}"


async def test_convert_from_a_url(running: tuple[Bundle, str], client: Api2Convert) -> None:
    url = await address(running[0], "box.obj", obj())
    result = await off(client.convert, url, "glb")
    content = await off(result.contents)
    assert read_glb(content)["asset"]["version"] == "2.0"
    (output,) = result.job.output
    assert output.size == len(content)
    assert output.checksum == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert output.filename == "box.glb"


async def test_convert_from_a_file_and_save(client: Api2Convert, tmp_path: Path) -> None:
    model = tmp_path / "box.obj"
    model.write_bytes(obj())
    result = await off(client.convert, str(model), "stl", {"format": "ascii"})
    saved = await off(result.save, tmp_path / "out")
    folder = tmp_path / "out"
    assert saved.read_bytes().startswith(b"solid")
    assert folder.exists()


async def test_convert_from_a_stream_whose_length_nobody_knows(client: Api2Convert) -> None:
    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self._data = io.BytesIO(obj())

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return False

        def read(self, size: int = -1) -> bytes:
            return self._data.read(size)

    result = await off(client.convert, Endless(), "glb", filename="box.obj")
    read_glb(await off(result.contents))


async def test_options_are_found_and_used(running: tuple[Bundle, str], client: Api2Convert) -> None:
    options = await off(client.options, "png")
    assert options["width"]["type"] == "integer"
    url = await address(running[0], "box.obj", obj())
    result = await off(client.convert, url, "png", {"width": 64, "height": 48})
    image = Image.open(io.BytesIO(await off(result.contents)))
    assert image.size == (64, 48)


async def test_a_download_password(running: tuple[Bundle, str], client: Api2Convert) -> None:
    url = await address(running[0], "box.obj", obj())
    result = await off(client.convert, url, "glb", download_password="sesame")
    read_glb(await off(result.contents))
    with pytest.raises(Api2ConvertError):
        await off(result.contents, download_password="wrong")


async def test_a_staged_job_step_by_step(running: tuple[Bundle, str], client: Api2Convert) -> None:
    payload = {"process": False, "conversion": [{"target": "glb"}]}
    job = await off(client.jobs.create, payload, idempotency_key="sdk-1")
    again = await off(client.jobs.create, payload, idempotency_key="sdk-1")
    assert job.id == again.id
    url = await address(running[0], "box.obj", obj())
    added = await off(client.jobs.add_input, job.id, {"type": "remote", "source": url, "filename": "a"})
    assert (added.type, added.status) == ("remote", "ready")
    updated = await off(client.jobs.update, job.id, {"limits": {"job": 1}})
    assert updated.raw["limits"] == {"job": 1}
    started = await off(client.jobs.start, job.id)
    assert started.id == job.id
    done = await off(client.jobs.wait, job.id)
    assert done.is_completed()
    assert done.input[0].filename == "a.obj"
    outputs = await off(client.jobs.outputs, job.id)
    assert [output.filename for output in outputs] == ["a.glb"]
    listed = await off(client.jobs.list, status="completed")
    assert job.id in [item.id for item in listed]
    with pytest.raises(Api2ConvertError) as conflict:
        await off(client.jobs.start, job.id)
    assert getattr(conflict.value, "status_code", 409) == 409


async def test_cancel_and_what_is_left(client: Api2Convert) -> None:
    job = await off(client.jobs.create, {"process": False, "conversion": [{"target": "glb"}]})
    await off(client.jobs.cancel, job.id)
    with pytest.raises(NotFoundError):
        await off(client.jobs.get, job.id)
    assert await off(client.jobs.list, status="canceled") == []


async def test_a_failed_job_tells_its_errors(client: Api2Convert) -> None:
    source = CloudInput.amazon_s3("bucket", "file.stl", "id", "secret")
    with pytest.raises(ConversionFailedError) as failed:
        await off(client.convert, source, "glb")
    (error,) = failed.value.job.errors
    assert (error.code, error.source) == (17, "input")
    assert "secret" not in json.dumps(failed.value.job.raw)


async def test_the_catalogue_presets_stats_and_contracts(client: Api2Convert) -> None:
    rows = await off(client.conversions.list, category="image")
    assert [row["target"] for row in rows] == ["jpg", "png"]
    assert await off(client.options, "docx") == {}
    preset = await off(client.presets.create, {"name": "small", "target": "png", "options": {"width": 8}})
    assert preset.id is not None
    assert (await off(client.presets.get, preset.id)).options == {"width": 8}
    changed = await off(client.presets.update, preset.id, {"options": {"width": 9}})
    assert changed.options == {"width": 9}
    assert preset.id in [one.id for one in await off(client.presets.list, target="png")]
    await off(client.presets.delete, preset.id)
    with pytest.raises(NotFoundError):
        await off(client.presets.get, preset.id)
    assert await off(client.stats.day, "2026-11-22") == []
    assert await off(client.contracts.get) == []


async def test_a_wrong_key_and_an_unknown_target(running: tuple[Bundle, str], client: Api2Convert) -> None:
    url = await address(running[0], "box.obj", obj())
    with (
        sdk(running[1], "wrong") as stranger,
        pytest.raises(AuthenticationError, match="Invalid api key"),
    ):
        await off(stranger.convert, url, "glb")
    with pytest.raises(ValidationError, match="does not exist"):
        await off(client.convert, url, "docx")


async def test_a_webhook_is_verified(running: tuple[Bundle, str], client: Api2Convert) -> None:
    told: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()

    async def listen(request: web.BaseRequest) -> web.Response:
        await told.put((await request.read(), request.headers["X-Oc-Signature"]))
        return web.Response()

    runner = web.ServerRunner(web.Server(listen))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    url = await address(running[0], "box.obj", obj())
    job = await off(client.convert_async, url, "glb", callback=hook)
    statuses = []
    while "completed" not in statuses:
        body, signature = await asyncio.wait_for(told.get(), 60)
        event = Api2Convert.webhooks().construct_event(body, signature, ACCOUNT_KEY)
        assert event.job.id == job.id
        statuses.append(event.job.status.code)
    assert statuses == ["pending", "downloading", "queued", "processing", "completed"]
    forged = hmac.new(b"another key", body, hashlib.sha256).hexdigest()
    with pytest.raises(SignatureVerificationError):
        Api2Convert.webhooks().construct_event(body, forged, ACCOUNT_KEY)
    await runner.cleanup()


async def test_the_old_header_names_open_the_service_too(running: tuple[Bundle, str]) -> None:
    async with httpx.AsyncClient(trust_env=False) as old:
        headers = {"X-Oc-Api-Key": ACCOUNT_KEY}
        body = {"process": False, "conversion": [{"target": "glb"}]}
        job = (await old.post(f"{running[1]}/v2/jobs", json=body, headers=headers)).json()
        url = f"{job['server']}/upload-file/{job['id']}"
        token = {"X-Oc-Token": job["token"], "X-Oc-Upload-Uuid": "1"}
        sent = await old.post(url, files={"file": ("box.obj", obj())}, headers=token)
        assert sent.status_code == 200
