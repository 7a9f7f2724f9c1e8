"""The vendors' clients against the whole app, as Azure's own runtime library for Python runs it."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from api2convert.errors import NotFoundError
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mixedreality.remoterendering import (
    AssetConversionInputSettings,
    AssetConversionOutputSettings,
    RemoteRenderingClient,
)
from azure.storage.blob import generate_container_sas
from azure.storage.blob.aio import BlobServiceClient

from local.azurite import ACCOUNT, KEY, Azurite
from local.host import Endpoints, running
from tests.conformance.test_api2convert_sdk import sdk
from tests.conformance.test_remote_rendering_sdk import client, sts
from tests.embedded.models import mtl, obj, png, read_glb

APP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Endpoints, Azurite]]:
    with Azurite.start() as own:
        environment = os.environ | {"MODEL_STORAGE": own.connection_string}
        async with running(APP, tmp_path_factory.mktemp("state"), environment, level="Error") as up:
            yield up.endpoints, own


async def signed_in(endpoints: Endpoints) -> RemoteRenderingClient:
    token = await asyncio.to_thread(
        sts(endpoints.functions, endpoints.account_id, endpoints.account_key).get_token
    )
    return client(endpoints.functions, token, endpoints.account_id)


async def test_a_conversion_from_beginning_to_output(host: tuple[Endpoints, Azurite]) -> None:
    endpoints, azurite = host
    sas = {
        permissions: generate_container_sas(
            ACCOUNT,
            "desk",
            account_key=KEY,
            permission=permissions,
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        for permissions in ("rl", "w")
    }
    desk = f"{azurite.blob_url}/{ACCOUNT}/desk"
    source = AssetConversionInputSettings(
        storage_container_uri=desk,
        storage_container_read_list_sas=sas["rl"],
        blob_prefix="in",
        relative_input_asset_path="box.obj",
    )
    target = AssetConversionOutputSettings(
        storage_container_uri=desk, storage_container_write_sas=sas["w"], blob_prefix="out"
    )
    async with BlobServiceClient.from_connection_string(azurite.connection_string) as storage:
        container = await storage.create_container("desk")
        for name, data in (("box.obj", obj("box.mtl")), ("box.mtl", mtl("skin.png")), ("skin.png", png())):
            await container.upload_blob(f"in/{name}", data)
        arr = await signed_in(endpoints)
        poller = await asyncio.to_thread(arr.begin_asset_conversion, "c1", source, target)
        conversion = await asyncio.to_thread(poller.result)
        assert conversion.output is not None
        assert conversion.output.asset_uri == f"{desk}/out/box.arrAsset"
        data = await (await container.download_blob("out/box.arrAsset")).readall()
    assert len(read_glb(data)["images"]) == 1
    listed = await asyncio.to_thread(lambda: list(arr.list_asset_conversions()))
    assert [(item.id, item.status) for item in listed] == [("c1", "Succeeded")]


async def test_refusals_keep_their_shape_on_the_way_through(host: tuple[Endpoints, Azurite]) -> None:
    endpoints, _ = host
    arr = await signed_in(endpoints)
    with pytest.raises(ResourceNotFoundError):
        await asyncio.to_thread(arr.get_asset_conversion, "nobody")
    with pytest.raises(HttpResponseError) as refused:
        await asyncio.to_thread(arr.get_asset_conversion, "bad id/x")
    assert refused.value.status_code == 404
    account = f"{endpoints.functions}/accounts/{endpoints.account_id}"
    async with httpx.AsyncClient() as browser:
        replies = [
            await browser.get(f"{account}/token"),
            await browser.get(f"{account}/conversions"),
            await browser.get(f"{endpoints.functions}/v1/nowhere"),
            await browser.delete(f"{account}/conversions/x"),
        ]
    assert [reply.status_code for reply in replies] == [401, 401, 404, 405]
    assert replies[0].content == replies[1].content == b""
    assert isinstance(replies[2].json()["error"], str)
    for reply in replies:
        assert re.fullmatch(r"[A-Za-z0-9+/]{22}\.0", reply.headers["MS-CV"])
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_token_lives_for_a_day(host: tuple[Endpoints, Azurite]) -> None:
    endpoints, _ = host
    get_token = sts(endpoints.functions, endpoints.account_id, endpoints.account_key).get_token
    assert abs((await asyncio.to_thread(get_token)).expires_on - time.time() - 86_400) < 60


async def test_api2converts_client_from_a_file_to_its_output(
    host: tuple[Endpoints, Azurite], tmp_path: Path
) -> None:
    endpoints, _ = host
    model = tmp_path / "box.obj"
    await asyncio.to_thread(model.write_bytes, obj())
    with sdk(endpoints.functions, endpoints.account_key) as api2convert:
        result = await asyncio.to_thread(api2convert.convert, str(model), "glb")
        content = await asyncio.to_thread(result.contents)
        assert read_glb(content)["asset"]["version"] == "2.0"
        assert result.job.output[0].uri.startswith(f"{endpoints.functions}/v2/dl/")
        assert await asyncio.to_thread(api2convert.jobs.list, status="canceled") == []
        await asyncio.to_thread(api2convert.jobs.cancel, result.job.id)
        with pytest.raises(NotFoundError):
            await asyncio.to_thread(api2convert.jobs.get, result.job.id)
