"""No SAS, key, token or callback address is left anywhere, whether a conversion succeeds or fails."""

import json
import logging
from urllib.parse import unquote

import pytest

from local.azurite import KEY
from shared.embedded.converter import Converter
from shared.telemetry import configure
from tests.embedded.bundle import ACCOUNT_ID, ACCOUNT_KEY, Bundle
from tests.embedded.models import obj

V1 = f"/v1/accounts/{ACCOUNT_ID}/conversions"
CALLBACK = "http://127.0.0.1:9/callbacks/a-secret-of-the-caller"


async def test_nothing_secret_is_logged_answered_or_left_in_storage(
    bundle: Bundle, converter: Converter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.embedded.worker._CALLBACK_WAITS", (0.01,))
    configure()
    caplog.set_level(logging.DEBUG)
    token = bundle.token()
    secrets = [KEY, ACCOUNT_KEY, token, CALLBACK]
    answers = []
    await bundle.upload("good.obj", obj())
    await bundle.upload("bad.glb", b"not a glb")
    async with bundle.client(f"{ACCOUNT_ID}:{ACCOUNT_KEY}") as client:
        given = (await client.get(f"/Accounts/{ACCOUNT_ID}/token")).json()["AccessToken"]
        secrets.append(given)
    async with bundle.client(token) as client:
        for model, permissions in (
            ("good.obj", "rl"),
            ("bad.glb", "rl"),
            ("missing.obj", "rl"),
            ("good.obj", "w"),  # may not read
        ):
            body = bundle.v1_body(model, callback=CALLBACK)
            for side, name, rights, container in (
                ("input", "containerReadListSas", permissions, bundle.models),
                ("output", "containerWriteSas", "w", bundle.converted),
            ):
                sas = bundle.sas(container, rights)
                body[side][name] = sas
                secrets += [sas, sas.partition("sig=")[2]]
            started = await client.post(f"{V1}/createWithSharedAccessSignature", json=body)
            answers.append(started.text)
        wrong = bundle.v1_body("good.obj")
        wrong["input"]["containerReadListSas"] = f"https://a.example/c?{secrets[-2]}"
        answers.append((await client.post(f"{V1}/createWithSharedAccessSignature", json=wrong)).text)
        queued = await bundle.messages()
        worker = bundle.worker(converter)
        states = []
        for key, message in await bundle.take():
            await worker.run(key, message)
            answers.append((await client.get(f"{V1}/{key.partition('/')[2]}")).text)
            states.append(json.loads(answers[-1])["status"])
    assert sorted(states) == ["Failure", "Failure", "Failure", "Success"]

    stored = []
    for container in (bundle.settings.embedded_container, bundle.converted):
        async for head in bundle.storage.list(container, metadata=True):
            blob = await bundle.storage.read(container, head.name)
            assert blob is not None
            stored.append(f"{head.name} {head.metadata} {blob.data.decode('latin-1')}")
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "request.ended" in logged
    assert "request.callback-failed" in logged
    everything = "\n".join([*answers, *stored, *queued, logged])
    told = everything + unquote(everything)
    for secret in secrets:
        assert secret not in told
        assert unquote(secret) not in told
