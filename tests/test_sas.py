"""The SAS tokens that a service receives: the least right, for the least time (promise 8)."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import generate_container_sas

from local.azurite import ACCOUNT, Azurite
from shared.conversion import Conversion, Status
from shared.problems import Code, Problem
from shared.sas import Signer
from shared.settings import read_settings
from shared.storage import Storage
from tests.pipeline import ACCOUNT_ID, ACCOUNT_KEY, Pipeline, settings_for, start
from tests.tls import OBJECT_ID, TENANT_ID, Identity, self_signed

CUBE = (Path(__file__).resolve().parents[1] / "samples" / "cube" / "cube.stl").read_bytes()
GLB = b'{"formats": [{"type": "glb"}]}'
MARGIN = timedelta(minutes=15)


@dataclass(frozen=True)
class Secure:
    """Azurite that speaks TLS, and what its clients need."""

    azurite: Azurite
    certificate: str


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    certificate = self_signed(tmp_path_factory.mktemp("tls"))
    with Azurite.start(certificate) as running:
        yield Secure(running, str(certificate.certificate))


@dataclass
class Orders:
    """The bodies with which conversions were started, as the service received them."""

    bodies: list[dict[str, Any]] = field(default_factory=list)

    def watch(self, own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        orders = self

        class Watching(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "POST" and "/conversions/create" in request.url.path:
                    orders.bodies.append(json.loads(request.content))
                return await own.handle_async_request(request)

        return Watching()

    def tokens(self, number: int) -> tuple[dict[str, str], dict[str, str]]:
        """The parts of the input's and the output's SAS of one order."""
        body = self.bodies[number]
        return parts(body["input"]["containerReadListSas"]), parts(body["output"]["containerWriteSas"])


def parts(sas: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(sas, strict_parsing=True).items()}


@asynccontextmanager
async def with_identity(secure: Secure, orders: Orders, **changes: Any) -> AsyncIterator[Pipeline]:
    """A bundle that has an identity in the place of an account key."""
    async with start(
        secure.azurite,
        wrap=orders.watch,
        client_options={"credential": Identity(), "connection_verify": secure.certificate},
        model_storage=None,
        MODEL_STORAGE__blobServiceUri=f"{secure.azurite.blob_url}/{ACCOUNT}",
        MODEL_STORAGE__queueServiceUri=f"{secure.azurite.queue_url}/{ACCOUNT}",
        **changes,
    ) as pipeline:
        yield pipeline


@pytest.fixture
def key_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests for a user delegation key, as they are sent."""
    sent: list[str] = []
    send: Callable[..., Any] = AioHttpTransport.send

    async def watched(self: AioHttpTransport, request: Any, **options: Any) -> Any:
        if "comp=userdelegationkey" in request.url:
            sent.append(request.url)
        return await send(self, request, **options)

    monkeypatch.setattr(AioHttpTransport, "send", watched)
    return sent


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def in_flight(pipeline: Pipeline, path: str) -> Conversion:
    record = await pipeline.record(path)
    assert record is not None
    assert record.deadline is not None
    return record


async def test_with_an_identity_both_tokens_are_user_delegation_with_exactly_the_rights_it_takes(
    secure: Secure, key_requests: list[str]
) -> None:
    orders = Orders()
    async with with_identity(secure, orders, deadline_seconds=7200) as pipeline:
        await pipeline.drop("cube.stl", CUBE)
        record = await in_flight(pipeline, "cube.stl")
        assert record.started_at is not None
        for token, rights in zip(orders.tokens(0), ("rl", "cw"), strict=True):
            assert (token["sp"], token["sr"], token["spr"]) == (rights, "c", "https")
            assert (token["skoid"], token["sktid"], token["sks"]) == (OBJECT_ID, TENANT_ID, "b")
            expires, begins = moment(token["se"]), moment(token["st"])
            assert record.deadline is not None
            assert abs(expires - (record.deadline + MARGIN)) < timedelta(seconds=1)
            assert abs(record.started_at - MARGIN - begins) < timedelta(seconds=10)
            assert expires - begins < timedelta(hours=2, minutes=31)
            # A token outlives neither its key, nor begins before it.
            assert moment(token["skt"]) <= begins
            assert moment(token["ske"]) >= expires
            assert record.deadline - record.started_at < timedelta(hours=2)
        await pipeline.settle()
        manifest = await pipeline.manifest("cube.stl")
        assert (manifest.status, manifest.errors) == (Status.SUCCESS, ())
        assert len(await pipeline.jobs()) == 1
        for derivative in manifest.derivatives:
            assert len(await pipeline.read(derivative.path)) == derivative.size

        await pipeline.upload("conversion.json", GLB)
        for number in range(3):
            await pipeline.drop(f"{number}.stl", CUBE)
        assert len(orders.bodies) == 4
        assert len(key_requests) == 1


