"""No secret leaves (promise 7).

Failures are forced, and everything that is told or stored is searched for the real values: as they are,
percent-encoded, and in base64.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import azure.functions as func
import httpx
import pytest
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport
from azure.storage.blob import generate_container_sas

from local.azurite import ACCOUNT, KEY, Azurite
from shared.app import App
from shared.conversion import Status
from shared.embedded.converter import Converter
from shared.embedded.engine.job import Job, Result
from tests.copier import Copier
from tests.faults.leaks import Leaks, dumped, found_in, leaks
from tests.pipeline import ACCOUNT_ID, ACCOUNT_KEY, Pipeline, start
from tests.tls import Identity, self_signed

__all__ = ["leaks"]  # a fixture, used by its name

CUBE = (Path(__file__).resolve().parents[2] / "samples" / "cube" / "cube.stl").read_bytes()
GLB = b'{"formats": [{"type": "glb"}]}'


class Wire(httpx.AsyncBaseTransport):
    """Sees what the pipeline sends and gets, and may answer in the service's place."""

    def __init__(self, leaks: Leaks, own: httpx.AsyncBaseTransport) -> None:
        self._leaks = leaks
        self._own = own

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/callbacks/"):
            self._leaks.secrets.add(request.url.path.rpartition("/")[2])
        if "createWith" in request.url.path:
            body = json.loads(request.content)
            self._leaks.keep(body["input"]["containerReadListSas"])
            self._leaks.keep(body["output"]["containerWriteSas"])
            self._leaks.secrets.add(body["callback"].rpartition("/")[2])
        elif "/conversions/" in request.url.path or request.url.path.endswith("/token"):
            self._leaks.secrets.add(request.headers["Authorization"].partition(" ")[2])
        answer = await self.answer(request)
        if answer is None:
            answer = await self._own.handle_async_request(request)
            await answer.aread()
        if request.url.path.endswith("/token") and answer.status_code == 200:
            self._leaks.secrets.add(answer.json()["AccessToken"])
        return answer

    async def answer(self, request: httpx.Request) -> httpx.Response | None:
        """None for the service's own answer."""
        return None


@asynccontextmanager
async def bundle(
    azurite: Azurite, leaks: Leaks, wire: type[Wire] = Wire, **changes: Any
) -> AsyncIterator[Pipeline]:
    async with start(azurite, wrap=lambda own: wire(leaks, own), **changes) as pipeline:
        await pipeline.upload("conversion.json", GLB)
        yield pipeline


async def test_the_search_finds_a_secret_in_any_spelling() -> None:
    secret = "a/secret+with=signs"
    for spelling in (secret, quote(secret, safe=""), base64.b64encode(b"x=" + secret.encode()).decode()):
        assert found_in({secret}, f"before {spelling} after".encode()) == [secret]
    assert found_in({secret}, b"a secret with signs") == []


async def test_a_conversion_that_succeeds_tells_nothing_and_keeps_nothing(
    azurite: Azurite, leaks: Leaks, converter: Converter
) -> None:
    async with bundle(azurite, leaks, converter=converter) as pipeline:
        await pipeline.drop("cube.stl", CUBE)
        # The one place where a SAS may rest, while the request runs.
        resting = b"".join([each async for each in dumped(pipeline)])
        assert found_in(leaks.secrets, resting)
        requests = pipeline.app.settings.embedded_container
        others = [each async for each in dumped(pipeline) if each not in await contents(pipeline, requests)]
        assert found_in(leaks.secrets, b"\n".join(others)) == []
        await pipeline.settle()
        assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS
        await leaks.check(pipeline)


async def contents(pipeline: Pipeline, container: str) -> list[bytes]:
    blobs = [
        await pipeline.app.storage.read(container, blob.name)
        async for blob in pipeline.app.storage.list(container)
    ]
    return [blob.data for blob in blobs if blob is not None]


