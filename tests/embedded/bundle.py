"""The embedded service on real storage, for tests: no part of it is faked but what a test replaces."""

import asyncio
import base64
import json
import secrets
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from aiohttp import web
from azure.storage.blob import generate_container_sas
from fastapi import FastAPI

from local.azurite import ACCOUNT, KEY, Azurite
from shared.embedded.api import model_derivative
from shared.embedded.api.api2convert import service as api2convert
from shared.embedded.api.app import build_api
from shared.embedded.containers import Containers
from shared.embedded.requests import Location, Record, Requests
from shared.embedded.tokens import Tokens
from shared.embedded.worker import Converts, Worker
from shared.formats import API2CONVERT
from shared.outbound import Outbound
from shared.settings import Settings
from shared.storage import Storage

ACCOUNT_ID = "30ea64bd-100f-4bf0-adc9-29fa45d4880c"
ACCOUNT_KEY = "a key that only the tests know"
OTHER_ACCOUNT_ID = "11111111-2222-3333-4444-555555555555"


@dataclass
class Bundle:
    """One bundle: its own containers and queue in the shared Azurite."""

    settings: Settings
    storage: Storage
    requests: Requests
    containers: Containers
    outbound: Outbound
    api: FastAPI
    models: str
    converted: str

    def sas(self, container: str, permissions: str, *, hours: float = 1) -> str:
        """A container SAS, signed with the account's key."""
        expiry = self.storage.now() + timedelta(hours=hours)
        return str(
            generate_container_sas(ACCOUNT, container, account_key=KEY, permission=permissions, expiry=expiry)
        )

    def source(self, prefix: str = "", **changes: Any) -> Location:
        sas = self.sas(self.models, "rl")
        return Location(account=ACCOUNT, container=self.models, prefix=prefix, sas=sas).model_copy(
            update=changes
        )

    def target(self, prefix: str = "", **changes: Any) -> Location:
        sas = self.sas(self.converted, "w")
        return Location(account=ACCOUNT, container=self.converted, prefix=prefix, sas=sas).model_copy(
            update=changes
        )

    def v1_body(self, model: str, **additions: Any) -> dict[str, Any]:
        """A body for createWithSharedAccessSignature, as the documentation prints it."""
        return {
            "input": {
                "storageAccountname": ACCOUNT,
                "blobContainerName": self.models,
                "folderPath": "",
                "inputAssetPath": model,
                "containerReadListSas": self.sas(self.models, "rl"),
            },
            "output": {
                "storageAccountname": ACCOUNT,
                "blobContainerName": self.converted,
                "folderPath": "",
                "outputAssetFileName": "",
                "containerWriteSas": self.sas(self.converted, "w"),
            },
            **additions,
        }

    def token(self) -> str:
        return Tokens(self.settings, self.storage.now).issue()

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """A client of the API, without a network between."""
        authorization = f"Bearer {self.token() if token is None else token}"
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.api, raise_app_exceptions=False),
            base_url="http://service.test",
            headers={"Authorization": authorization},
        )

    def worker(self, converter: Converts) -> Worker:
        watcher = model_derivative.watcher(self.settings, self.storage, self.requests, self.outbound)
        runner = api2convert.runner(self.settings, self.storage, self.requests, self.outbound, converter)
        return Worker(
            self.settings,
            self.requests,
            self.containers,
            converter,
            self.outbound,
            runners={API2CONVERT: runner},
            watcher=watcher,
        )

    async def upload(self, name: str, data: bytes) -> None:
        await self.storage.put(self.models, name, data, content_type="application/octet-stream")

    async def result(self, name: str) -> bytes | None:
        """A blob of the output container."""
        blob = await self.storage.read(self.converted, name)
        return None if blob is None else blob.data

    async def results(self) -> list[str]:
        return [head.name async for head in self.storage.list(self.converted)]

    async def record(self, key: str) -> Record:
        blob = await self.storage.read(self.settings.embedded_container, f"{key}.json")
        assert blob is not None
        return Record.model_validate_json(blob.data)

    async def messages(self) -> list[str]:
        """The ids in the queue, which stay there."""
        queue = self.storage.queue_service.get_queue_client(self.settings.embedded_queue)
        found = await queue.peek_messages(max_messages=32)
        return [json.loads(base64.b64decode(message.content))["id"] for message in found]

    async def take(self) -> list[tuple[str, str]]:
        """The (request id, message id) pairs in the queue, which are taken out."""
        queue = self.storage.queue_service.get_queue_client(self.settings.embedded_queue)
        taken = []
        async for message in queue.receive_messages():
            taken.append((json.loads(base64.b64decode(message.content))["id"], message.id))
            await queue.delete_message(message)
        return taken


@asynccontextmanager
async def start(azurite: Azurite, **settings: Any) -> AsyncIterator[Bundle]:
    """A bundle with new containers and a new queue; ``settings`` replace the tests' defaults."""
    suffix = secrets.token_hex(4)
    models, converted = f"models-{suffix}", f"converted-{suffix}"
    chosen = Settings(
        **{
            "model_storage": azurite.connection_string,
            "models_container": models,
            "converted_container": converted,
            "in_flight_container": f"in-flight-{suffix}",
            "embedded_container": f"embedded-{suffix}",
            "embedded_queue": f"embedded-{suffix}",
            "embedded_account_id": ACCOUNT_ID,
            "embedded_account_key": ACCOUNT_KEY,
            "embedded_blob_url": azurite.blob_url + "/{account}",
            "embedded_linked_containers": f"{ACCOUNT}/{models},{ACCOUNT}/{converted}",
            "website_hostname": "service.test",
            "local": True,
            **settings,
        }
    )
    async with Storage.connect(chosen) as storage:
        await storage.ensure(
            (models, converted, chosen.in_flight_container, chosen.embedded_container),
            (chosen.embedded_queue,),
        )
        requests = Requests(storage, chosen)
        containers = Containers(chosen, storage)
        outbound = Outbound(chosen)
        api = build_api(chosen, storage, requests, containers, outbound)
        yield Bundle(chosen, storage, requests, containers, outbound, api, models, converted)


@asynccontextmanager
async def serve(app: FastAPI, port: int = 0) -> AsyncIterator[str]:
    """The app on a free port of this machine, or a given one, for clients that need one; its address."""

    async def answer(request: web.BaseRequest) -> web.Response:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.path,
            "raw_path": request.raw_path.encode(),
            "query_string": request.query_string.encode(),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
            "server": ("127.0.0.1", 80),
        }
        body = await request.read()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        headers = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return web.Response(status=sent[0]["status"], headers=headers, body=content)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def working(bundle: Bundle, worker: Worker) -> AsyncIterator[None]:
    """Works the queue off in the background, as the queue trigger does."""

    async def work() -> None:
        while True:
            for key, message in await bundle.take():
                await worker.run(key, message)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_id() -> str:
    return str(uuid.uuid4())
