"""Changes of one job at once: each begins from what it has seen, and none undoes another."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.transport import AioHttpTransport

from shared.embedded.api.api2convert.store import Jobs, Seen
from tests.embedded.api.jobs import Service, target
from tests.embedded.models import obj


@contextmanager
def both_see() -> Iterator[None]:
    """The first two who read a job see the same of it: they go on only when both have."""
    see, both, seen = Jobs.see, asyncio.Barrier(2), list[Seen]()

    async def seen_by_two(self: Jobs, job_id: str) -> Any:
        found = await see(self, job_id)
        if found is not None and len(seen) < 2:
            seen.append(found)
            await both.wait()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Jobs, "see", seen_by_two)
        yield
    assert len({one.etag for one in seen}) == 1


async def test_two_conversions_added_at_once_are_both_kept(service: Service) -> None:
    job = await service.created(process=False)
    path = f"/jobs/{job['id']}/conversions"
    with both_see():
        replies = await asyncio.gather(*(service.call("POST", path, target(name)) for name in ("glb", "stl")))
    assert [reply.status_code for reply in replies] == [201, 201]
    assert {item["target"] for item in (await service.job(job))["conversion"]} == {"glb", "stl"}


async def test_a_job_that_is_started_twice_at_once_is_started_once(service: Service) -> None:
    job = await service.created(
        process=False, input=[await service.remote("box.obj", obj())], conversion=[target("glb")]
    )
    start = {"process": True}
    with both_see():
        replies = await asyncio.gather(
            *(service.call("PATCH", f"/jobs/{job['id']}", start) for _ in range(2))
        )
    assert sorted(reply.status_code for reply in replies) == [200, 409]
    assert len(await service.bundle.take()) == 1


async def test_downloads_at_once_are_both_counted(service: Service) -> None:
    done = await service.convert(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    uri = done["output"][0]["uri"]
    with both_see():
        replies = await asyncio.gather(*(service.client.get(uri) for _ in range(2)))
    assert [reply.status_code for reply in replies] == [302, 302]
    assert (await service.job(done))["output"][0]["downloads_counter"] == 2


async def test_a_change_of_a_job_that_is_deleted_meanwhile_finds_none(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await service.created(process=False, conversion=[target("glb")])
    see = Jobs.see

    async def deleted_then(self: Jobs, job_id: str) -> Any:
        found = await see(self, job_id)
        monkeypatch.setattr(Jobs, "see", see)
        assert (await service.call("DELETE", f"/jobs/{job_id}")).status_code == 204
        return found

    monkeypatch.setattr(Jobs, "see", deleted_then)
    reply = await service.call("POST", f"/jobs/{job['id']}/conversions", target("stl"))
    assert reply.status_code == 404
    assert await service.files(job) == []


async def test_a_change_whose_reply_was_lost_is_made_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await service.created(process=False)
    send: Callable[..., Any] = AioHttpTransport.send
    lost: list[str] = []

    async def losing(self: AioHttpTransport, request: Any, **options: Any) -> Any:
        reply = await send(self, request, **options)
        if request.method == "PUT" and not lost:
            lost.append(request.url)
            raise ServiceResponseError("the reply was lost")
        return reply

    monkeypatch.setattr(AioHttpTransport, "send", losing)
    reply = await service.call("POST", f"/jobs/{job['id']}/conversions", target("glb"))
    assert (reply.status_code, len(lost)) == (201, 1)
    assert (await service.job(job))["conversion"] == [reply.json()]


async def test_a_deletion_that_died_half_way_is_ended_by_the_next(service: Service) -> None:
    done = await service.convert(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    storage, container = service.bundle.storage, service.bundle.settings.embedded_container
    assert await storage.delete(container, f"api2convert-jobs/{done['id']}.json")
    assert len(await service.files(done)) == 2  # its request, and its output
    assert (await service.call("DELETE", f"/jobs/{done['id']}")).status_code == 404
    assert await service.files(done) == []


async def test_what_is_no_id_deletes_nothing(service: Service) -> None:
    storage, container = service.bundle.storage, service.bundle.settings.embedded_container
    await storage.put(container, "api2convert-jobs/x.json", b"{}")
    assert (await service.call("DELETE", "/jobs/x")).status_code == 404
    assert await storage.read(container, "api2convert-jobs/x.json") is not None