class Echoing(Wire):
    """A service that repeats what it was sent, secrets and all, in every kind of error."""

    status = 400
    html = False

    async def answer(self, request: httpx.Request) -> httpx.Response | None:
        if "/conversions" not in request.url.path:
            return None
        said = f"{request.url} {dict(request.headers)} {request.content.decode()}"
        if self.html:
            return httpx.Response(self.status, html=f"<h1>{said}</h1>")
        error = {"code": "Echo", "message": f"{said} {unquote(said)}"}
        return httpx.Response(self.status, json={"error": error}, headers={"MS-CV": said[:100]})


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("html", [False, True])
async def test_a_service_that_repeats_secrets_in_its_errors(
    azurite: Azurite, leaks: Leaks, status: int, html: bool
) -> None:
    wire = type("Echo", (Echoing,), {"status": status, "html": html})
    async with bundle(azurite, leaks, wire, deadline_seconds=100) as pipeline:
        await pipeline.drop("cube.stl", CUBE)
        await pipeline.settle(rounds=20, seconds=20)
        assert (await pipeline.manifest("cube.stl")).status in (Status.FAILED, Status.TIMEOUT)
        await leaks.check(pipeline)


class Failing(Echoing):
    """A poll that fails with the SAS in the service's own words, in either shape of the API's errors."""

    async def answer(self, request: httpx.Request) -> httpx.Response | None:
        if request.method != "GET" or "/conversions/" not in request.url.path:
            return None
        sas = sorted(secret for secret in self._leaks.secrets if "sig=" in secret)
        said = f"cannot read https://account.blob.core.windows.net/models?{sas[0]} nor {unquote(sas[1])}"
        error = {"status": "Failure", "error": {"code": "Denied", "message": said}}
        return httpx.Response(200, json=error)


async def test_a_failure_that_quotes_an_address_with_its_sas(azurite: Azurite, leaks: Leaks) -> None:
    async with bundle(azurite, leaks, Failing) as pipeline:
        await pipeline.drop("cube.stl", CUBE)
        pipeline.later(10)
        await pipeline.app.tick.run()
        manifest = await pipeline.manifest("cube.stl")
        assert "cannot read https://account.blob.core.windows.net/models" in manifest.errors[0].message
        await pipeline.requests()  # never run, so its SAS rests in the record
        await pipeline.app.worker.run(
            f"remote-rendering/{manifest.service.id if manifest.service else ''}", "m"
        )
        await leaks.check(pipeline)


class Breaking(Wire):
    """A connection whose failures quote the whole address, as httpx's do."""

    async def answer(self, request: httpx.Request) -> httpx.Response | None:
        if "/conversions" in request.url.path:
            raise httpx.ConnectError(f"{request.url} {request.headers} {request.content!r}", request=request)
        return None


async def test_a_network_whose_exceptions_quote_everything(azurite: Azurite, leaks: Leaks) -> None:
    async with bundle(azurite, leaks, Breaking, deadline_seconds=60) as pipeline:
        await pipeline.drop("cube.stl", CUBE)
        await pipeline.settle(rounds=20, seconds=20)
        assert (await pipeline.manifest("cube.stl")).status is Status.TIMEOUT
        await leaks.check(pipeline)


