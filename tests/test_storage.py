"""The storage client: conditional writes, retries, and the service's own time."""

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, IncompleteReadError
from azure.core.pipeline.transport import AioHttpTransport

from local.azurite import Azurite
from shared.settings import read_settings
from shared.storage import Clock, Conflict, Storage, outage
from tests.clients.service import Answer, answer, running
from tests.pipeline import settings_for

HALF_A_REFUSAL = b"HTTP/1.1 404 X\r\nContent-Length: 90\r\n\r\n<Error>"

HALF_A_BLOB = (
    b'HTTP/1.1 206 X\r\nContent-Length: 90\r\nContent-Range: bytes 0-89/90\r\nETag: "0x1"\r\n'
    b"Last-Modified: Sat, 28 Nov 2026 12:00:00 GMT\r\nx-ms-blob-type: BlockBlob\r\n\r\nhalf"
)

PIECE = 4 * 1024 * 1024


@pytest.fixture
async def storage(azurite: Azurite) -> AsyncIterator[Storage]:
    async with Storage.connect(read_settings(**settings_for(azurite))) as opened:
        await opened.ensure(("blobs",), ("messages",))
        yield opened


async def against(*answers: Answer) -> tuple[int, float, BaseException | None]:
    """Reads a blob of a service that answers this: the requests sent, the seconds it took, the error."""
    async with running() as service:
        service.says = {"b": list(answers)}
        url = f"{service.url}/acc"
        connection = (
            "DefaultEndpointsProtocol=http;AccountName=acc;AccountKey=YQ==;"
            f"BlobEndpoint={url};QueueEndpoint={url};"
        )
        settings = read_settings(
            model_storage=connection,
            embedded_account_id="30ea64bd-100f-4bf0-adc9-29fa45d4880c",
            embedded_account_key="a key that only tests know",
            website_hostname="x",
        )
        begun = time.monotonic()
        error: BaseException | None = None
        async with Storage.connect(settings) as storage:
            try:
                await storage.read("c", "b")
            except Exception as caught:
                error = caught
        return len(service.asked), time.monotonic() - begun, error


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_busy_storage_is_asked_again_soon(status: int) -> None:
    asked, seconds, error = await against(answer(status), answer(status), answer(404))
    assert (asked, error) == (3, None)
    assert seconds < 4


async def test_retry_after_is_respected() -> None:
    asked, seconds, error = await against(answer(503, Retry_After="1"), answer(404))
    assert (asked, error) == (2, None)
    assert 1 <= seconds < 4


async def test_a_broken_connection_is_tried_again() -> None:
    asked, _, error = await against(b"", answer(404))
    assert (asked, error) == (2, None)


async def test_a_refusal_that_breaks_off_is_asked_for_again() -> None:
    asked, _, error = await against(HALF_A_REFUSAL, HALF_A_REFUSAL, answer(404))
    assert (asked, error) == (3, None)


async def test_there_is_an_end_to_asking_for_a_refusal() -> None:
    asked, _, error = await against(HALF_A_REFUSAL)
    assert asked == 5
    assert isinstance(error, IncompleteReadError)


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (answer(503), "Storage answered 503."),
        (HALF_A_REFUSAL, "Storage did not answer (IncompleteReadError)."),
        (HALF_A_BLOB, "Storage did not answer (IncompleteReadError)."),
        (b"", "Storage did not answer (ServiceRequestError)."),
    ],
    ids=["busy", "half a refusal", "half a blob", "nothing"],
)
async def test_what_a_later_try_may_not_meet_is_told_apart(says: Answer, message: str) -> None:
    _, _, error = await against(says)
    fault = outage(error)
    assert fault
    assert (fault.code, fault.message, fault.transient) == ("storage-unavailable", message, True)


async def test_what_every_later_try_would_meet_is_no_outage() -> None:
    _, _, error = await against(answer(400))
    assert isinstance(error, HttpResponseError)
    assert outage(error) is None


async def test_there_is_an_end_to_trying_again() -> None:
    asked, seconds, error = await against(answer(503))
    assert asked == 4
    assert isinstance(error, HttpResponseError)
    assert seconds < 15


