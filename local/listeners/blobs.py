"""Blob triggers: the container is listed again and again; a name with a new ETag is an event.

Receipts live in memory only, and what is there when the host starts counts as
received: pointing a host at an archive must not convert it, and what landed while
no host was up is for the app's own sweep. A blob that is gone or replaced
meanwhile is not tried again.
"""

import asyncio
import base64
import contextlib
import json
import re
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local.bindings import Function
from local.config import HostJson
from local.listeners.queues import ensure
from local.log import Log
from local.protos import load
from local.runtime import InvocationFailed, Runtime, WorkerDied

SCAN_SECONDS = 1.0
RETRY_SECONDS = 1.0
POISON_QUEUE = "webjobs-blobtrigger-poison"
PARAMETER = re.compile(r"\{(\w+)\}")


class BlobListener:
    """Runs `function` for each version of each blob that matches `path`: `container/pattern`."""

    def __init__(
        self,
        function: Function,
        runtime: Runtime,
        blobs: BlobServiceClient,
        queues: QueueServiceClient,
        path: str,
        config: HostJson,
        log: Log,
    ) -> None:
        container, _, pattern = path.partition("/")
        self._function = function
        self._runtime = runtime
        self._container = blobs.get_container_client(container)
        self._poison = queues.get_queue_client(POISON_QUEUE)
        self._pattern = _regex(pattern or "{name}")
        self._config = config
        self._log = log
        self._parallel = asyncio.Semaphore(config.blob_parallel)
        self._seen: dict[str, str] = {}

    async def prepare(self) -> None:
        """Creates the container, and takes note of what is in it: that is no event."""
        with contextlib.suppress(ResourceExistsError):
            await self._container.create_container()
        await self._fresh()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as deliveries:
            while True:
                for blob in await self._scan():
                    deliveries.create_task(self._deliver(blob))
                await asyncio.sleep(SCAN_SECONDS)

    async def _scan(self) -> list[BlobProperties]:
        try:
            return await self._fresh()
        except AzureError as error:
            self._log.write("Warning", f"container {self._container.container_name}: {type(error).__name__}")
            return []

    async def _fresh(self) -> list[BlobProperties]:
        """The blobs whose version has not been seen."""
        listed = [blob async for blob in self._container.list_blobs()]
        found = [blob for blob in listed if self._pattern.fullmatch(blob.name)]
        fresh = [blob for blob in found if self._seen.get(blob.name) != blob.etag]
        self._seen = {blob.name: str(blob.etag) for blob in found}
        return fresh

    async def _deliver(self, blob: BlobProperties) -> None:
        for _ in range(self._config.blob_tries):
            async with self._parallel:
                if self._seen.get(blob.name) != blob.etag:
                    return
                try:
                    await self._runtime.invoke(self._function, self._data(blob), self._metadata(blob))
                except (InvocationFailed, WorkerDied):
                    pass  # logged by the runtime
                else:
                    return
            await asyncio.sleep(RETRY_SECONDS)
        await self._bury(blob)

    def _data(self, blob: BlobProperties) -> Any:
        """A deferred binding: where the blob is, never what is in it."""
        content = {
            "Connection": self._function.trigger.get("connection") or "AzureWebJobsStorage",
            "ContainerName": self._container.container_name,
            "BlobName": blob.name,
        }
        protos = load()
        return protos.TypedData(
            model_binding_data=protos.ModelBindingData(
                version="1.0",
                source="AzureStorageBlobs",
                content_type="application/json",
                content=json.dumps(content).encode(),
            )
        )

    def _metadata(self, blob: BlobProperties) -> dict[str, Any]:
        protos = load()
        match = self._pattern.fullmatch(blob.name)
        assert match is not None
        properties = {
            "ETag": blob.etag,
            "Length": blob.size,
            "LastModified": blob.last_modified.isoformat(),
            "ContentType": blob.content_settings.content_type,
        }
        url = self._container.get_blob_client(blob.name).url.partition("?")[0]
        return {
            "BlobTrigger": protos.TypedData(string=f"{self._container.container_name}/{blob.name}"),
            "Uri": protos.TypedData(json=json.dumps(url)),
            "Properties": protos.TypedData(json=json.dumps(properties)),
            "Metadata": protos.TypedData(json=json.dumps(blob.metadata or {})),
        } | {name: protos.TypedData(string=value) for name, value in match.groupdict().items()}

    async def _bury(self, blob: BlobProperties) -> None:
        message = {
            "Type": "BlobTrigger",
            "FunctionId": f"Host.Functions.{self._function.name}",
            "BlobType": "BlockBlob",
            "ContainerName": self._container.container_name,
            "BlobName": blob.name,
            "ETag": blob.etag,
        }
        try:
            await ensure(self._poison)
            await self._poison.send_message(base64.b64encode(json.dumps(message).encode()).decode())
        except AzureError as error:
            self._log.write("Error", f"queue {POISON_QUEUE}: {type(error).__name__}")
        else:
            self._log.write("Error", f"a blob went to {POISON_QUEUE}", function=self._function.name)


def _regex(pattern: str) -> re.Pattern[str]:
    """`{name}` stands for anything, slashes included."""
    parts = PARAMETER.split(pattern)
    text = "".join(f"(?P<{part}>.+)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
    return re.compile(text, re.DOTALL)
