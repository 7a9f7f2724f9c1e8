"""The whole bundle on real storage, without a host: a test delivers the events, and says what time it is.

The pipeline, the embedded service and its engine are the real ones. HTTP between them goes through the
ASGI app in this process.
"""

import base64
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jsonschema
from azure.core.exceptions import ResourceNotFoundError

from local.azurite import Azurite
from shared import paths
from shared.app import App
from shared.conversion import Conversion
from shared.embedded.worker import Converts
from shared.manifest import Manifest
from shared.settings import read_settings
from shared.storage import Clock

SCHEMA = Path(__file__).resolve().parents[1] / "shared" / "manifest.schema.json"
ACCOUNT_ID = "30ea64bd-100f-4bf0-adc9-29fa45d4880c"
ACCOUNT_KEY = "a key that only the tests know"


class ShiftedClock(Clock):
    """The storage service's time, and as much later as a test wants."""

    def __init__(self, real: Clock) -> None:
        super().__init__()
        self._real = real
        self.ahead = timedelta()

    def now(self) -> datetime:
        return self._real.now() + self.ahead


@dataclass
class Pipeline:
    """One bundle, with containers and queues of its own in the shared Azurite."""

    app: App
    clock: ShiftedClock

    # --- What users and the platform do --------------------------------------------------------

    async def upload(self, path: str, data: bytes, **metadata: str) -> None:
        """Puts a blob into the models container; its event is another matter."""
        await self.app.storage.put(
            self.app.settings.models_container,
            path,
            data,
            metadata=metadata,
            content_type="application/octet-stream",
        )

    async def event(self, path: str) -> None:
        """Delivers a blob event, as the blob trigger does."""
        await self.app.lifecycle.consider(path)

    async def delete(self, path: str) -> None:
        """Takes a blob out of the models container."""
        await self.app.storage.delete(self.app.settings.models_container, path)

    async def drop(self, path: str, data: bytes) -> None:
        """A blob lands, and so does its event."""
        await self.upload(path, data)
        await self.event(path)

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.clock.ahead += timedelta(seconds=seconds)

    async def work(self) -> int:
        """The embedded service works off what its queue holds; how many requests that were."""
        requests = await self.requests()
        for request in requests:
            await self.run(request)
        await self.transfer()
        return len(requests)

    async def transfer(self) -> None:
        """Works off what `transfer_files` would."""
        while message := await self._receive(self.app.settings.transfer_queue):
            await self.app.lifecycle.advance(message["record"], transfers=True, moved=message.get("moved"))

    async def requests(self) -> list[str]:
        """Takes what the embedded service's queue holds: the requests to :meth:`run`."""
        found = []
        while message := await self._receive(self.app.settings.embedded_queue):
            found.append(message["id"])
        return found

    async def run(self, request: str) -> None:
        """The embedded service works off one request."""
        await self.app.worker.run(request, secrets.token_hex(4))

    async def settle(self, *, rounds: int = 12, seconds: float = 10) -> None:
        """Ticks and works until nothing is in flight."""
        for _ in range(rounds):
            await self.work()
            self.later(seconds)
            await self.app.tick.run()
            if not await self.records():
                return
        raise AssertionError(f"still in flight: {await self.records()}")

    async def settle_for(self, seconds: float) -> None:
        """So much time passes, with a tick every two seconds."""
        for _ in range(round(seconds / 2)):
            self.later(2)
            await self.app.tick.run()
            await self.work()

    async def convert(self, path: str, data: bytes) -> Manifest:
        """Drops a model and waits for its manifest."""
        await self.drop(path, data)
        await self.settle()
        return await self.manifest(path)

    # --- What there is -------------------------------------------------------------------------

    async def manifest(self, path: str) -> Manifest:
        """The manifest of a model, which must be there."""
        stored = await self.app.tools.manifests.of(path)
        assert stored is not None, f"{path} has no manifest"
        assert stored.manifest is not None
        content = json.loads(await self.read(paths.manifest(path)))
        jsonschema.validate(content, json.loads(SCHEMA.read_text()))
        return stored.manifest

    async def record(self, path: str) -> Conversion | None:
        """The record of a model's conversion in flight."""
        held = await self.app.tools.in_flight.of(path)
        return held.conversion if held else None

    async def records(self) -> list[str | None]:
        """The models in flight."""
        return [item.path async for item in self.app.tools.in_flight.list()]

    async def read(self, name: str) -> bytes:
        """A blob of the converted container, which must be there."""
        blob = await self.app.storage.read(self.app.settings.converted_container, name)
        assert blob is not None, f"no {name}"
        return blob.data

    async def outputs(self, path: str) -> dict[str, list[str]]:
        """The files in the model's folder, by conversion id."""
        found: dict[str, list[str]] = {}
        async for blob in self.app.storage.list(
            self.app.settings.converted_container, f"{paths.folder(path)}/"
        ):
            if owner := paths.owner_of_output(blob.name):
                found.setdefault(owner[1], []).append(blob.name)
        return found

    async def jobs(self) -> list[dict[str, Any]]:
        """The conversions that the service knows of, by its own list."""
        async with self.http() as client:
            reply = await client.get(
                f"/Accounts/{ACCOUNT_ID}/token",
                headers={"Authorization": f"Bearer {ACCOUNT_ID}:{self.app.settings.embedded_account_key}"},
            )
            token = reply.json()["AccessToken"]
            url: str | None = f"/accounts/{ACCOUNT_ID}/conversions?api-version=2021-01-01"
            jobs: list[dict[str, Any]] = []
            while url:
                reply = await client.get(url, headers={"Authorization": f"Bearer {token}"})
                assert reply.status_code == 200
                jobs += reply.json()["conversions"]
                url = reply.json()["@nextLink"]
            return jobs

    def http(self) -> httpx.AsyncClient:
        """A client of everything that the bundle serves."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app.asgi, raise_app_exceptions=False),
            base_url="http://bundle.test",
        )

    async def _receive(self, queue: str) -> dict[str, Any] | None:
        client = self.app.storage.queue_service.get_queue_client(queue)
        message = await client.receive_message()
        if message is None:
            return None
        with contextlib.suppress(ResourceNotFoundError):  # the reply was lost, and it was sent again
            await client.delete_message(message)
        body: dict[str, Any] = json.loads(base64.b64decode(message.content))
        return body


class Loop(httpx.AsyncBaseTransport):
    """HTTP from the bundle to itself, and to storage."""

    def __init__(self, storage: str = "") -> None:
        """``storage`` is the address of the storage emulator, if it is to be reached."""
        self.app: App | None = None
        self._storage = urlsplit(storage).netloc
        # No connection is kept: nobody closes this.
        self._network = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert self.app is not None
        if request.url.netloc.decode() == self._storage:
            return await self._network.handle_async_request(request)
        return await httpx.ASGITransport(self.app.asgi, raise_app_exceptions=False).handle_async_request(
            request
        )


def settings_for(azurite: Azurite, **changes: Any) -> dict[str, Any]:
    """App settings of a bundle that shares nothing with others but the storage emulator."""
    name = secrets.token_hex(4)
    return {
        "model_storage": azurite.connection_string,
        "models_container": f"models-{name}",
        "converted_container": f"converted-{name}",
        "in_flight_container": f"in-flight-{name}",
        "embedded_container": f"embedded-{name}",
        "embedded_queue": f"embedded-{name}",
        "transfer_queue": f"transfer-{name}",
        "embedded_account_id": ACCOUNT_ID,
        "embedded_account_key": ACCOUNT_KEY,
        "embedded_blob_url": f"{azurite.blob_url}/{{account}}",
        "website_hostname": "127.0.0.1:1",
        "local": True,
        **changes,
    }


class Kept:
    """A converter that outlives the bundle that uses it."""

    def __init__(self, converter: Converts) -> None:
        self.convert = converter.convert

    async def close(self) -> None:
        """Somebody else does."""


@asynccontextmanager
async def start(
    azurite: Azurite,
    *,
    http: httpx.AsyncBaseTransport | None = None,
    wrap: Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport] = lambda own: own,
    client_options: Mapping[str, Any] | None = None,
    converter: Converts | None = None,
    **changes: Any,
) -> AsyncIterator[Pipeline]:
    """A bundle with some settings changed.

    ``http`` plays a conversion service in the place of its own, which ``wrap`` may stand in front of;
    ``client_options`` are for the storage clients; ``converter`` is an engine that outlives the bundle.
    """
    loop = Loop(azurite.blob_url)
    settings = read_settings(**settings_for(azurite, **changes))
    app = App(settings, http=http or wrap(loop), **(client_options or {}))
    if converter is not None:
        vars(app)["_converter"] = Kept(converter)
    loop.app = app
    await app.ready()
    clock = ShiftedClock(app.storage.clock)
    app.storage.clock = clock
    try:
        yield Pipeline(app, clock)
    finally:
        await app.close()
        if transport := (client_options or {}).get("transport"):
            await transport.close()  # that it may outlive each of the clients that share it
