"""The Remote Rendering client against the embedded service: its own HTTP, storage and engine."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from local.azurite import ACCOUNT, Azurite
from samples.make_samples import HERE
from shared.clients import Order, Place, Progress
from shared.clients.remote_rendering import RemoteRendering
from shared.conversion import Status
from shared.embedded.converter import Converter
from shared.problems import Code
from tests.clients.orders import fault_of
from tests.embedded.bundle import ACCOUNT_ID, ACCOUNT_KEY, OTHER_ACCOUNT_ID, Bundle, serve, start

GLB = ({"type": "glb"},)


@pytest.fixture
async def bundle(azurite: Azurite) -> AsyncIterator[Bundle]:
    async with start(azurite) as running:
        for name in ("cube.obj", "cube.mtl", "checks.png", "cube.zip"):
            await running.upload(f"cubes/{name}", (HERE / "cube" / name).read_bytes())
        yield running


@pytest.fixture
async def url(bundle: Bundle) -> AsyncIterator[str]:
    async with serve(bundle.api) as address:
        yield address


@pytest.fixture
async def client(url: str) -> AsyncIterator[RemoteRendering]:
    client = RemoteRendering(url, ACCOUNT_ID, account_key=ACCOUNT_KEY)
    yield client
    await client.close()


def order(bundle: Bundle, model: str = "cube.obj", **changes: Any) -> Order:
    source = Place(ACCOUNT, bundle.models, "cubes", bundle.sas(bundle.models, "rl"))
    target = Place(ACCOUNT, bundle.converted, "cubes/out", bundle.sas(bundle.converted, "cw"))
    return replace(Order(id="a" * 32, input=source, model=model, output=target, formats=GLB), **changes)


async def converted(bundle: Bundle, client: RemoteRendering, service_id: str) -> Progress:
    converter = Converter()
    for key, message in await bundle.take():
        await bundle.worker(converter).run(key, message)
    await converter.close()
    return await client.poll(service_id)


async def test_a_conversion_from_start_to_success(bundle: Bundle, client: RemoteRendering) -> None:
    started = await client.start(order(bundle))
    assert started.trace_id
    waiting = await client.poll(started.service_id)
    assert (waiting.status, waiting.word) == (Status.PENDING, "Created")

    progress = await converted(bundle, client, started.service_id)
    assert (progress.status, progress.message, progress.warnings) == (Status.SUCCESS, None, ())
    assert progress.statistics["triangles"] == 12
    assert progress.statistics["textures"] == 1
    assert progress.outputs is not None
    (glb,) = (output for output in progress.outputs if output.type == "glb")
    written = await bundle.result(glb.path)
    assert written is not None
    assert (glb.path, glb.size) == ("cubes/out/cube.glb", len(written))


async def test_a_conversion_between_linked_containers_needs_no_sas(
    bundle: Bundle, client: RemoteRendering
) -> None:
    source, target = Place(ACCOUNT, bundle.models, "cubes"), Place(ACCOUNT, bundle.converted, "out")
    options = {"access": "linked", "outputAssetFileName": "my cube.arrAsset"}
    started = await client.start(order(bundle, input=source, output=target, options=options, formats=()))
    progress = await converted(bundle, client, started.service_id)
    assert (progress.status, progress.message) == (Status.SUCCESS, None)
    assert await bundle.result("out/my cube.arrAsset")


async def test_the_model_in_a_zip_is_converted(bundle: Bundle, client: RemoteRendering) -> None:
    started = await client.start(order(bundle, "cube.zip", root_filename="cube.obj"))
    progress = await converted(bundle, client, started.service_id)
    assert (progress.status, progress.message) == (Status.SUCCESS, None)
    assert progress.statistics["textures"] == 1


async def test_a_failure_tells_what_is_wrong(bundle: Bundle, client: RemoteRendering) -> None:
    await bundle.upload("cubes/broken.stl", b"this is no model")
    started = await client.start(order(bundle, "broken.stl"))
    progress = await converted(bundle, client, started.service_id)
    assert (progress.status, progress.code) == (Status.FAILED, Code.CORRUPT_MODEL)
    assert progress.message


async def test_the_same_order_again_is_the_same_conversion(bundle: Bundle, client: RemoteRendering) -> None:
    first = await client.start(order(bundle))
    again = await client.start(order(bundle, repeated=True))
    assert (again.service_id, again.warnings) == (first.service_id, ())
    assert len(set(await bundle.messages())) == 1


async def test_storage_that_is_not_linked_is_refused_in_the_services_words(
    bundle: Bundle, client: RemoteRendering
) -> None:
    elsewhere = Place(ACCOUNT, "elsewhere", "")
    fault = await fault_of(client.start(order(bundle, input=elsewhere, options={"access": "linked"})))
    assert (fault.code, fault.transient) == (Code.SERVICE_REFUSED, False)
    assert "connected storage account" in fault.message
    assert fault.trace_id


async def test_wrong_credentials_and_other_accounts_are_unauthorized(bundle: Bundle, url: str) -> None:
    for account, key in ((ACCOUNT_ID, "no key of this account"), (OTHER_ACCOUNT_ID, ACCOUNT_KEY)):
        client = RemoteRendering(url, account, account_key=key)
        fault = await fault_of(client.start(order(bundle)))
        assert (fault.code, fault.transient) == (Code.SERVICE_UNAUTHORIZED, False)
        await client.close()


async def test_a_conversion_that_nobody_started_is_lost(client: RemoteRendering) -> None:
    fault = await fault_of(client.poll("5f2b6f0f-4a1e-4a0c-9a1d-2e3f4a5b6c7d"))
    assert (fault.code, fault.transient) == (Code.SERVICE_LOST_CONVERSION, False)
