"""Every function, indexed and invoked by Microsoft's own runtime library, as in Azure.

The dictionaries that Azure gets are in ``tests/test_function_app.py``; here the functions run.
"""

import asyncio
import base64
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local.azurite import Azurite
from local.bindings import AppBroken, Function
from local.config import app_settings
from local.listeners.http import HttpListener
from local.log import Log
from local.places import ROOT
from local.protos import load
from local.runtime import Runtime
from shared import paths
from shared.callbacks import Callbacks
from shared.conversion import Conversion

CUBE = (ROOT / "samples" / "cube" / "cube.stl").read_bytes()
MODEL_LIBRARIES = ("numpy", "PIL", "assimp_py", "cascadio", "embreex", "DracoPy", "trimesh", "meshoptimizer")
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Invoked:
    """The function app in a worker of the runtime library; a test is the host, and makes every call."""

    runtime: Runtime
    functions: Mapping[str, Function]
    settings: Mapping[str, str]
    url: str
    log: Path
    blobs: BlobServiceClient
    queues: QueueServiceClient

    async def blob_landed(self, name: str) -> None:
        """As the blob trigger calls, the blob bound as a client."""
        protos = load()
        content = {
            "Connection": "MODEL_STORAGE",
            "ContainerName": self.settings["MODELS_CONTAINER"],
            "BlobName": name,
        }
        data = protos.ModelBindingData(
            version="1.0",
            source="AzureStorageBlobs",
            content_type="application/json",
            content=json.dumps(content).encode(),
        )
        await self.runtime.invoke(
            self.functions["start_conversion"],
            protos.TypedData(model_binding_data=data),
            {"BlobTrigger": protos.TypedData(string=name), "name": protos.TypedData(string=name)},
        )

    async def timer(self, name: str) -> None:
        """As a timer trigger calls."""
        moment = "2026-01-01T00:00:00+00:00"
        status = {"Last": moment, "LastUpdated": moment, "Next": moment}
        info = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": False}
        await self.runtime.invoke(self.functions[name], load().TypedData(json=json.dumps(info)))

    async def message(self, name: str) -> str:
        """As a queue trigger calls, with the next message of its queue; the message's text."""
        queue = self.queues.get_queue_client(str(self.functions[name].trigger["queueName"]))
        message = await queue.receive_message()
        assert message is not None
        text = base64.b64decode(message.content).decode()
        protos = load()
        metadata = {
            "Id": protos.TypedData(string=message.id),
            "DequeueCount": protos.TypedData(json=str(message.dequeue_count)),
        }
        await self.runtime.invoke(self.functions[name], protos.TypedData(string=text), metadata)
        await queue.delete_message(message)
        return text

    async def record(self, model: str) -> Conversion | None:
        """The record of a model in flight."""
        container = self.blobs.get_container_client(self.settings["IN_FLIGHT_CONTAINER"])
        blob = container.get_blob_client(paths.record(model))
        if not await blob.exists():
            return None
        return Conversion.model_validate_json(await (await blob.download_blob()).readall())

    async def manifest(self, model: str) -> dict[str, Any]:
        """The manifest of a model, brought about by timers."""
        container = self.blobs.get_container_client(self.settings["CONVERTED_CONTAINER"])
        blob = container.get_blob_client(paths.manifest(model))
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not await blob.exists():
            assert time.monotonic() < give_up
            await asyncio.sleep(0.2)
            await self.timer("poll_conversions")
        manifest: dict[str, Any] = json.loads(await (await blob.download_blob()).readall())
        return manifest


@pytest.fixture(scope="module")
async def invoked(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Invoked]:
    name = secrets.token_hex(4)
    log = tmp_path_factory.mktemp("log") / "log"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        names = {
            f"{use}_{kind}": f"{use}-{name}".lower()
            for use, kind in (
                ("MODELS", "CONTAINER"),
                ("CONVERTED", "CONTAINER"),
                ("EMBEDDED", "CONTAINER"),
                ("EMBEDDED", "QUEUE"),
                ("TRANSFER", "QUEUE"),
            )
        }
        own = {
            **os.environ,
            **names,
            "IN_FLIGHT_CONTAINER": f"in-flight-{name}",
            "EMBEDDED_LINKED_CONTAINERS": "",
            "CONVERT_SINCE": "2020-01-01T00:00:00Z",
            "DEFAULT_FORMATS": '[{"type": "glb"}]',
        }
        settings = app_settings(own, azurite.connection_string, port)
        async with (
            BlobServiceClient.from_connection_string(azurite.connection_string) as blobs,
            QueueServiceClient.from_connection_string(azurite.connection_string) as queues,
            _worker(settings, log) as (runtime, functions),
            _serving(functions["http_api"], runtime, listening) as url,
        ):
            yield Invoked(runtime, functions, settings, url, log, blobs, queues)


@asynccontextmanager
async def _worker(
    settings: Mapping[str, str], file: Path
) -> AsyncIterator[tuple[Runtime, Mapping[str, Function]]]:
    log = Log(file, level="Critical")
    runtime = Runtime(ROOT, settings, log, timeout=None)
    try:
        yield runtime, {function.name: function for function in await runtime.start()}
    finally:
        await runtime.stop()
        log.close()


