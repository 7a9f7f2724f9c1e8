"""The API and the worker killed before and after every storage request: nothing is lost, or done twice."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from shared.embedded.requests import State
from tests.embedded.api.jobs import Service, target
from tests.embedded.api.test_api2convert_runs import answering
from tests.embedded.models import obj
from tests.embedded.test_worker import Killed, kill_at

STATUSES = ["pending", "downloading", "queued", "processing", "completed"]


async def test_a_worker_killed_anywhere_is_followed_by_one_that_ends_the_job(service: Service) -> None:
    told: list[tuple[str, str]] = []

    async def listen(request: web.BaseRequest) -> web.Response:
        document = json.loads(await request.read())
        told.append((document["id"], document["status"]["code"]))
        return web.Response()

    async with answering(listen) as url:
        callback = {"callback": f"{url}/hook", "notify_status": True}
        for executed in (False, True):
            points = 0
            for at in range(1, 100):
                points += 1
                job = await service.created(**await wanted(service), **callback)
                ((key, message),) = await service.bundle.take()
                survived = await survives(at, executed, service.worker.run, key, message)
                await service.worker.run(key, message)
                done = await service.job(job)
                assert done["status"]["code"] == "completed", (executed, at)
                (output,) = done["output"]
                assert len((await service.download(output["uri"])).content) == output["size"]
                assert len([name for name in await service.files(job) if "/out/" in name]) == 1
                record = await service.record(job)
                assert (record.run, "sig=" in record.model_dump_json()) == (None, False)
                assert (await service.bundle.record(key)).state is State.SUCCEEDED
                heard = [status for one, status in told if one == job["id"]]
                assert list(dict.fromkeys(heard)) == STATUSES, "each in its turn; again, where a run died"
                assert heard == STATUSES or not survived
                if survived:
                    break
            assert points > 7


async def test_a_start_killed_anywhere_and_repeated_is_one_run(service: Service) -> None:
    for executed in (False, True):
        points = 0
        for at in range(1, 100):
            points += 1
            job = await service.created(process=False, **await wanted(service))
            start = ("PATCH", f"/jobs/{job['id']}", {"process": True})
            survived = await survives(at, executed, service.call, *start)
            # As a client does that lost the reply: a conflict says that the second request has started it.
            started = at > 2 or (executed and at == 2)
            assert (await service.call(*start)).status_code == (409 if started else 200)
            with pytest.MonkeyPatch.context() as patch:
                # Asked when a minute has passed, which brings back a message that was lost.
                patch.setattr("shared.embedded.requests._STALE", timedelta(0))
                await service.job(job)
            for key, message in await service.bundle.take():
                assert key == f"api2convert/{job['id']}"
                await service.worker.run(key, message)
            assert (await service.job(job))["status"]["code"] == "completed", (executed, at)
            assert (await service.bundle.record(f"api2convert/{job['id']}")).tries == 1
            if survived:
                break
        assert points == 5


async def test_a_deletion_killed_anywhere_and_repeated_leaves_nothing(service: Service) -> None:
    for executed in (False, True):
        points = 0
        for at in range(1, 100):
            points += 1
            done = await service.convert(**await wanted(service))
            delete = ("DELETE", f"/jobs/{done['id']}")
            survived = await survives(at, executed, service.call, *delete)
            assert (await service.call(*delete)).status_code in (204, 404)
            assert await service.files(done) == [], (executed, at)
            if survived:
                break
        assert points == 5


async def wanted(service: Service) -> dict[str, Any]:
    return {"input": [await service.remote("box.obj", obj())], "conversion": [target("glb")]}


async def survives(at: int, executed: bool, work: Callable[..., Awaitable[Any]], *arguments: Any) -> bool:
    """Whether the work ends before its storage request number ``at``."""
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, at, executed=executed)
        try:
            await work(*arguments)
        except Killed:
            return False
    return True