async def test_what_cannot_get_better_is_not_tried_again() -> None:
    asked, _, error = await against(answer(400))
    assert asked == 1
    assert isinstance(error, HttpResponseError)


async def test_create_needs_a_free_name(storage: Storage) -> None:
    await storage.create("blobs", "create", b"one")
    with pytest.raises(Conflict):
        await storage.create("blobs", "create", b"two")
    blob = await storage.read("blobs", "create")
    assert blob and blob.data == b"one"


async def test_replace_needs_the_version_that_was_seen(storage: Storage) -> None:
    etag = await storage.create("blobs", "replace", b"one")
    newer = await storage.replace("blobs", "replace", b"two", etag)
    with pytest.raises(Conflict):
        await storage.replace("blobs", "replace", b"three", etag)
    assert newer != etag
    await storage.delete("blobs", "replace")
    with pytest.raises(Conflict):
        await storage.replace("blobs", "replace", b"four", newer)


async def test_delete_needs_the_version_that_was_seen(storage: Storage) -> None:
    etag = await storage.create("blobs", "delete", b"one")
    newer = await storage.put("blobs", "delete", b"two")
    with pytest.raises(Conflict):
        await storage.delete("blobs", "delete", etag)
    assert await storage.delete("blobs", "delete", newer) is True
    assert await storage.delete("blobs", "delete") is False


async def test_every_way_to_an_etag_spells_it_alike(storage: Storage) -> None:
    etag = await storage.put("blobs", "etag/x", b"one", metadata={"Colour": "red"})
    head = await storage.head("blobs", "etag/x")
    read = await storage.read("blobs", "etag/x")
    [listed] = [blob async for blob in storage.list("blobs", "etag/", metadata=True)]
    assert head and read
    assert {etag, head.etag, read.etag, listed.etag} == {etag}
    assert head.metadata == listed.metadata == {"colour": "red"}
    assert head.md5 == listed.md5 is not None


async def test_a_range_is_read_and_no_more(storage: Storage) -> None:
    await storage.put("blobs", "range", bytes(range(100)))
    middle = await storage.read("blobs", "range", offset=10, length=5)
    beyond = await storage.read("blobs", "range", offset=90, length=500)
    assert middle and middle.data == bytes(range(10, 15))
    assert beyond and beyond.data == bytes(range(90, 100))


async def test_an_empty_blob_has_no_bytes_in_any_range(storage: Storage) -> None:
    await storage.put("blobs", "nothing", b"")
    blob = await storage.read("blobs", "nothing", offset=0, length=500)
    assert blob and blob.data == b""


async def test_what_is_not_there_is_none(storage: Storage) -> None:
    assert await storage.head("blobs", "absent") is None
    assert await storage.read("blobs", "absent") is None
    assert await storage.read("blobs", "absent", offset=0, length=5) is None


async def test_a_listing_goes_on_over_its_pages(storage: Storage) -> None:
    names = [f"pages/{number}" for number in range(7)]
    for name in names:
        await storage.put("blobs", name, b"x")
    assert [blob.name async for blob in storage.list("blobs", "pages/", page_size=3)] == names


async def test_a_blob_that_is_replaced_while_it_is_read_is_no_blob_of_two_halves(storage: Storage) -> None:
    data = bytes(5 * 1024 * 1024)
    await storage.put("blobs", "replaced", data)
    pieces = storage.stream("blobs", "replaced")
    assert len(await anext(pieces)) == 4 * 1024 * 1024
    await storage.put("blobs", "replaced", data[::-1])
    with pytest.raises(Conflict):
        await anext(pieces)


async def test_only_the_version_that_is_asked_for_is_read(storage: Storage) -> None:
    first = await storage.put("blobs", "versions", b"first")
    assert [piece async for piece in storage.stream("blobs", "versions", etag=first)] == [b"first"]
    await storage.put("blobs", "versions", b"second")
    with pytest.raises(Conflict):
        await anext(storage.stream("blobs", "versions", etag=first))


