"""Webhooks: made and listed, and deliveries that are signed, repeated and told once."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from shared.embedded.api.model_derivative import hooks as module
from tests.embedded.api.derivative import Calls
from tests.embedded.models import obj

STL = {"type": "stl"}
MISC = {"workflow": "wf-1"}
NOWHERE = "http://127.0.0.1:1/hook"


def path(event: str = "extraction.finished") -> str:
    return f"/webhooks/v1/systems/derivative/events/{event}/hooks"


class Receiver:
    """Answers deliveries with the next of some statuses, and keeps what it heard."""

    def __init__(self) -> None:
        self.address = ""
        self.statuses: list[int] = []
        self.heard: list[tuple[dict[str, str], bytes]] = []

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.heard]

    async def answer(self, request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append((headers, await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.address = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with listening() as running:
        yield running


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queue messages that come at once."""
    monkeypatch.setattr(module, "_WAITS", (timedelta(0),) * len(module._WAITS))
    monkeypatch.setattr(module, "_SPARE", timedelta(0))


async def hook(calls: Calls, address: str, event: str = "extraction.finished", **more: Any) -> str:
    """A new hook; its id."""
    body = {"callbackUrl": address, "scope": {"workflow": "wf-1"}, **more}
    made = await calls.http.post(path(event), json=body)
    assert made.status_code == 201, made.text
    return made.headers["location"].rpartition("/")[2]


async def job(calls: Calls, key: str = "box.obj", **more: Any) -> str:
    """A job with a workflow, not worked off yet."""
    encoded = await calls.upload(key, more.pop("data", obj()))
    started = await calls.job(encoded, STL, misc=more.pop("misc", MISC), **more)
    assert started.status_code == 200, started.text
    return encoded


async def test_a_hook_is_made_read_listed_and_deleted(calls: Calls) -> None:
    made = await calls.http.post(
        path(),
        json={
            "callbackUrl": NOWHERE,
            "scope": {"workflow": "wf-1"},
            "hookAttribute": {"mine": 1},
            "hookExpiry": "2099-01-31T00:00:00Z",
            "token": "a secret",
        },
    )
    assert made.status_code == 201
    one = made.headers["location"].removeprefix("http://service.test")
    told = (await calls.http.get(one)).json()
    assert told["hookId"] == one.rpartition("/")[2]
    assert (told["callbackUrl"], told["status"], told["system"]) == (NOWHERE, "active", "derivative")
    assert (told["hookAttribute"], told["hookExpiry"]) == ({"mine": 1}, "2099-01-31T00:00:00Z")
    assert "secret" not in json.dumps(told)
    for listing in (path(), "/webhooks/v1/systems/derivative/hooks", "/webhooks/v1/hooks"):
        assert (await calls.http.get(listing)).json() == {"links": {"next": None}, "data": [told]}
    assert (await calls.http.get(path("extraction.updated"))).json()["data"] == []
    assert (await calls.http.delete(one)).status_code == 204
    assert (await calls.http.delete(one)).status_code == 404
    assert (await calls.http.get(path())).json()["data"] == []


async def test_the_same_hook_again_is_409(calls: Calls) -> None:
    await hook(calls, NOWHERE)
    body = {"callbackUrl": NOWHERE, "scope": {"workflow": "wf-1"}}
    assert (await calls.http.post(path(), json=body)).status_code == 409
    assert (await calls.http.post(path("extraction.updated"), json=body)).status_code == 201
    other = {"callbackUrl": NOWHERE, "scope": {"workflow": "wf-2"}}
    assert (await calls.http.post(path(), json=other)).status_code == 201
    assert (await calls.http.post(path(), json=body, params={"region": "EMEA"})).status_code == 201


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"callbackUrl": None}, "callbackUrl"),
        ({"callbackUrl": "http://example.com/x"}, "https"),
        ({"callbackUrl": "https://10.0.0.1/x"}, "public"),
        ({"callbackUrl": "https://169.254.169.254/latest"}, "public"),
        ({"scope": None}, "scope.workflow"),
        ({"scope": {"folder": "x"}}, "scope.workflow"),
        ({"scope": {"workflow": "a b"}}, "scope.workflow"),
        ({"hookAttribute": 7}, "hookAttribute"),
        ({"hookExpiry": "soon"}, "hookExpiry"),
        ({"autoReactivateHook": "yes"}, "autoReactivateHook"),
        ({"filter": "$[?(@.Payload.status in ['failed'])]"}, "'filter' is not supported"),
        ({"token": ""}, "token"),
    ],
)
async def test_a_hook_that_cannot_be_is_400(calls: Calls, changes: dict[str, Any], said: str) -> None:
    body = {"callbackUrl": NOWHERE, "scope": {"workflow": "wf-1"}, **changes}
    refused = await calls.http.post(path(), json=body)
    assert refused.status_code == 400
    assert said in refused.json()["diagnostic"]


