"""Blob triggers through the genuine runtime, on Azurite."""

import base64
import json
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from local.listeners.blobs import POISON_QUEUE
from tests.local.conftest import BEFORE, Tiny


async def drop(tiny: Tiny, name: str, content: bytes) -> None:
    await tiny.blobs.get_blob_client("drop", name).upload_blob(content, overwrite=True)


async def given(tiny: Tiny, name: str) -> list[dict[str, Any]]:
    return [call for call in await tiny.seen("blob") if call["name"] == name]


async def test_a_blob_arrives_as_a_client_that_reads_it(tiny: Tiny) -> None:
    await drop(tiny, "a folder/ü #1.obj", b"content")
    calls = await tiny.until(lambda: given(tiny, "a folder/ü #1.obj"))
    assert calls == [{"name": "a folder/ü #1.obj", "content": "content"}]


async def test_what_was_there_before_the_host_is_no_event_until_it_changes(tiny: Tiny) -> None:
    await drop(tiny, "after.obj", b"")
    await tiny.until(lambda: given(tiny, "after.obj"))
    assert await given(tiny, BEFORE) == []
    await drop(tiny, BEFORE, b"changed")
    (call,) = await tiny.until(lambda: given(tiny, BEFORE))
    assert call["content"] == "changed"


async def test_a_new_version_arrives_again(tiny: Tiny) -> None:
    await drop(tiny, "versions.obj", b"one")
    await tiny.until(lambda: given(tiny, "versions.obj"))
    await drop(tiny, "versions.obj", b"two")

    async def both() -> bool:
        return [call["content"] for call in await given(tiny, "versions.obj")] == ["one", "two"]

    await tiny.until(both)


async def test_a_blob_that_keeps_failing_is_poison_after_the_configured_tries(tiny: Tiny) -> None:
    await drop(tiny, "bad.obj", b"fail")
    poison = tiny.queues.get_queue_client(POISON_QUEUE)

    async def buried() -> list[dict[str, Any]]:
        try:
            messages = [json.loads(base64.b64decode(m.content)) for m in await poison.peek_messages(32)]
        except ResourceNotFoundError:
            return []
        return [message for message in messages if message["BlobName"] == "bad.obj"]

    (message,) = await tiny.until(buried)
    assert message["ContainerName"] == "drop"
    assert message["FunctionId"] == "Host.Functions.on_blob"
    assert message["ETag"]
    assert len(await given(tiny, "bad.obj")) == 2
