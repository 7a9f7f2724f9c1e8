"""The memory that the pipeline takes for a small model and for a large one: a process of its own for each.

One service reads and writes blobs itself; to the other one the pipeline sends the model and brings what is
made of it, as large as the model, through `transfer_files`. A large model costs no disk: its blob names one
block again and again. The services answer at once, from inside the process that is measured.

    python -m bench.memory
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from azure.storage.blob import BlobBlock

from bench.tables import table
from bench.tick import settings as reading_settings
from local.azurite import Azurite
from local.places import ROOT
from shared.conversion import Status
from tests.pipeline import Pipeline, start

MEBIBYTE = 1024 * 1024
SMALL, LARGE = 10, 2048
WAYS = ("reads blobs", "gets files by transfer_files")
_API = "http://127.0.0.1:9"
_PIECE = bytes(64 * 1024)


class _Reads(httpx.AsyncBaseTransport):
    """Remote Rendering that has written its output when it is asked first."""

    def __init__(self) -> None:
        self.pipeline: Pipeline | None = None
        self._folder = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert self.pipeline is not None
        if request.method == "POST":
            self._folder = json.loads(await request.aread())["output"]["folderPath"]
            return httpx.Response(200, json={"conversionId": "one"})
        app = self.pipeline.app
        await app.storage.put(app.settings.converted_container, f"{self._folder}/model.glb", b"glTF")
        return httpx.Response(200, json={"status": "Success"})


class _Bytes(httpx.AsyncByteStream):
    def __init__(self, size: int) -> None:
        self._size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._size // len(_PIECE)):
            yield _PIECE


class _IsSent(httpx.AsyncBaseTransport):
    """API2Convert that gives back as many bytes as it is sent."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.received = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/conversions"):
            return httpx.Response(404)
        if path.startswith("/upload-file/"):
            assert isinstance(request.stream, httpx.AsyncByteStream)
            async for piece in request.stream:
                self.received += len(piece)
            return httpx.Response(200, json={"id": "input"})
        if path.startswith("/output/"):
            return httpx.Response(200, stream=_Bytes(self._size))
        output = {"uri": f"{_API}/output/model.glb", "size": self._size, "source": {"conversion": "c"}}
        job = {"id": "job", "server": _API, "token": "token", "status": {"code": "completed"}, "input": []}
        return httpx.Response(
            200, json=job | {"conversion": [{"id": "c", "target": "glb"}], "output": [output]}
        )


async def land(pipeline: Pipeline, path: str, mebibytes: int) -> None:
    """A model of so many MiB."""
    client = pipeline.app.storage.blob(pipeline.app.settings.models_container, path)
    await client.stage_block("only", bytes(MEBIBYTE))
    await client.commit_block_list([BlobBlock("only")] * mebibytes)


async def convert(azurite: Azurite, way: str, mebibytes: int) -> None:
    """One model from its event to its manifest."""
    changes: dict[str, Any]
    service: _Reads | _IsSent
    if way == WAYS[0]:
        service, changes = _Reads(), reading_settings()
    else:
        service = _IsSent(mebibytes * MEBIBYTE)
        changes = {
            "default_service": "api2convert",
            "api2convert_api_key": "a key",
            "api2convert_url": f"{_API}/v2",
            "api2convert_upload": True,
        }
    async with start(azurite, http=service, default_formats='[{"type": "glb"}]', **changes) as pipeline:
        if isinstance(service, _Reads):
            service.pipeline = pipeline
        await land(pipeline, "model.stl", mebibytes)
        await pipeline.event("model.stl")
        await pipeline.settle()
        manifest = await pipeline.manifest("model.stl")
        assert manifest.status is Status.SUCCESS, manifest.errors
        if isinstance(service, _IsSent):
            assert service.received > mebibytes * MEBIBYTE
            assert manifest.derivatives[0].size == mebibytes * MEBIBYTE


def peak() -> float:
    """The most MiB that this process has had in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


def measured(way: str, mebibytes: int) -> float:
    """The peak of a new process that converts one model, in MiB."""
    command = [sys.executable, "-m", "bench.memory", way, str(mebibytes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


async def _child(way: str, mebibytes: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-memory-"))
    azurite = Azurite.start(folder=folder)
    try:
        await convert(azurite, way, mebibytes)
    finally:
        azurite.stop()
        shutil.rmtree(folder)
    print(peak())


def main() -> None:
    """Prints the peaks, and how they differ."""
    rows = []
    for way in WAYS:
        small, large = measured(way, SMALL), measured(way, LARGE)
        rows.append((way, f"{small:.1f} MiB", f"{large:.1f} MiB", f"{large / small - 1:+.1%}"))
    print("### Memory of the pipeline")
    table(("the service", f"a model of {SMALL} MiB", f"of {LARGE:,} MiB", "difference"), rows)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(_child(sys.argv[1], int(sys.argv[2])))
    else:
        main()