@pytest.mark.parametrize(
    "other",
    [
        "/webhooks/v1/systems/data/events/dm.version.added/hooks",
        "/webhooks/v1/systems/derivative/events/extraction.begun/hooks",
        path() + "/nobody",
        path() + "/..%2F..%2Ftoken",
    ],
)
async def test_other_systems_events_and_hooks_are_404(calls: Calls, other: str) -> None:
    assert (await calls.http.get(other)).status_code == 404


async def test_both_events_are_told_once_each(calls: Calls, receiver: Receiver) -> None:
    await hook(calls, receiver.address)
    await hook(calls, receiver.address, "extraction.updated")
    encoded = await job(calls)
    ((key, message),) = await calls.bundle.take()
    worker = calls.bundle.worker(calls.converter)
    for _ in range(2):
        # The second time is the same message again, as queues deliver it.
        await worker.run(key, message)
    told = [(body["hook"]["event"], body["payload"]["Payload"]["status"]) for body in receiver.bodies]
    assert told == [("extraction.updated", "inprogress"), ("extraction.finished", "success")]
    assert {body["resourceUrn"] for body in receiver.bodies} == {encoded}
    await calls.work()
    assert len(receiver.heard) == 2


async def test_a_failed_job_is_told_as_failed(calls: Calls, receiver: Receiver) -> None:
    await hook(calls, receiver.address)
    await job(calls, data=b"nothing")
    await calls.work()
    (body,) = receiver.bodies
    assert body["payload"]["Payload"]["status"] == "failed"


async def test_only_hooks_of_the_workflow_and_the_region_are_told(calls: Calls, receiver: Receiver) -> None:
    await hook(calls, receiver.address, scope={"workflow": "wf-2"})
    elsewhere = {"callbackUrl": receiver.address, "scope": {"workflow": "wf-1"}}
    assert (
        await calls.http.post(path(), json=elsewhere, headers={"x-ads-region": "EMEA"})
    ).status_code == 201
    expired = await calls.http.post(path(), json={**elsewhere, "hookExpiry": "2020-01-01T00:00:00Z"})
    assert expired.status_code == 201
    await job(calls)
    await calls.work()
    await job(calls, "other.obj", misc={})
    await calls.work()
    assert receiver.heard == []
    await job(calls, "third.obj", headers={"region": "EMEA"})
    await calls.work()
    assert len(receiver.heard) == 1


async def test_a_job_of_several_requests_is_told_when_all_have_ended(
    calls: Calls, receiver: Receiver
) -> None:
    await hook(calls, receiver.address)
    encoded = await calls.upload("box.obj", obj())
    ascii_ = {"type": "stl", "advanced": {"format": "ascii"}}
    assert (await calls.job(encoded, STL, ascii_, misc=MISC)).status_code == 200
    worker = calls.bundle.worker(calls.converter)
    first, second = await calls.bundle.take()
    await worker.run(*first)
    assert receiver.heard == []
    await worker.run(*second)
    assert len(receiver.heard) == 1


async def test_an_end_that_was_not_told_is_told_by_the_next_delivery_of_the_message(
    calls: Calls, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hook(calls, receiver.address)
    await job(calls)
    ((key, message),) = await calls.bundle.take()
    worker = calls.bundle.worker(calls.converter)

    async def killed(self: module.Hooks, identity: str, delivery: module.Delivery) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Hooks, "_send", killed)
        with pytest.raises(KeyboardInterrupt):
            await worker.run(key, message)
    assert receiver.heard == []
    await worker.run(key, message)
    assert len(receiver.heard) == 1


