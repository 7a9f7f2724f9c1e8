"""Queue triggers: batches, renewed visibility while a message runs, poison queue after the last try."""

import asyncio
import base64
import contextlib
import json

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local.bindings import Function
from local.config import HostJson
from local.log import Log
from local.protos import load
from local.runtime import InvocationFailed, Runtime, WorkerDied

LEASE_SECONDS = 60
"""How long a message stays hidden without renewal: what a killed host costs."""

IDLE_SECONDS = (0.1, 0.5)
"""Between two looks at an empty queue: from the first, doubled, to the second."""


class QueueListener:
    """Runs `function` for each message of a queue."""

    def __init__(
        self,
        function: Function,
        runtime: Runtime,
        service: QueueServiceClient,
        queue: str,
        config: HostJson,
        log: Log,
    ) -> None:
        self._function = function
        self._runtime = runtime
        self._queue = service.get_queue_client(queue)
        self._poison = service.get_queue_client(f"{queue}-poison")
        self._config = config
        self._log = log

    async def prepare(self) -> None:
        """Creates the queue, so that it can be written to as soon as the host is up."""
        await ensure(self._queue)

    async def run(self) -> None:
        """Until cancelled."""
        running: set[asyncio.Task[None]] = set()
        idle = IDLE_SECONDS[0]
        async with asyncio.TaskGroup() as tasks:
            while True:
                if len(running) > self._config.queue_threshold:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    continue
                messages = await self._receive()
                for message in messages:
                    task = tasks.create_task(self._handle(message))
                    running.add(task)
                    task.add_done_callback(running.discard)
                idle = IDLE_SECONDS[0] if messages else min(idle * 2, IDLE_SECONDS[1])
                if not messages:
                    await asyncio.sleep(idle)

    async def _receive(self) -> list[QueueMessage]:
        # A page larger than the batch is never asked for: what is not run is not hidden.
        pages = self._queue.receive_messages(
            max_messages=self._config.queue_batch,
            messages_per_page=self._config.queue_batch,
            visibility_timeout=LEASE_SECONDS,
        )
        try:
            return [message async for message in pages]
        except AzureError as error:
            self._log.write("Warning", f"queue {self._queue.queue_name}: {type(error).__name__}")
            return []

    async def _handle(self, message: QueueMessage) -> None:
        tries = message.dequeue_count or 0
        try:
            text = self._decode(str(message.content))
            if text is None or tries > self._config.queue_tries:
                await self._bury(message)
            elif await self._invoke(message, text):
                await self._queue.delete_message(message)
            elif tries >= self._config.queue_tries:
                await self._bury(message)
            else:
                await self._queue.update_message(
                    message, visibility_timeout=int(self._config.queue_visibility)
                )
        except AzureError as error:
            # Not ours any more, or the storage is away: the message comes again by itself.
            self._log.write("Warning", f"queue {self._queue.queue_name}: {type(error).__name__}")

    async def _invoke(self, message: QueueMessage, text: str) -> bool:
        """Whether the function returned; the message stays hidden meanwhile."""
        protos = load()
        data = protos.TypedData(string=text)
        metadata = {
            "Id": protos.TypedData(string=str(message.id)),
            "PopReceipt": protos.TypedData(string=str(message.pop_receipt)),
            "DequeueCount": protos.TypedData(json=str(message.dequeue_count)),
            "QueueTrigger": data,
        }
        for name, moment in (
            ("InsertionTime", message.inserted_on),
            ("ExpirationTime", message.expires_on),
            ("NextVisibleTime", message.next_visible_on),
        ):
            if moment is not None:
                metadata[name] = protos.TypedData(json=json.dumps(moment.isoformat()))
        renewal = asyncio.create_task(self._renew(message))
        try:
            await self._runtime.invoke(self._function, data, metadata)
        except (InvocationFailed, WorkerDied):
            return False
        finally:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError, AzureError):
                await renewal
        return True

    def _decode(self, content: str) -> str | None:
        """None for what is not the base64 of text."""
        if not self._config.queue_base64:
            return content
        try:
            return base64.b64decode(content, validate=True).decode()
        except ValueError:
            return None

    async def _renew(self, message: QueueMessage) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            renewed = await self._queue.update_message(message, visibility_timeout=LEASE_SECONDS)
            message.pop_receipt = renewed.pop_receipt

    async def _bury(self, message: QueueMessage) -> None:
        """Copies the message to the poison queue before it is deleted: twice is better than never."""
        await ensure(self._poison)
        await self._poison.send_message(message.content)
        await self._queue.delete_message(message)
        self._log.write("Error", f"a message went to {self._poison.queue_name}", function=self._function.name)


async def ensure(queue: QueueClient) -> None:
    """Creates a queue that does not exist."""
    with contextlib.suppress(ResourceExistsError):
        await queue.create_queue()
