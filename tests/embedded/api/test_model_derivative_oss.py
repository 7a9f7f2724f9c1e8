"""Buckets and objects: uploads in parts straight to storage, downloads straight from it."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from shared.embedded.api.model_derivative.objects import SMALLEST_PART
from shared.storage import Storage
from tests.embedded.api.derivative import BUCKET, Calls, token

BUCKETS = "/oss/v2/buckets"


def path(key: str, call: str = "signeds3upload") -> str:
    return f"{BUCKETS}/{BUCKET}/objects/{key}/{call}"


async def put(url: str, data: bytes) -> httpx.Response:
    """A part, sent as the SDK sends it."""
    async with httpx.AsyncClient() as storage:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await storage.put(url, content=data, headers=headers)


async def get(url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as storage:
        return await storage.get(url, headers=headers)


async def test_a_bucket_is_made_once(calls: Calls) -> None:
    body = {"bucketKey": "my-bucket_1.x", "policyKey": "temporary"}
    made = (await calls.http.post(BUCKETS, json=body, headers={"x-ads-region": "EMEA"})).json()
    assert (made["bucketKey"], made["policyKey"]) == ("my-bucket_1.x", "temporary")
    assert made["bucketOwner"] == made["permissions"][0]["authId"]
    assert made["createdDate"] > 1_700_000_000_000
    again = await calls.http.post(BUCKETS, json=body)
    assert (again.status_code, again.json()["reason"]) == (409, "Bucket already exists")
    assert (await calls.http.get(f"{BUCKETS}/my-bucket_1.x/details")).json() == made
    listed = (await calls.http.get(BUCKETS)).json()["items"]
    assert {bucket["bucketKey"] for bucket in listed} == {BUCKET, "my-bucket_1.x"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"bucketKey": "ab", "policyKey": "transient"},
        {"bucketKey": "Upper", "policyKey": "transient"},
        {"bucketKey": "a/b", "policyKey": "transient"},
        {"bucketKey": "x" * 129, "policyKey": "transient"},
        {"bucketKey": "good", "policyKey": "forever"},
        {"bucketKey": "good"},
        {"bucketKey": 7, "policyKey": "transient"},
    ],
)
async def test_a_bucket_that_cannot_be_is_400(calls: Calls, body: object) -> None:
    refused = await calls.http.post(BUCKETS, json=body)
    assert (refused.status_code, set(refused.json())) == (400, {"reason", "diagnostic"})


async def test_an_object_goes_up_in_parts_and_comes_down_whole_and_by_ranges(calls: Calls) -> None:
    first, second, last = b"a" * SMALLEST_PART, b"b" * SMALLEST_PART, b"the end"
    begun = (await calls.http.get(path("big.stl"), params={"parts": 2})).json()
    assert len(begun["urls"]) == 2
    assert set(begun) == {"uploadKey", "urls", "urlExpiration", "uploadExpiration"}
    # The parts' order is told by their numbers, not by when they come.
    more = {"parts": 1, "firstPart": 3, "uploadKey": begun["uploadKey"]}
    rest = (await calls.http.get(path("big.stl"), params=more)).json()
    assert rest["uploadKey"] == begun["uploadKey"]
    for url, data in ((rest["urls"][0], last), (begun["urls"][1], second), (begun["urls"][0], first)):
        assert (await put(url, data)).status_code == 201
    size = len(first + second + last)
    end = {"uploadKey": begun["uploadKey"], "size": size}
    ended = await calls.http.post(path("big.stl"), json=end, headers={"x-ads-meta-Content-Type": "model/stl"})
    assert ended.status_code == 200
    details = ended.json()
    assert details["objectId"] == f"urn:adsk.objects:os.object:{BUCKET}/big.stl"
    assert (details["size"], details["contentType"]) == (size, "model/stl")
    assert (await calls.http.post(path("big.stl"), json=end)).json() == details, "a repeat finds it done"
    assert (await calls.http.get(path("big.stl", "details"))).json() == details
    signed = (await calls.http.get(path("big.stl", "signeds3download"))).json()
    assert (signed["status"], signed["size"]) == ("complete", size)
    assert (await get(signed["url"])).content == first + second + last
    part = await get(signed["url"], Range=f"bytes={SMALLEST_PART - 1}-{SMALLEST_PART}")
    assert (part.status_code, part.content) == (206, b"ab")


async def test_a_part_url_opens_one_blob_for_writing_for_a_while(calls: Calls) -> None:
    begun = (await calls.http.get(path("a.stl"), params={"minutesExpiration": 3})).json()
    query = parse_qs(urlsplit(begun["urls"][0]).query)
    assert query["sp"] == ["w"]
    assert query["sr"] == ["b"]
    assert query["se"] == [begun["urlExpiration"]]
    assert (await get(begun["urls"][0].replace("comp=block&", ""))).status_code in (403, 404)


async def test_a_part_url_that_storage_refuses_is_replaced_under_the_same_key(calls: Calls) -> None:
    begun = (await calls.http.get(path("a.stl"))).json()
    refused = begun["urls"][0].replace("sig=", "sig=x")
    assert (await put(refused, b"data")).status_code == 403
    key = begun["uploadKey"]
    fresh = (await calls.http.get(path("a.stl"), params={"uploadKey": key})).json()["urls"][0]
    assert (await put(fresh, b"data")).status_code == 201
    assert (await calls.http.post(path("a.stl"), json={"uploadKey": key})).json()["size"] == 4


async def test_an_upload_key_is_good_for_its_object_only(calls: Calls) -> None:
    key = (await calls.http.get(path("a.stl"))).json()["uploadKey"]
    for other, wrong in (("b.stl", key), ("a.stl", key + "x"), ("a.stl", "x.y"), ("a.stl", "")):
        assert (await calls.http.get(path(other), params={"uploadKey": wrong})).status_code == 400
    assert (await calls.http.post(path("b.stl"), json={"uploadKey": key})).status_code == 400


async def test_an_upload_key_ends_after_a_day(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    key = (await calls.http.get(path("a.stl"))).json()["uploadKey"]
    now = calls.bundle.storage.clock.now
    later = lambda: now() + timedelta(hours=24)  # noqa: E731
    issued = await at(calls, monkeypatch, later)
    refused = await issued.get(path("a.stl"), params={"uploadKey": key})
    await issued.aclose()
    assert refused.status_code == 400
    assert "expired" in refused.json()["reason"]


async def at(calls: Calls, monkeypatch: pytest.MonkeyPatch, now: Any) -> httpx.AsyncClient:
    """A client with a new token, at another time."""
    monkeypatch.setattr(calls.bundle.storage.clock, "now", now)
    monkeypatch.setattr(calls.bundle.storage.clock, "observe", lambda response: None)
    return calls.bundle.client((await token(calls.http)).json()["access_token"])


@pytest.mark.parametrize(
    ("sent", "size", "said"),
    [
        ([], None, "missing"),
        ([2], None, "missing"),
        ([1, 3], None, "missing"),
        ([1, 2], None, "at least"),
        ([1], 5, "'size' is 5"),
        ([1], "4", "integer"),
    ],
)
async def test_parts_that_make_no_object_are_refused(
    calls: Calls, sent: list[int], size: object, said: str
) -> None:
    begun = (await calls.http.get(path("a.stl"), params={"parts": 3})).json()
    for number in sent:
        await put(begun["urls"][number - 1], b"data")
    refused = await calls.http.post(path("a.stl"), json={"uploadKey": begun["uploadKey"], "size": size})
    assert refused.status_code == 400
    assert said in refused.json()["reason"]
    assert (await calls.http.get(path("a.stl", "details"))).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        {"parts": 0},
        {"parts": 26},
        {"parts": "x"},
        {"firstPart": 0},
        {"firstPart": 10_001},
        {"firstPart": 9_990, "parts": 25},
        {"minutesExpiration": 61},
        {"minutesExpiration": 0},
    ],
)
async def test_numbers_out_of_their_range_are_400(calls: Calls, query: dict[str, Any]) -> None:
    assert (await calls.http.get(path("a.stl"), params=query)).status_code == 400


async def test_a_new_version_replaces_the_old_and_its_bytes(calls: Calls) -> None:
    await calls.upload("a.stl", b"first")
    await calls.upload("a.stl", b"second one")
    assert (await calls.http.get(path("a.stl", "details"))).json()["size"] == 10
    container = calls.bundle.settings.embedded_container
    blobs = [head.size async for head in calls.bundle.storage.list(container, "oss/data/")]
    assert blobs == [10]


async def test_two_uploads_of_one_key_at_once_are_one_object_and_its_bytes(calls: Calls) -> None:
    ends = []
    for data in (b"first", b"second one"):
        begun = (await calls.http.get(path("a.stl"))).json()
        assert (await put(begun["urls"][0], data)).status_code == 201
        ends.append({"uploadKey": begun["uploadKey"], "size": len(data)})
    replies = await asyncio.gather(*(calls.http.post(path("a.stl"), json=end) for end in ends * 2))
    # What was replaced meanwhile has no parts any more for its repeat.
    assert {reply.status_code for reply in replies[:2]} == {200}
    size = (await calls.http.get(path("a.stl", "details"))).json()["size"]
    signed = (await calls.http.get(path("a.stl", "signeds3download"))).json()
    assert len((await get(signed["url"])).content) == size
    container = calls.bundle.settings.embedded_container
    blobs = [head.size async for head in calls.bundle.storage.list(container, "oss/data/")]
    assert blobs == [size]


async def test_a_wrong_size_makes_no_object_and_takes_none_away(calls: Calls) -> None:
    begun = (await calls.http.get(path("a.stl"))).json()
    await put(begun["urls"][0], b"data")
    for size, status in ((5, 400), (4, 200), (5, 400), (4, 200)):
        end = {"uploadKey": begun["uploadKey"], "size": size}
        assert (await calls.http.post(path("a.stl"), json=end)).status_code == status
    assert (await calls.http.get(path("a.stl", "details"))).json()["size"] == 4


async def uploading_before_a_deletion(calls: Calls, patch: pytest.MonkeyPatch) -> None:
    """A newer version of a.stl lands between the look at a record and its deletion."""
    delete = Storage.delete

    async def late(self: Storage, container: str, name: str, etag: str | None = None) -> bool:
        if name.startswith("oss/objects/"):
            patch.setattr(Storage, "delete", delete)
            await calls.upload("a.stl", b"a newer one")
        return await delete(self, container, name, etag)

    patch.setattr(Storage, "delete", late)


async def test_a_newer_version_is_not_deleted_for_the_age_of_the_older(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.upload("a.stl", b"data")
    storage, container = calls.bundle.storage, calls.bundle.settings.embedded_container
    (name,) = [head.name async for head in storage.list(container, "oss/objects/")]
    record = await storage.read(container, name)
    assert record is not None
    ended = {**json.loads(record.data), "expires": "2026-01-01T00:00:00Z"}
    await storage.put(container, name, json.dumps(ended).encode())
    with monkeypatch.context() as patch:
        await uploading_before_a_deletion(calls, patch)
        found = await calls.http.get(path("a.stl", "details"))
    assert (found.status_code, found.json()["size"]) == (200, 11)


async def test_a_deletion_takes_the_bytes_of_the_version_it_deletes(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.upload("a.stl", b"data")
    with monkeypatch.context() as patch:
        await uploading_before_a_deletion(calls, patch)
        assert (await calls.http.delete(f"{BUCKETS}/{BUCKET}/objects/a.stl")).status_code == 200
    container = calls.bundle.settings.embedded_container
    left = [head.name async for head in calls.bundle.storage.list(container, "oss/")]
    assert left == [f"oss/buckets/{BUCKET}.json"]


async def test_a_deleted_object_is_gone_with_its_bytes(calls: Calls) -> None:
    await calls.upload("a.stl", b"data")
    one = f"{BUCKETS}/{BUCKET}/objects/a.stl"
    assert (await calls.http.delete(one)).status_code == 200
    assert (await calls.http.delete(one)).status_code == 404
    assert (await calls.http.get(path("a.stl", "signeds3download"))).status_code == 404
    container = calls.bundle.settings.embedded_container
    assert [head.name async for head in calls.bundle.storage.list(container, "oss/data/")] == []


async def test_an_object_of_a_transient_bucket_ends_after_a_day(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.upload("a.stl", b"data")
    now = calls.bundle.storage.clock.now
    tomorrow = await at(calls, monkeypatch, lambda: now() + timedelta(hours=25))
    gone = await tomorrow.get(path("a.stl", "details"))
    await tomorrow.aclose()
    assert gone.status_code == 404


@pytest.mark.parametrize("key", ["a b/ü ?#%.obj", "x" * 1000, "..", "a/../../b", "%2e%2e", "dot."])
async def test_any_key_is_a_name(calls: Calls, key: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in key.encode())
    await calls.upload(quoted, b"data")
    details = (await calls.http.get(path(quoted, "details"))).json()
    assert details["objectKey"] == key
    container = calls.bundle.settings.embedded_container
    names = [head.name async for head in calls.bundle.storage.list(container)]
    assert all(name.startswith("oss/") and len(name) < 200 for name in names)


async def test_a_key_that_is_too_long_is_400(calls: Calls) -> None:
    assert (await calls.http.get(path("x" * 1025))).status_code == 400


async def test_a_bucket_that_is_not_there_is_404(calls: Calls) -> None:
    for bucket in ("nobody", "..", "NOBODY"):
        quoted = bucket.replace(".", "%2E")
        assert (await calls.http.get(f"{BUCKETS}/{quoted}/details")).status_code == 404
    upload = f"{BUCKETS}/nobody/objects/a/signeds3upload"
    assert (await calls.http.get(upload)).status_code == 404
    assert (await calls.http.post(upload, json={"uploadKey": "x"})).status_code == 404
    await calls.http.post(BUCKETS, json={"bucketKey": "nobody", "policyKey": "transient"})
    assert (await calls.http.get(upload)).status_code == 200


@pytest.mark.parametrize(
    ("method", "call", "needed"),
    [
        ("POST", BUCKETS, "bucket:create"),
        ("GET", BUCKETS, "bucket:read"),
        ("GET", f"{BUCKETS}/{BUCKET}/details", "bucket:read"),
        ("GET", path("a"), "data:create or data:write"),
        ("POST", path("a"), "data:create or data:write"),
        ("GET", path("a", "signeds3download"), "data:read"),
        ("GET", path("a", "details"), "data:read"),
        ("DELETE", f"{BUCKETS}/{BUCKET}/objects/a", "data:write"),
    ],
)
async def test_every_call_needs_its_scope(calls: Calls, method: str, call: str, needed: str) -> None:
    few = (await token(calls.http, "viewables:read")).json()["access_token"]
    async with calls.bundle.client(few) as client:
        refused = await client.request(method, call)
    assert refused.status_code == 403
    assert needed in refused.json()["developerMessage"]
    async with calls.bundle.client("") as stranger:
        assert (await stranger.request(method, call)).status_code == 401
