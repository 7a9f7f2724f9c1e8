"""The API and the worker killed before and after every storage request: nothing is lost, or done twice."""

from datetime import timedelta

import httpx
import pytest

from tests.embedded.api.derivative import MD, Calls, only, quoted
from tests.embedded.api.test_model_derivative_webhooks import Receiver, hook, listening
from tests.embedded.models import obj
from tests.embedded.test_worker import Killed, kill_at

BUCKET = "/oss/v2/buckets/modelderivative/objects"
MISC = {"workflow": "wf-1"}


async def test_an_upload_killed_at_its_end_is_ended_by_a_repeat(calls: Calls) -> None:
    points = 0
    for executed in (False, True):
        for at in range(1, 100):
            points += 1
            path = f"{BUCKET}/{executed}-{at}.obj/signeds3upload"
            begun = (await calls.http.get(path)).json()
            async with httpx.AsyncClient() as storage:
                await storage.put(begun["urls"][0], content=obj())
            end = {"uploadKey": begun["uploadKey"], "size": len(obj())}
            survived = await survives(calls, path, end, at, executed)
            repeated = await calls.http.post(path, json=end)
            assert (repeated.status_code, repeated.json()["size"]) == (200, len(obj()))
            if survived:
                break
    assert points > 6
    container = calls.bundle.settings.embedded_container
    blobs = [head.size async for head in calls.bundle.storage.list(container, "oss/data/")]
    assert blobs == [len(obj())] * points


async def test_a_job_killed_anywhere_and_repeated_is_one_translation(calls: Calls) -> None:
    points = 0
    for executed in (False, True):
        for at in range(1, 100):
            points += 1
            encoded = await calls.upload(f"{executed}-{at}.obj", obj())
            body = {"input": {"urn": encoded}, "output": {"formats": [{"type": "stl"}]}}
            survived = await survives(calls, f"{MD}/job", body, at, executed)
            # As a client does that lost the reply: whichever it is, the translation exists.
            assert (await calls.job(encoded, {"type": "stl"})).status_code in (200, 201, 409)
            await calls.work()
            await asked_later(calls, encoded)
            manifest = await calls.manifest(encoded)
            assert manifest["status"] == "success", (executed, at)
            assert len(manifest["derivatives"]) == 1
            assert len(await calls.file(encoded, only(manifest, "stl")["children"][0]["urn"])) == 284
            if survived:
                break
    assert points > 8
    container = calls.bundle.settings.embedded_container
    records = [head.name async for head in calls.bundle.storage.list(container, "model-derivative/")]
    assert len(records) == points


async def test_a_manifest_whose_deletion_is_killed_anywhere_and_repeated_leaves_nothing(calls: Calls) -> None:
    points = 0
    for executed in (False, True):
        for at in range(1, 100):
            points += 1
            encoded = await calls.upload(f"{executed}-{at}.obj", obj())
            await calls.job(encoded, {"type": "stl"})
            await calls.work()
            file = only(await calls.manifest(encoded), "stl")["children"][0]["urn"]
            survived = await survives(calls, f"{MD}/{encoded}/manifest", None, at, executed, "DELETE")
            assert (await calls.http.delete(f"{MD}/{encoded}/manifest")).status_code == 200
            assert (await calls.http.head(f"{MD}/{encoded}/manifest/{quoted(file)}")).status_code == 404
            if survived:
                break
    assert points > 12
    container = calls.bundle.settings.embedded_container
    left = [head.name async for head in calls.bundle.storage.list(container)]
    assert {name.partition("/")[0] for name in left} == {"oss"}


async def test_a_worker_killed_anywhere_tells_the_webhook_in_the_end(calls: Calls) -> None:
    async with listening() as receiver:
        await hook(calls, receiver.address)
        points = 0
        for executed in (False, True):
            for at in range(1, 100):
                points += 1
                encoded = await calls.upload(f"{executed}-{at}.obj", obj())
                await calls.job(encoded, {"type": "stl"}, misc=MISC)
                survived = await run_killed(calls, at, executed)
                told = deliveries(receiver, encoded)
                assert told or not survived
                assert (await calls.manifest(encoded))["status"] == "success", (executed, at)
                assert len(set(told)) == 1, "an event met twice is one delivery"
                if survived:
                    break
        assert points > 25


async def asked_later(calls: Calls, encoded: str) -> None:
    """Asks when a minute has passed, which brings back a message that was lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.embedded.requests._STALE", timedelta(0))
        await calls.manifest(encoded)
    await calls.work()


async def run_killed(calls: Calls, at: int, executed: bool) -> bool:
    """Runs the message in a worker that is killed, and then again; whether the first survived."""
    ((key, message),) = await calls.bundle.take()
    worker = calls.bundle.worker(calls.converter)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, at, executed=executed)
        try:
            await worker.run(key, message)
            survived = True
        except Killed:
            survived = False
    await worker.run(key, message)
    # Deliveries that only their queue message knows of.
    await calls.work()
    return survived


def deliveries(receiver: Receiver, encoded: str) -> list[str]:
    return [
        headers["x-adsk-delivery-id"]
        for (headers, _), body in zip(receiver.heard, receiver.bodies, strict=True)
        if body["resourceUrn"] == encoded
    ]


async def survives(
    calls: Calls, path: str, body: object, at: int, executed: bool, method: str = "POST"
) -> bool:
    """Whether a call ends before the API's request number ``at``."""
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, at, executed=executed)
        try:
            await calls.http.request(method, path, json=body)
        except Killed:
            return False
    return True