@pytest.mark.usefixtures("no_waits")
async def test_a_delivery_is_tried_until_it_arrives(calls: Calls, receiver: Receiver) -> None:
    await hook(calls, receiver.address, hookAttribute={"mine": 1})
    receiver.statuses = [500, 404, 302, 200]
    await job(calls)
    await calls.work()
    assert len(receiver.heard) == 4
    assert len({headers["x-adsk-delivery-id"] for headers, _ in receiver.heard}) == 1
    assert len({body for _, body in receiver.heard}) == 1
    assert receiver.bodies[0]["hook"]["hookAttribute"] == {"mine": 1}


@pytest.mark.usefixtures("no_waits")
async def test_a_hook_that_is_not_reached_for_long_is_switched_off_and_on_again(
    calls: Calls, receiver: Receiver
) -> None:
    one = f"{path()}/{await hook(calls, receiver.address)}"
    tries = len(module._WAITS) + 1
    receiver.statuses = [500] * tries * module._MOST_UNDELIVERED
    for number in range(module._MOST_UNDELIVERED):
        assert (await calls.http.get(one)).json()["status"] == "active"
        await job(calls, f"{number}.obj")
        await calls.work()
    assert len(receiver.heard) == tries * module._MOST_UNDELIVERED
    assert (await calls.http.get(one)).json()["status"] == "inactive"
    await job(calls, "silent.obj")
    await calls.work()
    assert receiver.statuses == []
    assert len(receiver.heard) == tries * module._MOST_UNDELIVERED
    assert (await calls.http.patch(one, json={"status": "on"})).status_code == 400
    assert (await calls.http.patch(one, json={"status": "active"})).status_code == 200
    await job(calls, "heard.obj")
    await calls.work()
    assert receiver.bodies[-1]["payload"]["Payload"]["status"] == "success"


async def test_the_tries_after_the_first_wait_in_the_queue(calls: Calls, receiver: Receiver) -> None:
    await hook(calls, receiver.address)
    receiver.statuses = [500]
    await job(calls)
    await calls.work()
    assert len(receiver.heard) == 1
    assert await calls.bundle.messages() == []
    assert [wait.total_seconds() for wait in module._WAITS][:2] == [60, 300]
    assert sum(wait.total_seconds() for wait in module._WAITS) >= 40 * 3600


async def test_a_hook_that_is_deleted_meanwhile_is_not_called(calls: Calls, receiver: Receiver) -> None:
    one = f"{path()}/{await hook(calls, receiver.address)}"
    await job(calls)
    assert (await calls.http.delete(one)).status_code == 204
    await calls.work()
    assert receiver.heard == []


async def test_deliveries_are_signed_with_the_hooks_token_or_the_common_one(
    calls: Calls, receiver: Receiver
) -> None:
    await hook(calls, receiver.address)
    tokens = "/webhooks/v1/tokens"
    assert (await calls.http.put(f"{tokens}/@me", json={"token": "x"})).status_code == 404
    await job(calls, "0.obj")
    await calls.work()
    assert (await calls.http.post(tokens, json={"token": "common"})).status_code == 200
    assert (await calls.http.post(tokens, json={"token": "again"})).status_code == 400
    await job(calls, "1.obj")
    await calls.work()
    assert (await calls.http.put(f"{tokens}/@me", json={"token": "newer"})).status_code == 204
    await job(calls, "2.obj")
    await calls.work()
    await hook(calls, receiver.address + "2", token="its own")
    await job(calls, "3.obj")
    await calls.work()
    assert (await calls.http.delete(f"{tokens}/@me")).status_code == 204
    secrets = [None, "common", "newer", *sorted(("newer", "its own"))]
    assert [headers.get("x-adsk-signature") for headers, _ in receiver.heard[:3]] == [
        signed(secret, body) for secret, (_, body) in zip(secrets, receiver.heard, strict=False)
    ][:3]
    last = receiver.heard[3:]
    assert {headers["x-adsk-signature"] for headers, _ in last} <= {
        signed(secret, body) for secret in ("newer", "its own") for _, body in last
    }
    assert len({headers["x-adsk-signature"] for headers, _ in last}) == 2


def signed(secret: str | None, body: bytes) -> str | None:
    if secret is None:
        return None
    return f"sha1hash={hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()}"


async def test_a_hook_may_want_the_payload_alone(calls: Calls, receiver: Receiver) -> None:
    await hook(calls, receiver.address, callbackWithEventPayloadOnly=True)
    encoded = await job(calls)
    await calls.work()
    (body,) = receiver.bodies
    assert set(body) == {"TimeStamp", "URN", "EventType", "Payload"}
    assert body["URN"] == encoded
