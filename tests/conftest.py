"""What every test may use: one storage emulator for the session, and where real models lie."""

import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.pipeline.transport import AsyncHttpTransport

from local.azurite import Azurite
from shared.embedded.converter import Converter
from tests.pipeline import Pipeline, start

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
"""Models from many programs, beside the checkout; tests that need one skip where it is missing."""


class _Young:
    """Azurite, and a new one when it has been up for long: every ten minutes it stops answering, for
    minutes, to collect the garbage that hundreds of tests have left."""

    _OLD_SECONDS = 300

    def __init__(self) -> None:
        self._running: Azurite | None = None
        self._since = 0.0

    def get(self) -> Azurite:
        if self._running is not None and time.monotonic() - self._since > self._OLD_SECONDS:
            self.stop()
        if self._running is None:
            self._running = Azurite.start()
            self._since = time.monotonic()
        return self._running

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None


@pytest.fixture(scope="session")
def _young() -> Iterator[_Young]:
    young = _Young()
    yield young
    young.stop()


@pytest.fixture(scope="module")
def azurite(_young: _Young) -> Azurite:
    """One Azurite for many tests: each uses containers and queues of its own."""
    return _young.get()


@pytest.fixture
def no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage clients try again at once."""

    async def at_once(transport: object, seconds: float) -> None:
        """Nobody waits."""

    monkeypatch.setattr(AsyncHttpTransport, "sleep", at_once)


_VALIDATE = """
const validator = require("gltf-validator"), fs = require("fs");
const data = new Uint8Array(fs.readFileSync(process.argv[1]));
validator.validateBytes(data, { maxIssues: 0 }).then((report) => console.log(JSON.stringify(report)));
"""


@pytest.fixture(scope="session")
def gltf_validate() -> Callable[[Path], dict[str, Any]]:
    """The Khronos validator: a GLB's path -> its report, as JSON (`issues.numErrors`, `info`, …)."""
    beside = Path(__file__).resolve().parents[1] / "local" / "node_modules"
    places = [str(beside), *filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep))]
    if not any(Path(place, "gltf-validator").is_dir() for place in places):
        pytest.skip("gltf-validator is not installed: run npm ci in local/")

    def validate(path: Path) -> dict[str, Any]:
        environment = {**os.environ, "NODE_PATH": os.pathsep.join(places)}
        done = subprocess.run(
            ["node", "-e", _VALIDATE, str(path)], env=environment, capture_output=True, check=True
        )
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    return validate


@pytest.fixture(scope="session")
async def converter() -> AsyncIterator[Converter]:
    """One engine process for all tests that convert, but do not test the engine's process."""
    running = Converter()
    yield running
    await running.close()


@pytest.fixture
async def pipeline(azurite: Azurite, converter: Converter) -> AsyncIterator[Pipeline]:
    """A whole bundle that makes a glb, and no thumbnail, of whatever lands."""
    async with start(azurite, converter=converter, default_formats='[{"type": "glb"}]') as running:
        yield running
