"""The bundle's own HTTP: health, the list of conversions, callbacks."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.conversion import Status, Step
from tests.copier import Copier
from tests.pipeline import ACCOUNT_ID, ACCOUNT_KEY, Pipeline, start
from tests.shapes import sample

CUBE = sample("cube.stl")
KEY = {"Authorization": f"Bearer {ACCOUNT_ID}:{ACCOUNT_KEY}"}


@pytest.fixture
async def pipeline(azurite: Azurite) -> AsyncIterator[Pipeline]:
    async with start(azurite, converter=Copier()) as running:
        yield running


async def get(pipeline: Pipeline, headers: Any = KEY, **query: Any) -> httpx.Response:
    async with pipeline.http() as client:
        return await client.get("/conversions", params=query, headers=headers)


async def test_health_is_open_and_says_nothing_else(pipeline: Pipeline) -> None:
    async with pipeline.http() as client:
        reply = await client.get("/health")
    assert (reply.status_code, reply.json()) == (200, {"status": "healthy"})
    assert reply.headers["MS-CV"]


async def test_health_without_storage_is_an_error_without_details(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise OSError(f"cannot reach devstoreaccount1 with {ACCOUNT_KEY}")

    monkeypatch.setattr(pipeline.app.storage, "head", broken)
    async with pipeline.http() as client:
        reply = await client.get("/health")
    assert reply.status_code >= 500
    assert ACCOUNT_KEY not in reply.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer x"},
        {"Authorization": f"Basic {ACCOUNT_ID}:{ACCOUNT_KEY}"},
        {"Authorization": f"Bearer {ACCOUNT_ID}:wrong"},
        {"Authorization": f"Bearer 00000000-0000-0000-0000-000000000000:{ACCOUNT_KEY}"},
        {"Authorization": f"Bearer :{ACCOUNT_KEY}"},
    ],
)
async def test_the_list_is_for_those_with_the_key(pipeline: Pipeline, headers: dict[str, str]) -> None:
    await pipeline.drop("secret-name.stl", CUBE)
    reply = await get(pipeline, headers)
    assert reply.status_code == 401
    assert "secret-name" not in reply.text
    assert reply.json()["error"]["code"] == "Unauthorized"


async def test_an_access_token_opens_the_list_too(pipeline: Pipeline) -> None:
    async with pipeline.http() as client:
        token = (await client.get(f"/accounts/{ACCOUNT_ID}/token", headers=KEY)).json()["AccessToken"]
    assert (await get(pipeline, {"Authorization": f"bearer {token}"})).status_code == 200


async def test_the_list_tells_of_every_conversion_and_filters(pipeline: Pipeline) -> None:
    await pipeline.convert("a/done.stl", CUBE)
    await pipeline.convert("a/failed.rvt", b"x")
    await pipeline.drop("b/running.stl", CUBE)
    everything = (await get(pipeline)).json()
    assert everything["next"] is None
    assert {item["path"]: item["status"] for item in everything["conversions"]} == {
        "a/done.stl": "success",
        "a/failed.rvt": "failed",
        "b/running.stl": "pending",
    }

    async def paths(**query: str) -> list[str]:
        return [item["path"] for item in (await get(pipeline, **query)).json()["conversions"]]

    assert await paths(status="success") == ["a/done.stl"]
    assert await paths(status="failed") == ["a/failed.rvt"]
    assert await paths(status="pending") == ["b/running.stl"]
    assert await paths(status="timeout") == []
    assert await paths(prefix="a/") == ["a/done.stl", "a/failed.rvt"]
    assert await paths(prefix="a/", status="pending") == []
    [failed] = (await get(pipeline, status="failed")).json()["conversions"]
    assert failed["code"] == "unsupported-format"
    assert failed["manifest"] == "a/failed.rvt/manifest.json"


@pytest.mark.parametrize(
    "query",
    [
        {"status": "done"},
        {"limit": "0"},
        {"limit": "-1"},
        {"limit": "1001"},
        {"limit": "ten"},
        {"limit": "²"},
        {"limit": "1" * 5000},
        {"next": "!!!"},
        {"next": "_w=="},
    ],
)
async def test_a_query_that_makes_no_sense_is_a_400(pipeline: Pipeline, query: dict[str, str]) -> None:
    reply = await get(pipeline, **query)
    assert reply.status_code == 400
    [name] = query
    assert f"'{name}'" in reply.json()["error"]["message"]


async def call(pipeline: Pipeline, url: str, **more: Any) -> int:
    async with pipeline.http() as client:
        return (await client.post(url[url.index("/callbacks") :], **more)).status_code


async def address(pipeline: Pipeline, path: str) -> str:
    conversion = await pipeline.record(path)
    assert conversion
    url = pipeline.app.callbacks.url(conversion)
    assert url
    return url


async def test_a_callback_has_the_service_asked_and_changes_nothing_itself(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    before = await pipeline.record("cube.stl")
    assert before and before.due_at > pipeline.app.tools.now()
    url = await address(pipeline, "cube.stl")
    assert await call(pipeline, url, json={"status": "success", "anything": "ignored"}) == 204
    assert await pipeline.record("cube.stl") == before
    await pipeline.transfer()
    after = await pipeline.record("cube.stl")
    assert after and after.rev != before.rev
    assert (after.step, after.status) == (Step.POLL, Status.PENDING)


async def test_a_forged_callback_is_not_found_and_does_nothing(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    before = await pipeline.record("cube.stl")
    url = await address(pipeline, "cube.stl")
    root, record, conversion_id, mac = url.rsplit("/", 3)
    other = mac[:-1] + ("1" if mac.endswith("0") else "0")
    for forged in (
        f"{root}/{record}/{conversion_id}/{other}",
        f"{root}/{record}/{conversion_id}/é",
        f"{root}/{record}/{'0' * 32}/{mac}",
        f"{root}/{'0' * 32}/{conversion_id}/{mac}",
        f"{root}/tick.lock/{conversion_id}/{mac}",
        f"{root}/{record}/{conversion_id}/",
    ):
        assert await call(pipeline, forged) == 404, forged
    assert await pipeline.record("cube.stl") == before


async def test_a_replayed_callback_changes_nothing_any_more(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    url = await address(pipeline, "cube.stl")
    await pipeline.settle()
    first = await pipeline.manifest("cube.stl")
    assert await call(pipeline, url) == 204
    await pipeline.work()
    assert await pipeline.manifest("cube.stl") == first
    assert await pipeline.records() == []


async def test_a_callback_of_a_superseded_conversion_leaves_the_new_one_alone(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    url = await address(pipeline, "cube.stl")
    await pipeline.drop("cube.stl", CUBE[:80] + b"\x00" * 4)
    before = await pipeline.record("cube.stl")
    assert await call(pipeline, url) == 204
    await pipeline.transfer()
    assert await pipeline.record("cube.stl") == before


async def test_a_callback_before_the_starts_reply_starts_nothing_twice(pipeline: Pipeline) -> None:
    service = pipeline.app.services["remote-rendering"]
    real = service.start

    async def start_after_the_callback(order: Any) -> Any:
        assert await call(pipeline, order.callback) == 204
        await pipeline.work()
        return await real(order)

    service.start = start_after_the_callback  # type: ignore[method-assign]
    await pipeline.drop("cube.stl", CUBE)
    await pipeline.settle()
    assert (await pipeline.manifest("cube.stl")).messages == ()
    assert len(await pipeline.jobs()) == 1


async def test_callbacks_take_no_other_method(pipeline: Pipeline) -> None:
    async with pipeline.http() as client:
        assert (await client.get("/callbacks/a/b/c")).status_code == 405