@asynccontextmanager
async def _serving(function: Function, runtime: Runtime, listening: socket.socket) -> AsyncIterator[str]:
    """The HTTP function at an address; the pipeline calls the embedded service there."""
    runner = web.AppRunner(HttpListener([function], runtime, "").application(), access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        await runner.cleanup()


async def test_a_model_goes_through_every_function(invoked: Invoked) -> None:
    async with httpx.AsyncClient(base_url=invoked.url, trust_env=False) as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()) == (200, {"status": "healthy"})
        models = invoked.blobs.get_container_client(invoked.settings["MODELS_CONTAINER"])
        await models.upload_blob("a/cube one.stl", CUBE)
        await invoked.blob_landed("a/cube one.stl")
        record = await invoked.record("a/cube one.stl")
        assert record is not None
        assert (record.step, record.service) == ("poll", "remote-rendering")

        request = json.loads(await invoked.message("embedded_worker"))["id"]
        assert request.endswith(f"/{record.service_id}")

        key = invoked.settings["EMBEDDED_ACCOUNT_KEY"]
        called = await client.post(Callbacks(invoked.url, key).url(record) or "")
        assert called.status_code == 204
        await invoked.message("transfer_files")
        assert await invoked.record("a/cube one.stl") is None
        assert (await invoked.manifest("a/cube one.stl"))["status"] == "success"

        account = invoked.settings["EMBEDDED_ACCOUNT_ID"]
        listed = await client.get(
            "/conversions?prefix=a/", headers={"Authorization": f"Bearer {account}:{key}"}
        )
        assert [item["status"] for item in listed.json()["conversions"]] == ["success"]
        assert (await client.get("/conversions")).status_code == 401


async def test_timers_find_and_finish_a_model_whose_event_never_came(invoked: Invoked) -> None:
    models = invoked.blobs.get_container_client(invoked.settings["MODELS_CONTAINER"])
    await models.upload_blob("missed.stl", CUBE)
    await invoked.timer("poll_conversions")
    await invoked.timer("find_missed_models")
    assert await invoked.record("missed.stl") is not None
    await invoked.message("embedded_worker")
    assert (await invoked.manifest("missed.stl"))["status"] == "success"


async def test_an_ignored_blob_and_one_that_is_gone_are_no_failures(invoked: Invoked) -> None:
    models = invoked.blobs.get_container_client(invoked.settings["MODELS_CONTAINER"])
    await models.upload_blob("readme.txt", b"hello")
    await invoked.blob_landed("readme.txt")
    await invoked.blob_landed("gone.stl")
    assert await invoked.record("readme.txt") is None
    assert await invoked.record("gone.stl") is None


async def test_locally_the_blob_trigger_scans_the_container_and_nothing_else_differs(
    invoked: Invoked,
) -> None:
    (binding,) = invoked.functions["start_conversion"].bindings
    assert binding == {
        "type": "blobTrigger",
        "direction": "IN",
        "name": "blob",
        "path": f"{invoked.settings['MODELS_CONTAINER']}/{{name}}",
        "connection": "MODEL_STORAGE",
        "source": "LogsAndContainerScan",
        "properties": {"SupportsDeferredBinding": True},
    }


async def imported(settings: Mapping[str, str], code: str) -> tuple[int, str, str]:
    """What a fresh process says that runs ``code`` with these app settings."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_importing_the_function_app_loads_no_model_library(azurite: Azurite) -> None:
    code = (
        "import sys, json, function_app\n"
        f"print(json.dumps([name for name in {MODEL_LIBRARIES} if name in sys.modules]))\n"
        "print('azure.functions' in sys.modules)\n"
    )
    status, output, errors = await imported(app_settings({}, azurite.connection_string, 1), code)
    assert (status, output.split("\n")[:2]) == (0, ["[]", "True"]), errors


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"EMBEDDED_ACCOUNT_KEY": None}, ["EMBEDDED_ACCOUNT_KEY"]),
        ({"EMBEDDED_ACCOUNT_KEY": None, "EMBEDDED_ACCOUNT_ID": "me"}, ["EMBEDDED_ACCOUNT_ID", "_KEY"]),
        ({"MODEL_STORAGE": None}, ["MODEL_STORAGE"]),
        (
            {"MODEL_STORAGE__blobServiceUri": "https://account.blob.core.windows.net"},
            ["MODEL_STORAGE and MODEL_STORAGE__blobServiceUri"],
        ),
        ({"POLL_FLOOR_SECONDS": "400"}, ["POLL_FLOOR_SECONDS"]),
        ({"CONVERTED_CONTAINER": "models"}, ["CONVERTED_CONTAINER"]),
    ],
)
async def test_a_missing_or_contradictory_setting_stops_the_app_with_one_message_that_names_it(
    azurite: Azurite, tmp_path: Path, changes: dict[str, str | None], named: list[str]
) -> None:
    settings: dict[str, Any] = app_settings(os.environ, azurite.connection_string, 1) | changes
    settings = {name: value for name, value in settings.items() if value is not None}
    with pytest.raises(AppBroken) as broken:
        async with _worker(settings, tmp_path / "log"):
            pass
    # Once by itself, and once at the end of the stack trace.
    lines = [line.partition("App settings: ")[2] for line in str(broken.value).splitlines()]
    (message,) = {line for line in lines if line and '"' not in line}
    for name in named:
        assert name in message
    # Not even in the traceback: the worker's log goes to Application Insights.
    told = str(broken.value) + await asyncio.to_thread((tmp_path / "log").read_text)
    assert azurite.connection_string not in told
    assert settings.get("EMBEDDED_ACCOUNT_KEY", azurite.connection_string) not in told
