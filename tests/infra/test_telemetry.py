"""Events arrive in Application Insights as customDimensions: by the real worker and exporter."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiohttp import web

from local.azurite import Azurite
from local.config import app_settings as local_settings
from local.log import Log
from local.places import ROOT
from local.protos import load
from local.runtime import Runtime
from tests.infra.bicep import Deployment
from tests.infra.checks import as_azure_gives_them
from tests.pipeline import settings_for

PATIENCE_SECONDS = 60


class Ingestion:
    """Where the exporter sends telemetry: it keeps every item."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        data = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        found = json.loads(data)
        self.items += found
        self.arrived.set()
        return web.json_response({"itemsReceived": len(found), "itemsAccepted": len(found), "errors": []})

    def events(self, name: str) -> list[dict[str, Any]]:
        """The base data of the traces with this event."""
        traces = [item["data"]["baseData"] for item in self.items if item["name"].endswith("Message")]
        return [trace for trace in traces if trace.get("properties", {}).get("event") == name]


@pytest_asyncio.fixture(loop_scope="session")
async def ingestion() -> AsyncIterator[Ingestion]:
    running = Ingestion()
    application = web.Application()
    application.router.add_post("/{path:.*}", running.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield running
    await runner.cleanup()


async def test_an_event_of_the_deployed_app_arrives_with_its_dimensions(
    deployment: Deployment, azurite: Azurite, ingestion: Ingestion, tmp_path: Path
) -> None:
    settings = as_azure_gives_them(deployment)
    # Here is no managed identity: storage by its connection string, telemetry without a token.
    for name in list(settings):
        if name.startswith(("MODEL_STORAGE__", "AzureWebJobsStorage__")) or name.endswith(
            "AUTHENTICATION_STRING"
        ):
            del settings[name]
    settings |= {"MODEL_STORAGE": azurite.connection_string, "LOCAL": "true", "PATH": os.environ["PATH"]}
    settings["EMBEDDED_BLOB_URL"] = local_settings({}, azurite.connection_string, 1)["EMBEDDED_BLOB_URL"]
    own = settings_for(azurite)
    settings |= {name.upper(): own[name] for name in own if name.endswith(("_container", "_queue"))}
    settings["APPLICATIONINSIGHTS_CONNECTION_STRING"] = (
        f"InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint={ingestion.url}"
    )
    settings["APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL"] = "true"
    log = Log(tmp_path / "log")
    runtime = Runtime(ROOT, settings, log, timeout=PATIENCE_SECONDS)
    try:
        functions = {function.name: function for function in await runtime.start()}
        await runtime.invoke(functions["poll_conversions"], load().TypedData(json="{}"))
        await runtime.invoke(functions["find_missed_models"], load().TypedData(json="{}"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not ingestion.events("queues"):
                ingestion.arrived.clear()
                await ingestion.arrived.wait()
    finally:
        await runtime.stop()
        log.close()
    (tick,) = ingestion.events("tick")  # once: the app adds no exporter to the worker's own
    assert tick["message"].startswith("tick in_flight=0 ")
    assert tick["properties"]["in_flight"] == "0"
    assert tick["properties"]["in_poll"] == "0"
    (queues,) = ingestion.events("queues")
    assert queues["properties"] | {"embedded": "0", "transfer": "0", "poison": "0"} == queues["properties"]
    # Calls to storage and services would be told with their addresses, and an address may hold a SAS.
    assert not [item for item in ingestion.items if item["name"].endswith("RemoteDependency")]
