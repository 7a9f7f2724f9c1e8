"""Queue triggers through the genuine runtime, on Azurite."""

import base64
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from tests.local.conftest import QUEUE, Tiny


async def send(tiny: Tiny, text: str) -> None:
    await tiny.queues.get_queue_client(QUEUE).send_message(base64.b64encode(text.encode()).decode())


async def given(tiny: Tiny, text: str) -> list[dict[str, Any]]:
    return [call for call in await tiny.seen("queue") if call["text"] == text]


async def poison(tiny: Tiny) -> list[str]:
    try:
        messages = await tiny.queues.get_queue_client(f"{QUEUE}-poison").peek_messages(32)
    except ResourceNotFoundError:
        return []
    return [str(message.content) for message in messages]


async def test_a_message_arrives_decoded_and_is_deleted(tiny: Tiny) -> None:
    await send(tiny, "grüße")
    calls = await tiny.until(lambda: given(tiny, "grüße"))
    assert [call["tries"] for call in calls] == [1]

    async def empty() -> bool:
        properties = await tiny.queues.get_queue_client(QUEUE).get_queue_properties()
        return properties.approximate_message_count == 0

    await tiny.until(empty)


async def test_a_message_that_keeps_failing_is_poison_after_five_tries(tiny: Tiny) -> None:
    await send(tiny, "fail")
    content = base64.b64encode(b"fail").decode()

    async def buried() -> bool:
        return content in await poison(tiny)

    await tiny.until(buried)
    assert [call["tries"] for call in await given(tiny, "fail")] == [1, 2, 3, 4, 5]


async def test_a_message_whose_worker_was_killed_runs_again_in_a_new_worker(tiny: Tiny) -> None:
    await send(tiny, "die once")

    async def twice() -> list[dict[str, Any]]:
        calls = await given(tiny, "die once")
        return calls if len(calls) == 2 else []

    first, second = await tiny.until(twice)
    assert (first["tries"], second["tries"]) == (1, 2)
    assert first["pid"] != second["pid"]


async def test_a_message_that_is_not_base64_is_poison_at_once(tiny: Tiny) -> None:
    await tiny.queues.get_queue_client(QUEUE).send_message("~not base64~")

    async def buried() -> bool:
        return "~not base64~" in await poison(tiny)

    await tiny.until(buried)
    assert await given(tiny, "~not base64~") == []
