"""No SAS, key, password or callback address of a job is left anywhere, whether it succeeds or fails."""

import json
import logging
from urllib.parse import unquote

import pytest

from local.azurite import KEY as STORAGE_KEY
from shared.telemetry import configure
from tests.embedded.api.jobs import Service, target
from tests.embedded.bundle import ACCOUNT_KEY
from tests.embedded.models import encrypted, obj

CALLBACK = "http://127.0.0.1:9/callbacks/a-secret-of-the-caller"


async def test_nothing_secret_is_logged_answered_or_left_in_storage(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.embedded.api.api2convert.notices._WAITS", (0.0,))
    monkeypatch.setattr("shared.embedded.api.api2convert.inputs._WAITS", (0.0,))
    configure()
    caplog.set_level(logging.DEBUG)
    secrets = [STORAGE_KEY, ACCOUNT_KEY, "open sesame", "a cloud secret"]
    good = await service.remote("good.zip", encrypted("good.obj", obj(), b"open sesame"))
    good["credentials"] = {"decrypt_password": "open sesame"}
    bad = await service.remote("bad.glb", b"not a glb")
    missing = await service.remote("missing.obj", obj())
    await service.bundle.storage.delete(service.bundle.models, "missing.obj")
    unreachable = {"type": "remote", "source": "https://nowhere.invalid/a.stl?sig=a-long-secret-signature"}
    cloud = {"type": "cloud", "source": "azure", "credentials": {"accountkey": "a cloud secret"}}
    answers = []
    queued = []
    states = []
    for given in (good, bad, missing, unreachable, cloud):
        if query := str(given["source"]).partition("?")[2]:
            secrets += [query, query.partition("sig=")[2]]
        job = await service.created(input=[given], conversion=[target("glb")], notify_status=True)
        answers.append(json.dumps(job | {"token": ""}))
        queued += await service.bundle.messages()
        await service.work()
        done = await service.job(job)
        states.append(done["status"]["code"])
        answers.append(json.dumps(done | {"token": ""}))
    assert states == ["completed", "failed", "failed", "failed", "failed"]
    called = await service.convert(input=[cloud], conversion=[target("glb")], callback=CALLBACK)
    assert called["status"]["code"] == "failed"

    stored = []
    container = service.bundle.settings.embedded_container
    async for head in service.bundle.storage.list(container, metadata=True):
        blob = await service.bundle.storage.read(container, head.name)
        assert blob is not None
        stored.append(f"{head.name} {head.metadata} {blob.data.decode('latin-1')}")
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "request.ended" in logged
    assert "request.callback-failed" in logged
    assert "a-secret-of-the-caller" not in logged
    told = "\n".join([*answers, *stored, *queued, logged])
    told += unquote(told)
    for secret in secrets:
        assert secret not in told
        assert unquote(secret) not in told