@pytest.mark.parametrize(("size", "requests"), [(0, 1), (PIECE, 1), (PIECE + 1, 3), (2 * PIECE + 1, 4)])
async def test_what_is_streamed_is_one_request_or_one_a_piece_and_one_more(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, size: int, requests: int
) -> None:
    sent: list[str] = []
    real = AioHttpTransport.send

    async def send(self: AioHttpTransport, request: Any, **options: Any) -> Any:
        sent.append(request.method)
        return await real(self, request, **options)

    async def chunks() -> AsyncIterator[bytes]:
        for begin in range(0, size, 1_000_000):
            yield data[begin : begin + 1_000_000]

    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    monkeypatch.setattr(AioHttpTransport, "send", send)
    head, sha256 = await storage.write_stream("blobs", f"streamed-{size}", chunks(), content_type="a/b")
    assert sent == ["PUT"] * requests
    there = await storage.head("blobs", f"streamed-{size}")
    assert there == head
    assert (head.size, head.content_type, head.md5) == (
        size,
        "a/b",
        hashlib.md5(data, usedforsecurity=False).digest(),
    )
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert b"".join([piece async for piece in storage.stream("blobs", f"streamed-{size}")]) == data


async def test_names_and_metadata_come_back_as_they_went(storage: Storage) -> None:
    for name in ("a b/ü+&?#%41.stl", "~tilde/(1)'!*,;=:@$[].stl", "日本/é.stl"):
        etag = await storage.put("blobs", name, b"1", metadata={"Key": "value  of it"})
        (listed,) = [head async for head in storage.list("blobs", name, metadata=True)]
        seen = await storage.head("blobs", name)
        blob = await storage.read("blobs", name)
        assert seen is not None and blob is not None
        assert (listed.name, listed.etag, listed.metadata) == (name, etag, {"key": "value  of it"})
        assert listed == seen == blob.head
        assert await storage.delete("blobs", name, etag)


async def test_a_message_is_json_in_base64(storage: Storage) -> None:
    await storage.enqueue("messages", {"path": "Größe"})
    message = await storage.queue_service.get_queue_client("messages").receive_message()
    assert message is not None
    assert json.loads(base64.b64decode(message.content)) == {"path": "Größe"}


async def test_no_error_holds_the_account_key() -> None:
    _, _, error = await against(answer(400, b"<Error/>"))
    while error is not None:
        assert "AccountKey" not in repr(error) and "YQ==" not in repr(error)
        error = error.__cause__ or error.__context__


def reply(date: datetime | None) -> Any:
    headers = {} if date is None else {"Date": date.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    return SimpleNamespace(http_response=SimpleNamespace(headers=headers))


@pytest.mark.parametrize("off", [timedelta(days=-400), timedelta(hours=-1), timedelta(days=400)])
def test_the_time_is_the_services_however_wrong_the_instance(off: timedelta) -> None:
    clock = Clock()
    theirs = datetime.now(UTC) + off
    clock.observe(reply(theirs))
    assert abs((clock.now() - theirs).total_seconds()) < 2
    clock.observe(reply(None))
    assert abs((clock.now() - theirs).total_seconds()) < 2


def test_a_date_that_agrees_does_not_set_the_time_back() -> None:
    clock = Clock()
    clock.observe(reply(datetime.now(UTC)))
    last = clock.now()
    for _ in range(200):
        clock.observe(reply(clock.now()))
        assert clock.now() >= last
        last = clock.now()
        time.sleep(0.006)


def test_a_slow_reply_does_not_set_the_time_back() -> None:
    clock = Clock()
    clock.observe(reply(datetime.now(UTC)))
    last = clock.now()
    clock.observe(reply(last - timedelta(seconds=30)))
    assert clock.now() >= last


def test_a_time_that_has_run_away_is_set_right() -> None:
    clock = Clock()
    clock.observe(reply(datetime.now(UTC)))
    theirs = clock.now() - timedelta(minutes=10)
    clock.observe(reply(theirs))
    assert abs((clock.now() - theirs).total_seconds()) < 2
