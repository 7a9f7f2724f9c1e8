"""Autodesk's own Node clients against the embedded service, over HTTP, with real conversions."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local.azurite import Azurite
from local.config import EMBEDDED_ACCOUNT_ID, EMBEDDED_ACCOUNT_KEY
from local.host import running
from local.places import NODE_MODULES, ROOT
from shared.embedded.converter import Converter
from tests.embedded.bundle import ACCOUNT_ID, ACCOUNT_KEY, serve, start, working
from tests.embedded.models import obj

SCRIPT = Path(__file__).with_name("model_derivative_sdk.cjs")

# Three parts of the client's 5 MiB; the conversion does not care for comments.
PADDED = obj() + b"# so that it has several parts\n" * 400_000


@pytest.fixture(scope="module")
async def converter() -> AsyncIterator[Converter]:
    running = Converter()
    yield running
    await running.close()


@pytest.fixture(scope="module")
def node_path() -> str:
    """Where Node finds the clients."""
    places = [str(NODE_MODULES), *filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep))]
    if not any(Path(place, "@aps_sdk").is_dir() for place in places):
        pytest.skip("Autodesk's clients are not installed: run npm ci in local/")
    return os.pathsep.join(places)


async def client(node_path: str, given: dict[str, Any]) -> dict[str, Any]:
    """Runs the script; what it saw."""
    running = await asyncio.create_subprocess_exec(
        "node",
        str(SCRIPT),
        json.dumps(given),
        env={**os.environ, "NODE_PATH": node_path},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await running.communicate()
    assert running.returncode == 0, error.decode()[-4000:]
    saw: dict[str, Any] = json.loads(out[out.index(b"{") :])
    return saw


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """What the script is told, but for where the server is."""
    (tmp_path / "box.obj").write_bytes(PADDED)
    return {
        "bucket": "conformance",
        "key": "folder/a box.obj",
        "model": str(tmp_path / "box.obj"),
        "folder": str(tmp_path),
    }


@pytest.mark.parametrize("typed", [False, True], ids=["address as text", "address as URL, paths with //"])
async def test_from_the_token_to_the_deletion(
    azurite: Azurite, converter: Converter, node_path: str, given: dict[str, Any], typed: bool
) -> None:
    # Without an address of its own, links lead to where the call came in.
    elsewhere = {
        "website_hostname": None,
        "remote_rendering_endpoint": "https://service.test",
        "remote_rendering_account_id": ACCOUNT_ID,
        "embedded_apis": "model-derivative",
    }
    async with (
        start(azurite, **elsewhere) as bundle,
        serve(bundle.api) as base,
        working(bundle, bundle.worker(converter)),
    ):
        server = {"base": base, "typed": typed, "id": ACCOUNT_ID, "secret": ACCOUNT_KEY}
        check(await client(node_path, given | server), Path(given["folder"]))


async def test_from_the_token_to_the_deletion_on_the_development_host(
    node_path: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `make serve` keeps up: the app in Microsoft's runtime library, and its queue trigger."""
    monkeypatch.delenv("MODEL_STORAGE", raising=False)
    async with running(ROOT, tmp_path / "state", os.environ) as host:
        server = {
            "base": host.endpoints.functions,
            "typed": False,
            "id": EMBEDDED_ACCOUNT_ID,
            "secret": EMBEDDED_ACCOUNT_KEY,
        }
        check(await client(node_path, given | server), tmp_path)


def check(saw: dict[str, Any], folder: Path) -> None:
    """Judges what the script saw by content: the client itself validates nothing."""
    assert saw["token"] == {"expires_in": 3600, "type": "Bearer"}
    assert saw["bucket"]["bucketKey"] == saw["bucketDetails"]["bucketKey"] == "conformance"
    assert saw["bucketAgain"] == 409
    assert saw["object"]["size"] == saw["objectDetails"]["size"] == len(PADDED)
    assert saw["object"]["objectId"] == "urn:adsk.objects:os.object:conformance/folder/a box.obj"
    urn = base64.urlsafe_b64encode(saw["object"]["objectId"].encode()).decode().rstrip("=")

    assert saw["early"] == 404
    assert "obj" in saw["formats"]["stl"]
    assert (saw["job"]["result"], saw["job"]["urn"]) == ("success", urn)
    assert saw["busy"] == 409
    assert saw["again"]["result"] == "created"
    assert saw["again"]["acceptedJobs"]["output"]["formats"][0] == {"type": "obj"}
    assert (saw["manifest"]["status"], saw["manifest"]["hasThumbnail"]) == ("success", "true")
    assert saw["manifest"]["region"] == "US"

    for name, file in saw["files"].items():
        data = (folder / name).read_bytes()
        assert (file["status"], file["size"], file["head"]) == (200, len(data), len(data)), name
        assert base64.b64decode(file["part"]) == data[10:20]
    by_type = {file["type"]: (folder / name).read_bytes() for name, file in saw["files"].items()}
    assert by_type["stl"].count(b"facet normal") == 4
    faces = [line for line in (folder / "a box.obj").read_bytes().splitlines() if line.startswith(b"f ")]
    assert len(faces) == 4
    assert (folder / "picture.png").read_bytes() == by_type["thumbnail"]
    assert by_type["thumbnail"].startswith(b"\x89PNG")

    (view,) = saw["views"]["data"]["metadata"]
    assert view["role"] == "3d"
    (top,) = saw["tree"]["data"]["objects"]
    assert (top["objectid"], top["name"]) == (1, "a box.obj")
    ids = {one["objectid"] for one in saw["properties"]["data"]["collection"]}
    assert {child["objectid"] for child in top["objects"]} <= ids
    assert saw["some"]["pagination"] == {"limit": 5, "offset": 0, "totalResults": 1}
    assert saw["some"]["data"]["collection"] == [{"objectid": 1, "name": "a box.obj"}]

    assert saw["deleted"]["result"] == saw["deletedAgain"]["result"] == "success"
    assert (saw["gone"], saw["noObject"], saw["noSource"]) == (404, 404, 404)
