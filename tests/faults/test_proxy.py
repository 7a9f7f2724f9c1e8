"""The fault proxy does what its plan says, and counts; nothing else changes."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from local.azurite import Azurite
from shared.conversion import Status
from tests.copier import Copier
from tests.faults.proxy import Call, Chances, Fault, Proxy, before, seeded
from tests.pipeline import start

SAID = "what the service says, " * 20


@pytest.fixture
async def heard() -> AsyncIterator[tuple[str, list[str]]]:
    """A service's address, and what it has heard."""
    calls: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        calls.append(f"{request.method} {request.path} {await request.text()}")
        return web.Response(text=SAID)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", calls
    await runner.cleanup()


async def test_a_call_goes_through_whole_and_is_counted(heard: tuple[str, list[str]]) -> None:
    url, calls = heard
    async with Proxy(url, "service") as proxy, httpx.AsyncClient(base_url=proxy.url) as client:
        for _ in range(2):
            assert (await client.post("/jobs/0123456789abcdef0", json={"a": 1})).text == SAID
        assert (await client.post("/jobs", content=bytes(200_000).replace(b"\0", b"x"))).text == SAID
        assert (await client.post("/jobs", content=_pieces())).text == SAID
    assert calls[0] == 'POST /jobs/0123456789abcdef0 {"a":1}'
    assert [len(call) for call in calls[2:]] == [200_011, 41]
    assert proxy.counts == {("POST /jobs/*", "service"): 2, ("POST /jobs", "service"): 2}


async def _pieces() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield b"ten bytes."


async def test_a_refused_call_never_reaches_the_service(heard: tuple[str, list[str]]) -> None:
    url, calls = heard
    plan = iter((Fault(status=429, retry_after=7), Fault(status=503), None))
    async with (
        Proxy(url, "service", lambda _: next(plan)) as proxy,
        httpx.AsyncClient(base_url=proxy.url) as client,
    ):
        answers = [await client.put("/jobs", content=b"12345") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 503, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert calls == ["PUT /jobs 12345"]
    assert proxy.faults == {"429": 1, "503": 1}


@pytest.mark.parametrize("fault", [Fault(lost=True), Fault(half=True)])
async def test_of_a_lost_reply_the_service_has_done_what_it_was_asked(
    heard: tuple[str, list[str]], fault: Fault
) -> None:
    url, calls = heard
    async with (
        Proxy(url, "service", lambda _: fault) as proxy,
        httpx.AsyncClient(base_url=proxy.url) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/jobs", content=b"once")
    assert calls == ["POST /jobs once"]


async def test_lots_are_drawn_by_the_seed_and_in_the_stated_shares() -> None:
    call = Call("blob", "PUT", "/account/container/name", {}, {"if-match": '"1"'})

    def drawn(seed: int) -> list[Fault | None]:
        chances = Chances(seed, busy=0.1, broken=0.1, lost=0.05, half=0.02, refused=0.1, latency=0.01)
        return [chances(call) for _ in range(5000)]

    assert drawn(1) == drawn(1) != drawn(2)
    faults = [fault for fault in drawn(1) if fault]
    for share, found in (
        (0.1, [each for each in faults if each.status == 429]),
        (0.1, [each for each in faults if each.status in (500, 503)]),
        (0.05, [each for each in faults if each.lost]),
        (0.02, [each for each in faults if each.half]),
        (0.1, [each for each in faults if each.status in (409, 412)]),
    ):
        assert 0.7 * share < len(found) / 5000 < 1.3 * share
    plain = Call("blob", "PUT", "/account/container/name", {}, {})
    assert Chances(1, refused=1.0)(plain) is None


async def test_a_failure_tells_its_seed() -> None:
    with pytest.raises(AssertionError) as failure, seeded(42) as random:
        assert random.random() > 1
    assert failure.value.__notes__ == ["seed 42"]


async def test_a_conversion_by_way_of_the_proxy_is_counted_by_kind_and_container(azurite: Azurite) -> None:
    async with before(azurite) as storage:
        async with start(storage.azurite, converter=Copier()) as pipeline:
            names = pipeline.app.settings
            await pipeline.convert("cube.stl", b"solid cube\nendsolid cube\n")
            assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS
        assert storage.blob.count("List Blobs", names.in_flight_container) > 0
        assert storage.blob.count("Lease Blob", names.in_flight_container) > 1
        assert storage.blob.count("Delete Blob", names.in_flight_container) == 1
        assert storage.queue.count("Put Message", names.embedded_queue) == 1
        # The service's own way to storage, with the SAS that it got.
        assert storage.blob.count("Put Blob", names.converted_container) > 2


async def test_a_broken_storage_is_asked_again(azurite: Azurite) -> None:
    async with before(azurite) as storage:
        async with start(storage.azurite) as pipeline:
            storage.follow(Chances(7, broken=0.2, lost=0.1, half=0.1, latency=0.002))
            for number in range(20):
                await pipeline.upload(f"{number}.txt", b"text")
            heads = await asyncio.gather(*(pipeline.app.tools.head(f"{number}.txt") for number in range(20)))
            assert all(heads)
        assert storage.blob.faults["lost"] > 0