async def test_with_an_identity_linked_containers_get_no_token_at_all(secure: Secure) -> None:
    orders = Orders()
    names = {"models_container": "models-linked", "converted_container": "converted-linked"}
    linked = ",".join(f"{ACCOUNT}/{name}" for name in names.values())
    async with with_identity(secure, orders, embedded_linked_containers=linked, **names) as pipeline:
        await pipeline.upload(
            "conversion.json", b'{"formats": [{"type": "glb"}], "options": {"access": "linked"}}'
        )
        manifest = await pipeline.convert("cube.stl", CUBE)
    assert (manifest.status, manifest.errors) == (Status.SUCCESS, ())
    assert "sig=" not in json.dumps(orders.bodies)


async def test_with_a_connection_string_both_tokens_are_signed_with_the_account_key(azurite: Azurite) -> None:
    orders = Orders()
    async with start(azurite, wrap=orders.watch) as pipeline:
        await pipeline.drop("cube.stl", CUBE)
        record = await in_flight(pipeline, "cube.stl")
        for token, rights in zip(orders.tokens(0), ("rl", "cw"), strict=True):
            # This storage answers http only, as no other than a local one does.
            assert set(token) == {"sp", "sr", "st", "se", "sv", "sig"}
            assert (token["sp"], token["sr"]) == (rights, "c")
            assert record.deadline is not None
            assert abs(moment(token["se"]) - (record.deadline + MARGIN)) < timedelta(seconds=1)


async def test_an_account_key_over_tls_signs_for_https_alone(secure: Secure) -> None:
    orders = Orders()
    verified = {"connection_verify": secure.certificate}
    async with start(secure.azurite, wrap=orders.watch, client_options=verified) as pipeline:
        await pipeline.upload("conversion.json", GLB)
        assert (await pipeline.convert("cube.stl", CUBE)).status is Status.SUCCESS
    assert [token["spr"] for token in orders.tokens(0)] == ["https", "https"]
    assert "skoid" not in orders.tokens(0)[0]