async def test_storage_that_refuses_the_services_sas(
    azurite: Azurite, leaks: Leaks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bundle(azurite, leaks) as pipeline:
        pipeline.app.storage.account_key = base64.b64encode(b"another account's key").decode()
        await pipeline.drop("cube.stl", CUBE)
        await pipeline.settle()
        assert [error.code for error in (await pipeline.manifest("cube.stl")).errors] == ["storage-denied"]
        await leaks.check(pipeline)


async def test_storage_that_breaks_off_with_the_address_in_its_exception(
    azurite: Azurite, leaks: Leaks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bundle(azurite, leaks) as pipeline:
        await pipeline.drop("cube.stl", CUBE)
        (request,) = await pipeline.requests()
        send = AioHttpTransport.send

        async def broken(self: AioHttpTransport, request: Any, **options: Any) -> Any:
            if "sig=" in request.url:
                raise ServiceRequestError(f"cannot connect to {request.url}")
            return await send(self, request, **options)

        async def at_once(_: float) -> None:
            """No back-off between the storage client's tries."""

        with monkeypatch.context() as patch:
            patch.setattr(AioHttpTransport, "send", broken)
            patch.setattr(AsyncHttpTransport, "sleep", lambda self, duration: at_once(duration))
            for _ in range(2):
                with leaks.failing(Exception):
                    await pipeline.app.worker.run(request, "message")
            await pipeline.app.worker.run(request, "message")
        await pipeline.settle()
        assert (await pipeline.manifest("cube.stl")).status is Status.FAILED
        await leaks.check(pipeline)


class Buggy:
    """An engine whose bug quotes a secret."""

    def __init__(self, leaks: Leaks) -> None:
        self._leaks = leaks

    async def convert(self, job: Job) -> Result:
        raise RuntimeError(" ".join(self._leaks.secrets))


async def test_bugs_that_quote_secrets(azurite: Azurite, leaks: Leaks) -> None:
    async with bundle(azurite, leaks, converter=Buggy(leaks)) as pipeline:
        await pipeline.convert("cube.stl", CUBE)
        assert [error.code for error in (await pipeline.manifest("cube.stl")).errors] == ["internal-error"]
        await leaks.check(pipeline)


async def test_a_callback_that_fails_tells_its_route_and_not_its_code(
    azurite: Azurite, leaks: Leaks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with bundle(azurite, leaks, converter=Copier()) as pipeline, pipeline.http() as client:
        await pipeline.drop("cube.stl", CUBE)
        record = await pipeline.record("cube.stl")
        assert record is not None
        url = pipeline.app.callbacks.url(record)
        assert url is not None
        with monkeypatch.context() as patch:
            patch.setattr("shared.storage.Storage.enqueue", None)
            reply = await client.post(url[url.index("/callbacks/") :])
        assert reply.status_code == 500
        assert "/callbacks/{record}/{conversion_id}/{mac}" in caplog.text
        await pipeline.settle()
        await leaks.check(pipeline)


async def test_the_platforms_own_log_of_replies_is_off(azurite: Azurite, leaks: Leaks) -> None:
    async with bundle(azurite, leaks) as pipeline:
        asked = func.HttpRequest(
            method="GET",
            url=f"http://bundle.test/Accounts/{ACCOUNT_ID}/token",
            headers={"Authorization": f"Bearer {ACCOUNT_ID}:{ACCOUNT_KEY}"},
            body=b"",
        )
        reply = await func.AsgiMiddleware(pipeline.app.asgi).handle_async(asked)
        leaks.secrets.add(json.loads(reply.get_body())["AccessToken"])
        await leaks.check(pipeline)


async def test_a_request_record_that_cannot_be_read(azurite: Azurite, leaks: Leaks) -> None:
    async with bundle(azurite, leaks) as pipeline:
        await pipeline.drop("cube.stl", CUBE)
        (request,) = await pipeline.requests()
        container, name = pipeline.app.settings.embedded_container, f"{request}.json"
        blob = await pipeline.app.storage.read(container, name)
        assert blob is not None
        record = json.loads(blob.data)
        location = record["request"]["source"]
        signature = location["sas"].partition("sig=")[2]
        # So that an error about the missing name would end with the signature.
        record["request"]["source"] = {"account": location["account"], "sas": signature}
        await pipeline.app.storage.put(container, name, json.dumps(record).encode())
        with leaks.failing(ValueError):
            await pipeline.app.worker.run(request, "message")
        await pipeline.app.storage.delete(container, name)
        leaks.secrets.add(signature[-12:])
        await leaks.check(pipeline)


@pytest.mark.parametrize("data", [b"", b"solid but not really", bytes(1000)])
async def test_models_that_cannot_be_read(
    azurite: Azurite, leaks: Leaks, converter: Converter, data: bytes
) -> None:
    async with bundle(azurite, leaks, converter=converter, grace_seconds=0) as pipeline:
        leaks.secrets.add("another, for a model that never gets to the service")
        await pipeline.convert("cube.stl", data)
        assert (await pipeline.manifest("cube.stl")).status is Status.FAILED
        await leaks.check(pipeline)


async def test_requests_of_others_with_bad_secrets_of_their_own(
    azurite: Azurite, leaks: Leaks, converter: Converter
) -> None:
    """What strangers send is not repeated either: full URIs, dead SAS, callbacks with codes, bad tokens."""
    async with bundle(azurite, leaks, converter=converter) as pipeline, pipeline.http() as client:
        names = pipeline.app.settings
        now = pipeline.app.storage.now()
        sas = generate_container_sas(
            ACCOUNT, names.models_container, account_key=KEY, permission="rl", expiry=now
        )
        leaks.keep(sas)
        code = "a-code-in-the-callbacks-query"
        leaks.secrets |= {code, "a-bad-bearer-token", "e30.e30.not-ours"}
        reply = await client.get(
            f"/Accounts/{ACCOUNT_ID}/token", headers={"Authorization": f"Bearer {ACCOUNT_ID}:{ACCOUNT_KEY}"}
        )
        token = reply.json()["AccessToken"]
        leaks.secrets.add(token)
        answers = []
        for bearer in ("a-bad-bearer-token", f"{ACCOUNT_ID}:a-bad-bearer-token", "e30.e30.not-ours"):
            wrong = {"Authorization": f"Bearer {bearer}"}
            for path in (
                "/conversions",
                f"/Accounts/{ACCOUNT_ID}/token",
                f"/v1/accounts/{ACCOUNT_ID}/conversions/1",
            ):
                answers.append(await client.get(path, headers=wrong))
                assert answers[-1].status_code in (401, 403)
        answers.append(await client.post("/callbacks/record/id/a-bad-bearer-token"))
        client.headers["Authorization"] = f"Bearer {token}"
        url = f"/v1/accounts/{ACCOUNT_ID}/conversions/createWithSharedAccessSignature"
        uri = f"{azurite.blob_url}/{ACCOUNT}/{names.models_container}?{sas}"
        for input_sas, callback in (
            (uri, None),
            (f"{sas}&{sas}", None),
            (sas, f"http://10.0.0.1/?code={code}"),
            (sas, f"https://callback.invalid/?code={code}"),
            (sas, None),
        ):
            body: dict[str, Any] = {
                "input": {
                    "storageAccountname": ACCOUNT,
                    "blobContainerName": names.models_container,
                    "folderPath": "",
                    "inputAssetPath": "cube.stl",
                    "containerReadListSas": input_sas,
                },
                "output": {
                    "storageAccountname": ACCOUNT,
                    "blobContainerName": names.converted_container,
                    "folderPath": "out",
                    "containerWriteSas": sas,
                },
            }
            body |= {"callback": callback} if callback else {}
            answers.append(await client.post(url, json=body))
        await pipeline.work()
        leaks.told += [f"{answer.text} {answer.headers}" for answer in answers]
        assert {answer.status_code for answer in answers} >= {200, 400, 401, 404}
        assert not await pipeline.requests()
        await leaks.check(pipeline)


async def test_a_wrong_key_of_the_app_itself(azurite: Azurite, leaks: Leaks) -> None:
    wrong = base64.b64encode(b"the key of another account").decode()
    leaks.secrets.add(wrong)
    async with bundle(azurite, leaks) as pipeline:
        settings = pipeline.app.settings.model_copy(
            update={"model_storage": azurite.connection_string.replace(KEY, wrong)}
        )
        leaks.told += [repr(settings), str(settings)]
        app = App(settings)
        with leaks.failing(Exception):
            await app.lifecycle.consider("cube.stl")
        with leaks.failing(Exception):
            await app.tick.run()
        with leaks.failing(Exception):
            await app.sweep.run()
        await app.close()
        await leaks.check(pipeline)


async def test_with_an_identity_its_tokens_are_as_secret(
    leaks: Leaks, converter: Converter, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    identity = Identity()
    with await asyncio.to_thread(Azurite.start, certificate) as secure:
        async with bundle(
            secure,
            leaks,
            converter=converter,
            client_options={"credential": identity, "connection_verify": str(certificate.certificate)},
            model_storage=None,
            MODEL_STORAGE__blobServiceUri=f"{secure.blob_url}/{ACCOUNT}",
            MODEL_STORAGE__queueServiceUri=f"{secure.queue_url}/{ACCOUNT}",
        ) as pipeline:
            await pipeline.convert("cube.stl", CUBE)
            await pipeline.convert("broken.glb", b"glTF")
            assert identity.tokens
            leaks.secrets |= {*identity.tokens}
            await leaks.check(pipeline)
