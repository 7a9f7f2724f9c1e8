"""`make run`, end to end: the app itself in Microsoft's runtime library, on an Azurite of its own."""

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from local import run
from local.azurite import KEY
from local.host import Host, running
from local.places import ROOT


@dataclass(frozen=True)
class Served:
    """A host around the app, and the folders that stand in for `.local` and `out`."""

    host: Host
    state: Path
    out: Path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "STATE", folder / "state")
        patch.setattr(run, "OUT", folder / "out")
        patch.delenv("MODEL_STORAGE", raising=False)
        yield folder / "state", folder / "out"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(folders: tuple[Path, Path]) -> AsyncIterator[Served]:
    state, out = folders
    async with running(ROOT, state, os.environ | {"SWEEP_SCHEDULE": "*/3 * * * * *"}) as host:
        yield Served(host, state, out)


def gltf(glb: Path) -> dict[str, Any]:
    """The JSON part of a glb."""
    data = glb.read_bytes()
    (size,) = struct.unpack_from("<I", data, 12)
    content: dict[str, Any] = json.loads(data[20 : 20 + size])
    return content


async def test_the_sample_becomes_a_textured_glb_and_a_picture(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run.convert(run.SAMPLE) == 0  # by the host that is up
    shown = capsys.readouterr().out
    assert "status       success" in shown
    assert "converted/crate/crate.obj/manifest.json" in shown
    folder = served.out / "crate"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "success"
    for derivative in manifest["derivatives"]:
        assert (folder / derivative["name"]).stat().st_size == derivative["size"]
    images = gltf(folder / "crate.glb")["images"]
    assert images
    assert all("bufferView" in image for image in images)


async def test_a_model_that_cannot_be_read_ends_in_a_failed_manifest_and_status_1(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "broken.glb"
    model.write_bytes(b"glTF but not really")
    assert await run.convert(model) == 1
    assert "status       failed" in capsys.readouterr().out
    manifest = json.loads((served.out / "broken" / "manifest.json").read_text())
    assert manifest["messages"]


async def test_every_function_of_the_app_ran(served: Served) -> None:
    names = {function.name for function in served.host.functions}
    returned: set[str] = set()
    async with asyncio.timeout(15):
        while returned != names:
            await asyncio.sleep(0.2)
            lines = (served.state / "host.log").read_text(encoding="utf-8").splitlines()
            records = [json.loads(line) for line in lines]
            returned = {record["function"] for record in records if record["message"] == "returned"}
    assert not [record for record in records if "failed after" in record["message"]]


def test_a_missing_model_is_an_error_before_anything_starts(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["convert", "no/such.obj"]) == 1
    assert "no/such.obj is not there" in capsys.readouterr().err


def test_the_screen_shows_azurites_public_key_and_no_other() -> None:
    local = f"AccountName=devstoreaccount1;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/devstoreaccount1;"
    assert run.shown(local) == local
    own = (
        "DefaultEndpointsProtocol=https;AccountName=cars;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
    )
    assert run.shown(own) == own.replace("c2VjcmV0", "…")
    assert "sig=" not in run.shown("BlobEndpoint=https://cars.test;SharedAccessSignature=sv=1&sig=abc")