async def test_a_repeated_start_brings_newer_tokens_for_the_same_job(azurite: Azurite) -> None:
    orders = Orders()
    lost = 0

    def losing(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        watched = orders.watch(own)

        class Losing(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                nonlocal lost
                response = await watched.handle_async_request(request)
                if request.method == "POST" and not lost:
                    lost += 1
                    raise httpx.ReadError("the reply is lost")
                return response

        return Losing()

    async with start(azurite, wrap=losing) as pipeline:
        await pipeline.upload("conversion.json", GLB)
        await pipeline.drop("cube.stl", CUBE)
        pipeline.later(60)
        await pipeline.app.tick.run()
        first, second = orders.tokens(0)[0], orders.tokens(1)[0]
        assert moment(second["st"]) - moment(first["st"]) >= timedelta(seconds=60)
        assert second["se"] == first["se"]
        await pipeline.settle()
        assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS
        assert len(await pipeline.jobs()) == 1


@pytest.mark.parametrize(("reading", "writing"), [("rl", "w"), ("rl", "cw"), ("rl", "rcwl")])
async def test_the_service_needs_no_more_than_read_and_list_and_write(
    secure: Secure, reading: str, writing: str
) -> None:
    async with with_identity(secure, Orders()) as pipeline:
        storage, names = pipeline.app.storage, pipeline.app.settings
        now = pipeline.app.storage.now()
        key = await storage.blob_service.get_user_delegation_key(now - MARGIN, now + MARGIN)

        def sas(container: str, rights: str) -> str:
            return generate_container_sas(
                ACCOUNT,
                container,
                user_delegation_key=key,
                permission=rights,
                expiry=now + MARGIN,
                protocol="https",
            )

        await pipeline.upload("in/cube.stl", CUBE)
        body = {
            "input": {
                "storageAccountname": ACCOUNT,
                "blobContainerName": names.models_container,
                "folderPath": "in",
                "inputAssetPath": "cube.stl",
                "containerReadListSas": sas(names.models_container, reading),
            },
            "output": {
                "storageAccountname": ACCOUNT,
                "blobContainerName": names.converted_container,
                "folderPath": "out",
                "containerWriteSas": sas(names.converted_container, writing),
            },
        }
        async with pipeline.http() as client:
            token = await client.get(
                f"/Accounts/{ACCOUNT_ID}/token",
                headers={"Authorization": f"Bearer {ACCOUNT_ID}:{ACCOUNT_KEY}"},
            )
            client.headers["Authorization"] = f"Bearer {token.json()['AccessToken']}"
            account = f"/v1/accounts/{ACCOUNT_ID}/conversions"
            created = await client.post(f"{account}/createWithSharedAccessSignature", json=body)
            assert created.status_code == 200, created.text
            await pipeline.work()
            status = (await client.get(f"{account}/{created.json()['conversionId']}")).json()
        assert status["status"] == "Success", status
        assert (await pipeline.read("out/cube.arrAsset"))[:4] == b"glTF"


async def test_a_delegation_key_is_fetched_again_only_for_a_token_that_would_outlive_it(
    secure: Secure, key_requests: list[str]
) -> None:
    async with with_identity(secure, Orders()) as pipeline:
        signer = Signer(pipeline.app.storage)
        now = pipeline.app.storage.now()
        for hours in (1, 24, 6 * 24):
            await signer.container_sas("models", "rl", now + timedelta(hours=hours))
        assert len(key_requests) == 1
        pipeline.later(2 * 24 * 3600)
        late = await signer.container_sas("models", "rl", pipeline.app.storage.now() + timedelta(days=5.5))
        assert len(key_requests) == 2
        assert moment(parts(late)["ske"]) >= moment(parts(late)["se"])


async def test_a_delegation_key_that_storage_has_refused_is_not_signed_with_again(
    secure: Secure, key_requests: list[str]
) -> None:
    async with with_identity(secure, Orders()) as pipeline:
        signer = Signer(pipeline.app.storage)
        now = pipeline.app.storage.now()
        until = now + timedelta(hours=1)
        await signer.container_sas("models", "rl", until)
        pipeline.later(600)
        denied = pipeline.app.storage.now()
        pipeline.later(2)
        for _ in range(2):
            await signer.container_sas("models", "rl", until, after=denied)
            await signer.blob_sas("models", "a.stl", "r", until, after=denied)
        assert len(key_requests) == 2


async def test_a_connection_that_can_sign_nothing_says_what_to_do(azurite: Azurite) -> None:
    sas_only = (
        f"BlobEndpoint={azurite.blob_url}/{ACCOUNT};QueueEndpoint={azurite.queue_url}/{ACCOUNT};"
        "SharedAccessSignature=sv=2026-10-06&sig=abcdefgh"
    )
    settings = read_settings(**settings_for(azurite, model_storage=sas_only))
    async with Storage.connect(settings) as storage:
        with pytest.raises(Problem, match="AccountKey") as raised:
            await Signer(storage).container_sas("models", "rl", storage.now())
    assert raised.value.code == Code.STORAGE_DENIED
    assert "abcdefgh" not in str(raised.value)
