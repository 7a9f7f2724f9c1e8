"""A running host around the tiny function app, on an Azurite of its own."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local.azurite import Azurite
from local.host import Host, running

APP = Path(__file__).parent / "app"
QUEUE = "tiny-jobs"
SETTINGS = {"TINY_QUEUE": QUEUE, "TINY_SCHEDULE": "*/1 * * * * *"}
PATIENCE_SECONDS = 30
BEFORE = "before.obj"
"""A blob that is there when the host starts."""


@dataclass(frozen=True)
class Tiny:
    """The running host, its folder, and the storage it watches."""

    host: Host
    state: Path
    blobs: BlobServiceClient
    queues: QueueServiceClient

    async def seen(self, kind: str) -> list[dict[str, Any]]:
        """What the functions of a kind were given, in order."""
        container = self.blobs.get_container_client("seen")
        blobs = [blob async for blob in container.list_blobs(name_starts_with=f"{kind}/")]
        blobs.sort(key=lambda blob: blob.name)
        return [json.loads(await (await container.download_blob(blob.name)).readall()) for blob in blobs]

    async def until[T](self, look: Callable[[], Awaitable[T]]) -> T:
        """What `look` returns as soon as it is true."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not (found := await look()):
            assert time.monotonic() < give_up, "it did not happen in time"
            await asyncio.sleep(0.1)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tiny]:
    # Not for the session: it runs in the tests' process, and would disturb what others count and time.
    state = tmp_path_factory.mktemp("state")
    with Azurite.start() as azurite:
        async with started(azurite, state) as tiny:
            yield tiny


@asynccontextmanager
async def started(azurite: Azurite, state: Path) -> AsyncIterator[Tiny]:
    async with (
        BlobServiceClient.from_connection_string(azurite.connection_string) as blobs,
        QueueServiceClient.from_connection_string(azurite.connection_string) as queues,
    ):
        await blobs.create_container("seen")
        await (await blobs.create_container("drop")).upload_blob(BEFORE, b"from before")
        environment = os.environ | SETTINGS | {"MODEL_STORAGE": azurite.connection_string}
        async with running(APP, state, environment) as host:
            yield Tiny(host, state, blobs, queues)
