"""`make run` and `make serve`.

python -m local.run convert [model]    one model end to end; exit status 0 only on success
python -m local.run serve              until Ctrl-C
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient

from local.azurite import KEY, AzuriteFailed
from local.bindings import AppBroken
from local.config import ConfigError, own_values
from local.host import ENDPOINTS, AlreadyRunning, published, running
from local.models import NoModel, Part, parts
from local.places import OUT, ROOT, STATE
from shared import paths

SAMPLE = ROOT / "samples" / "crate" / "crate.obj"
LOOK_SECONDS = 0.25
INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """The exit status."""
    command, model = arguments[0], "".join(arguments[1:2])
    work = serve() if command == "serve" else convert(Path(model) if model else SAMPLE)
    try:
        return asyncio.run(until_signal(work))
    except asyncio.CancelledError:
        return 0 if command == "serve" else INTERRUPTED
    except (AlreadyRunning, AppBroken, AzureError, AzuriteFailed, ConfigError, NoModel) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


async def serve() -> int:
    """Keeps the app up until it is interrupted."""
    async with running(ROOT, STATE, os.environ) as host:
        print(f"functions  {host.endpoints.functions}")
        print(f"storage    {shown(host.endpoints.storage)}")
        print(f"account    {host.endpoints.account_id}")
        print(f"also in    {STATE / ENDPOINTS}; logs in {STATE / 'host.log'}", flush=True)
        await host.failed
    return 0


def shown(connection: str) -> str:
    """A connection string for the screen: without its secret, unless that is Azurite's public key."""
    if KEY in connection:
        return connection
    return re.sub(r"((?:AccountKey|SharedAccessSignature)=)[^;]*", r"\1…", connection)


async def convert(model: Path) -> int:
    """Uploads `model`, waits for its manifest, and copies what it names to `out/`.

    By the host that `make serve` keeps up in this folder, or else by one of its own.
    """
    upload = parts(model)
    while True:
        try:
            async with running(ROOT, STATE, os.environ, level="Warning") as host:
                return await host.during(_convert(upload, host.endpoints.storage, host.environment))
        except AlreadyRunning:
            if endpoints := published(STATE):
                return await _convert(upload, endpoints.storage, own_values(ROOT, os.environ))
        await asyncio.sleep(LOOK_SECONDS)  # the other host is still starting, or just ending


async def _convert(upload: tuple[Part, ...], connection: str, settings: Mapping[str, str]) -> int:
    path = upload[-1].blob
    converted = settings.get("CONVERTED_CONTAINER", "converted")
    async with BlobServiceClient.from_connection_string(connection) as storage:
        etag = await _upload(storage, settings.get("MODELS_CONTAINER", "models"), upload)
        manifest = await _wait(storage, settings, path, etag)
        print(json.dumps(manifest, indent=2, ensure_ascii=False))
        out = await _copy(storage, converted, manifest, OUT / PurePosixPath(path).parent)
    print(f"\nmanifest     {converted}/{paths.manifest(path)}")
    for derivative in manifest.get("derivatives", []):
        print(f"derivative   {converted}/{derivative['path']}")
    print(f"copied to    {out}")
    for message in manifest.get("messages", []):
        print(f"{message['type']:<12} {message['code']}: {message['message']}")
    print(f"status       {manifest['status']}")
    return 0 if manifest["status"] == "success" else 1


async def _upload(storage: BlobServiceClient, container: str, upload: tuple[Part, ...]) -> str:
    """Companions first, so that the model never waits for them; returns the model's ETag."""
    with contextlib.suppress(ResourceExistsError):
        await storage.create_container(container)
    etag = ""
    for part in upload:
        print(f"uploading    {container}/{part.blob}", flush=True)
        with part.file.open("rb") as stream:
            blob = storage.get_blob_client(container, part.blob)
            etag = (await blob.upload_blob(stream, overwrite=True))["etag"]
    return etag


async def _wait(
    storage: BlobServiceClient, settings: Mapping[str, str], path: str, etag: str
) -> dict[str, Any]:
    """The final manifest of this version of the model. Shows how it gets there."""
    converted = storage.get_container_client(settings.get("CONVERTED_CONTAINER", "converted"))
    in_flight = storage.get_container_client(settings.get("IN_FLIGHT_CONTAINER", "in-flight"))
    started = time.monotonic()
    shown = ""
    while True:
        with contextlib.suppress(ResourceNotFoundError):
            download = await converted.download_blob(paths.manifest(path))
            manifest: dict[str, Any] = json.loads(await download.readall())
            if manifest["source"]["etag"].strip('"') == etag.strip('"'):
                _show(f"{time.monotonic() - started:6.1f} s  {manifest['status']}", last=True)
                return manifest
        step = "waiting for the trigger"
        with contextlib.suppress(ResourceNotFoundError):
            download = await in_flight.download_blob(paths.record(path))
            record = json.loads(await download.readall())
            step = record["step"]
            if record.get("missing"):
                step += f": waiting for {', '.join(record['missing'])} to land beside the model"
        if step != shown or sys.stdout.isatty():
            _show(f"{time.monotonic() - started:6.1f} s  {step}")
        shown = step
        await asyncio.sleep(LOOK_SECONDS)


def _show(line: str, *, last: bool = False) -> None:
    """One line that changes on a terminal, one line per change elsewhere."""
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="\n" if last else "", flush=True)
    else:
        print(line, flush=True)


async def _copy(storage: BlobServiceClient, container: str, manifest: dict[str, Any], out: Path) -> Path:
    """Writes the manifest and everything it names into the folder `out`, emptied before."""
    _empty(out)
    (out / paths.MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False), encoding="utf-8")
    derivatives = manifest.get("derivatives", [])
    children = [child for derivative in derivatives for child in derivative.get("children", [])]
    for named in [*derivatives, *children, *manifest.get("logs", [])]:
        download = await storage.get_blob_client(container, named["path"]).download_blob()
        # Companions of a derivative are found relative to it, so they keep their folders.
        with _target(out, named["path"].partition(f"/{manifest['id']}/")[2]).open("wb") as file:
            async for chunk in download.chunks():
                file.write(chunk)
    return out


def _target(out: Path, name: str) -> Path:
    target = out / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


async def until_signal(work: Coroutine[Any, Any, int]) -> int:
    """Runs `work`; SIGINT, SIGTERM and SIGHUP cancel it once, and let it clean up."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _cancel_once, task)
    return await task


def _cancel_once(task: "asyncio.Task[int]") -> None:
    if not task.cancelling():
        task.cancel()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
