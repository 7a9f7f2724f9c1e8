"""Microsoft's own Python client against the embedded service, over HTTP, with real conversions."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import httpx
import pytest
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mixedreality.authentication import MixedRealityStsClient
from azure.mixedreality.remoterendering import (
    AssetConversionInputSettings,
    AssetConversionOutputSettings,
    AssetConversionStatus,
    RemoteRenderingClient,
)

from local.azurite import ACCOUNT, Azurite
from shared.embedded.converter import Converter
from tests.embedded.bundle import ACCOUNT_ID, ACCOUNT_KEY, OTHER_ACCOUNT_ID, Bundle, serve, start, working
from tests.embedded.models import mtl, obj, png, read_glb

T = TypeVar("T")


class AllowHttp(SansIOHTTPPolicy[Any, Any]):
    """Lets the client send its token without TLS, to this machine."""

    def on_request(self, request: Any) -> None:
        request.context.options.setdefault("enforce_https", False)


@pytest.fixture(scope="module")
async def converter() -> AsyncIterator[Converter]:
    running = Converter()
    yield running
    await running.close()


@pytest.fixture
async def bundle(azurite: Azurite) -> AsyncIterator[Bundle]:
    async with start(azurite) as running:
        yield running


@pytest.fixture
async def address(bundle: Bundle) -> AsyncIterator[str]:
    async with serve(bundle.api) as url:
        yield url


def sts(address: str, account_id: str = ACCOUNT_ID, key: str = ACCOUNT_KEY) -> MixedRealityStsClient:
    return MixedRealityStsClient(
        account_id,
        "local.invalid",
        AzureKeyCredential(key),
        custom_endpoint_url=address,
        per_call_policies=[AllowHttp()],
        retry_total=0,
    )


def client(address: str, token: AccessToken, account_id: str = ACCOUNT_ID) -> RemoteRenderingClient:
    return RemoteRenderingClient(
        endpoint=address,
        account_id=account_id,
        account_domain="local.invalid",
        credential=token,
        polling_interval=0.1,
        per_call_policies=[AllowHttp()],
        retry_total=0,
    )


async def signed_in(address: str) -> RemoteRenderingClient:
    return client(address, await asyncio.to_thread(sts(address).get_token))


def locations(
    bundle: Bundle, model: str, **output: str
) -> tuple[AssetConversionInputSettings, AssetConversionOutputSettings]:
    root = bundle.settings.embedded_blob_url.format(account=ACCOUNT)
    return (
        AssetConversionInputSettings(
            storage_container_uri=f"{root}/{bundle.models}",
            storage_container_read_list_sas="?" + bundle.sas(bundle.models, "rl"),
            blob_prefix="Input",
            relative_input_asset_path=model,
        ),
        AssetConversionOutputSettings(
            storage_container_uri=f"{root}/{bundle.converted}",
            storage_container_write_sas=bundle.sas(bundle.converted, "w"),
            blob_prefix="Output",
            **output,
        ),
    )


async def test_a_conversion_from_beginning_to_output(
    bundle: Bundle, address: str, converter: Converter
) -> None:
    await bundle.upload("Input/box.obj", obj("box.mtl"))
    await bundle.upload("Input/box.mtl", mtl("skin.png"))
    await bundle.upload("Input/skin.png", png())
    arr = await signed_in(address)
    async with working(bundle, bundle.worker(converter)):
        poller = await asyncio.to_thread(arr.begin_asset_conversion, "c1", *locations(bundle, "box.obj"))
        conversion = await asyncio.to_thread(poller.result)
    assert conversion.status == AssetConversionStatus.SUCCEEDED
    assert conversion.error is None
    root = bundle.settings.embedded_blob_url.format(account=ACCOUNT)
    assert conversion.output.asset_uri == f"{root}/{bundle.converted}/Output/box.arrAsset"
    uri = f"{conversion.output.asset_uri}?{bundle.sas(bundle.converted, 'r')}"
    async with httpx.AsyncClient() as browser:
        document = read_glb((await browser.get(uri)).content)
    assert len(document["images"]) == 1

    listed = await asyncio.to_thread(lambda: list(arr.list_asset_conversions()))
    assert [(item.id, item.status) for item in listed] == [("c1", "Succeeded")]
    same = await asyncio.to_thread(arr.get_asset_conversion, "c1")
    assert same.settings.input_settings.blob_prefix == "Input/"
    assert same.settings.input_settings.storage_container_read_list_sas is None
    assert same.settings.output_settings.output_asset_filename == "box.arrAsset"
    assert abs(same.created_on.timestamp() - time.time()) < 600


async def test_the_same_settings_again_are_200_and_others_409(bundle: Bundle, address: str) -> None:
    arr = await signed_in(address)
    statuses: list[int] = []

    def begin(model: str) -> None:
        arr.begin_asset_conversion(
            "c1",
            *locations(bundle, model),
            raw_response_hook=lambda reply: statuses.append(reply.http_response.status_code),
        )

    await asyncio.to_thread(begin, "box.obj")
    await asyncio.to_thread(begin, "box.obj")
    with pytest.raises(ResourceExistsError) as conflict:
        await asyncio.to_thread(begin, "ball.obj")
    assert statuses[:2] == [201, 200]
    assert conflict.value.model is not None
    assert conflict.value.model.error.code == "Conflict"


async def test_a_failure_reaches_the_caller_with_its_message(
    bundle: Bundle, address: str, converter: Converter
) -> None:
    await bundle.upload("Input/box.glb", b"glTF but not really")
    arr = await signed_in(address)
    poller = await asyncio.to_thread(arr.begin_asset_conversion, "c1", *locations(bundle, "box.glb"))
    async with working(bundle, bundle.worker(converter)):
        with pytest.raises(HttpResponseError) as failed:
            await asyncio.to_thread(poller.result)
    assert failed.value.error is not None
    assert failed.value.error.code == "ConversionProcessFailed"
    assert failed.value.error.message
    assert (await asyncio.to_thread(arr.get_asset_conversion, "c1")).status == "Failed"


async def test_a_poller_goes_on_from_its_continuation_token(
    bundle: Bundle, address: str, converter: Converter
) -> None:
    await bundle.upload("Input/box.obj", obj())
    arr = await signed_in(address)
    poller = await asyncio.to_thread(arr.begin_asset_conversion, "c-1_X", *locations(bundle, "box.obj"))
    token = poller.continuation_token()
    async with working(bundle, bundle.worker(converter)):
        resumed = await asyncio.to_thread(arr.get_asset_conversion_poller, continuation_token=token)
        assert (await asyncio.to_thread(resumed.result)).id == "c-1_X"


async def test_the_list_follows_its_pages(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.embedded.api.remote_rendering._PAGE", 2)
    # Without an address of its own, links lead to where the call came in.
    elsewhere = {
        "website_hostname": None,
        "remote_rendering_endpoint": "https://service.test",
        "remote_rendering_account_id": ACCOUNT_ID,
    }
    async with start(azurite, **elsewhere) as bundle, serve(bundle.api) as url:
        arr = await signed_in(url)
        for number in range(5):
            begin = arr.begin_asset_conversion
            await asyncio.to_thread(begin, f"c{number}", *locations(bundle, "box.obj"))
        listed = await asyncio.to_thread(lambda: [item.id for item in arr.list_asset_conversions()])
    assert listed == ["c0", "c1", "c2", "c3", "c4"]


async def test_an_unknown_conversion_is_not_found(bundle: Bundle, address: str) -> None:
    arr = await signed_in(address)
    with pytest.raises(ResourceNotFoundError):
        await asyncio.to_thread(arr.get_asset_conversion, "nobody")


@pytest.mark.parametrize("identity", ["bad id/x", "x" * 257])
async def test_an_id_that_is_none_is_a_bad_request(bundle: Bundle, address: str, identity: str) -> None:
    arr = await signed_in(address)
    with pytest.raises(HttpResponseError) as refused:
        await asyncio.to_thread(arr.begin_asset_conversion, identity, *locations(bundle, "box.obj"))
    assert refused.value.status_code == 400


async def test_storage_without_a_right_to_it_is_refused(bundle: Bundle, address: str) -> None:
    arr = await signed_in(address)
    source, target = locations(bundle, "box.obj")
    source.storage_container_read_list_sas = None
    source.storage_container_uri = source.storage_container_uri.replace("models", "others")
    with pytest.raises(HttpResponseError) as refused:
        await asyncio.to_thread(arr.begin_asset_conversion, "c1", source, target)
    assert refused.value.status_code == 403
    assert refused.value.response is not None
    body = json.loads(refused.value.response.text())
    assert body["error"]["code"] == "DelegatedResourceAccessError"


async def test_a_wrong_key_gets_no_token(address: str) -> None:
    with pytest.raises(ClientAuthenticationError) as refused:
        await asyncio.to_thread(sts(address, key="wrong").get_token)
    assert refused.value.status_code == 401


async def test_a_token_of_another_account_opens_nothing(bundle: Bundle, address: str) -> None:
    token = await asyncio.to_thread(sts(address).get_token)
    assert 86_000 < token.expires_on - time.time() < 87_000
    other = client(address, token, OTHER_ACCOUNT_ID)
    with pytest.raises(HttpResponseError) as refused:
        await asyncio.to_thread(other.get_asset_conversion, "c1")
    assert refused.value.status_code == 403
    stranger = client(address, AccessToken("h.eyJleHAiOjIxNDc0ODM2NDd9.s", int(time.time()) + 86_400))
    with pytest.raises(HttpResponseError) as unknown:
        await asyncio.to_thread(stranger.get_asset_conversion, "c1")
    assert unknown.value.status_code == 401
