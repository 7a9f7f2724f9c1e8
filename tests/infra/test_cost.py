"""The counts behind the cost sheet: what one conversion, one tick and one sweep really ask for, by kind."""

import importlib.util
import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from azure.core.pipeline.transport import AioHttpTransport

from local.azurite import Azurite
from local.places import ROOT
from shared.telemetry import logger
from tests.copier import Copier
from tests.pipeline import Pipeline, start

SCRIPT = ROOT / "infra" / "scripts" / "cost.py"
FILE = ROOT / "infra" / "cost.json"
CRATE = ROOT / "samples" / "crate"

Counted = dict[str, dict[str, int]]


class Meter(logging.Handler):
    """Counts log lines, and what else it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.kinds["log line"] += 1

    def take(self) -> Counter[str]:
        """The counts so far, which start again at nothing."""
        taken, self.kinds = self.kinds, Counter()
        return taken


def kind(request: Any, queues: str) -> str:
    """What the price list calls a request to storage."""
    url = urlsplit(str(request.url))
    comp = parse_qs(url.query).get("comp", [""])[0]
    if url.netloc == urlsplit(queues).netloc:
        return "queue"
    if comp == "list":
        return "blob list"
    if comp in ("lease", "metadata", "properties", "userdelegationkey") or request.method == "HEAD":
        return "blob other"
    return {"GET": "blob read", "PUT": "blob write", "DELETE": "blob delete"}[request.method]


class HttpCalls(httpx.AsyncBaseTransport):
    """Counts the calls of the app to itself: each is a run of the HTTP function."""

    def __init__(self, own: httpx.AsyncBaseTransport, counter: Meter) -> None:
        self._own = own
        self._counter = counter

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._counter.kinds["function run"] += 1
        return await self._own.handle_async_request(request)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def counted(azurite: Azurite) -> AsyncIterator[Counted]:
    """The sample crate (OBJ, MTL, three textures) to glb and thumbnail, by the embedded service.

    The converter copies: what the engine does asks nothing of storage.
    """
    counter = Meter()
    real = AioHttpTransport.send

    async def send(self: AioHttpTransport, request: Any, **options: Any) -> Any:
        counter.kinds[kind(request, azurite.queue_url)] += 1
        return await real(self, request, **options)

    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(counter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AioHttpTransport, "send", send)
        async with start(azurite, wrap=lambda own: HttpCalls(own, counter), converter=Copier()) as bundle:
            # The first conversion ever also fetches a token and makes the tick's lock.
            await conversion(bundle, "first", counter)
            tick = await idle_tick(bundle, counter)
            whole = await conversion(bundle, "second", counter)
            await bundle.app.sweep.run()
            sweep = counter.take()
    logger.removeHandler(counter)
    logger.setLevel(level)
    sweep["function run"] += 1
    # One event, the run of the blob trigger, of the worker, and of the transfer queue for the callback.
    whole.update({"event": 1, "function run": 3})
    yield {"conversion": dict(whole), "tick": dict(tick), "sweep": dict(sweep)}


async def conversion(bundle: Pipeline, folder: str, counter: Meter) -> Counter[str]:
    """A model lands when its companions have, is polled once while it is worked on, and ends."""
    for file in sorted(CRATE.rglob("*")):
        if file.is_file() and file.suffix != ".obj":
            await bundle.upload(f"{folder}/{file.relative_to(CRATE)}", file.read_bytes())
    await bundle.upload(f"{folder}/crate.obj", (CRATE / "crate.obj").read_bytes())
    counter.take()
    await bundle.event(f"{folder}/crate.obj")
    requests = await bundle.requests()
    bundle.later(10)
    await bundle.app.tick.run()
    for request in requests:
        await bundle.run(request)
    await bundle.work()
    assert not await bundle.records()
    taken = counter.take()
    # Looking whether queues and records are empty is the test's own, and a tick is counted by itself.
    taken.subtract({"queue": 3, "blob list": 1})
    taken.subtract({"blob list": 1, "blob other": 2, "log line": 1})
    return +taken


async def idle_tick(bundle: Pipeline, counter: Meter) -> Counter[str]:
    counter.take()
    await bundle.app.tick.run()
    taken = counter.take()
    return taken + Counter({"function run": 1})


def test_the_counts_of_the_sheet_are_those_of_a_run(counted: Counted) -> None:
    assert json.loads(FILE.read_text(encoding="utf-8"))["counted"] == counted


def test_the_sheet_in_the_documentation_is_the_scripts() -> None:
    printed = subprocess.run(
        [sys.executable, str(SCRIPT), "--conversions", "10000", "--seconds", "20"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed in (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")


def test_the_arithmetic() -> None:
    module = script()
    counted = {
        "conversion": {"blob write": 2, "function run": 3},
        "tick": {"blob write": 1, "function run": 1},
        "sweep": {"function run": 1},
    }
    prices = {"blob write": (5, 10), "function run": (1, 100), "GB-second": (0.5, 1)}
    month = module.month(counted, prices, 100, 11)
    assert month["blob write"] == (200 + 86_400, 43_300)
    assert month["function run"] == (300 + 86_400 + 2_880, 895.8)
    assert month["GB-second"] == (4 * (89_580 + 100 * 10), 181_160)


def test_prices_are_inputs(tmp_path: Path) -> None:
    own = tmp_path / "prices.json"
    own.write_text('{"prices": {"blob write": [20000, 10000]}}')
    command = [sys.executable, str(SCRIPT), "--prices", str(own), "--conversions", "0"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "20000 / 10,000" in printed


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cost", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
