"""The whole product as a user has it: a host, a model dropped into storage, and what then appears there."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cascadio
import httpx
import numpy as np
import pytest
import trimesh
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from PIL import Image

from local.places import ROOT
from shared import paths
from tests import fbx
from tests.conftest import MODELS

CRATE = ROOT / "samples" / "crate"
# `make serve`, but for its folder: one of these is up where somebody works.
SERVE = (
    "import pathlib, sys; from local import run; run.STATE = pathlib.Path(sys.argv[1]); run.main(['serve'])"
)
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Bounds:
    """What an independent reader finds: triangles, the box in metres, and pictures."""

    triangles: int
    low: Any
    high: Any
    textures: int


class Served:
    """The host's process, and the storage it watches."""

    def __init__(self, state: Path, endpoints: dict[str, str]) -> None:
        self.state = state
        self.endpoints = endpoints
        self.storage = BlobServiceClient.from_connection_string(endpoints["storage"])

    def drop(self, path: str, data: bytes) -> None:
        """Puts a blob into the models container, and no more."""
        self.storage.get_blob_client("models", path).upload_blob(data, overwrite=True)

    def manifest(self, path: str) -> dict[str, Any]:
        """The manifest of a model, as soon as it is there."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                manifest: dict[str, Any] = json.loads(self.converted(paths.manifest(path)))
                return manifest
            except ResourceNotFoundError:
                assert time.monotonic() < give_up, f"no manifest of {path}"
                time.sleep(0.2)

    def converted(self, path: str) -> bytes:
        """A blob of the converted container."""
        return self.storage.get_blob_client("converted", path).download_blob().readall()

    def derivative(self, manifest: dict[str, Any], kind: str) -> bytes:
        """The one derivative of a type."""
        (found,) = [item for item in manifest["derivatives"] if item["outputType"] == kind]
        return self.converted(found["path"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("serve")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODEL_STORAGE")}
    with (state / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(state)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        endpoints = state / "endpoints.json"
        try:
            give_up = time.monotonic() + PATIENCE_SECONDS
            while not endpoints.exists() or not endpoints.stat().st_size:
                assert process.poll() is None, (state / "output").read_text()
                assert time.monotonic() < give_up, (state / "output").read_text()
                time.sleep(0.1)
            running = Served(state, json.loads(endpoints.read_text()))
            yield running
            running.storage.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert not endpoints.exists()
    told = (state / "host.log").read_text() + (state / "output").read_text()
    assert "sig=" not in told
    assert running.endpoints["account_key"] not in told


@pytest.fixture(scope="module")
def crate(served: Served) -> dict[str, Any]:
    """The manifest of a textured OBJ, whose parts landed in no good order."""
    served.drop("toys/crate.obj", (CRATE / "crate.obj").read_bytes())
    served.drop("toys/crate.mtl", (CRATE / "crate.mtl").read_bytes())
    for picture in (CRATE / "textures").iterdir():
        served.drop(f"toys/textures/{picture.name}", picture.read_bytes())
    return served.manifest("toys/crate.obj")


def document(glb: bytes) -> dict[str, Any]:
    size = int.from_bytes(glb[12:16], "little")
    content: dict[str, Any] = json.loads(glb[20 : 20 + size])
    return content


def found_in(glb: bytes) -> Bounds:
    """By an independent reader of glTF."""
    scene = trimesh.load_scene(io.BytesIO(glb), file_type="glb", process=False)
    images = document(glb).get("images", [])
    return Bounds(len(scene.triangles), scene.bounds[0], scene.bounds[1], len(images))


def test_the_endpoints_are_those_that_the_design_names(served: Served) -> None:
    assert set(served.endpoints) == {"functions", "storage", "account_id", "account_key"}
    url, account = served.endpoints["functions"], served.endpoints["account_id"]
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/health").json() == {"status": "healthy"}
        bearer = {"Authorization": f"Bearer {account}:{served.endpoints['account_key']}"}
        assert "AccessToken" in client.get(f"/Accounts/{account}/token", headers=bearer).json()
        assert client.get("/conversions", headers=bearer).status_code == 200
    assert {"models", "converted"} <= {container.name for container in served.storage.list_containers()}


def test_a_textured_obj_becomes_a_success_with_everything_it_names(
    served: Served, crate: dict[str, Any]
) -> None:
    assert (crate["status"], crate["messages"]) == ("success", [])
    assert {item["path"] for item in crate["source"]["companions"]} == {
        "toys/crate.mtl",
        *(f"toys/textures/{picture.name}" for picture in (CRATE / "textures").iterdir()),
    }
    for item in (*crate["derivatives"], *crate["logs"]):
        assert len(served.converted(item["path"])) == item["size"]


def test_its_glb_holds_its_textures_and_is_valid(
    served: Served, crate: dict[str, Any], tmp_path: Path, gltf_validate: Callable[[Path], dict[str, Any]]
) -> None:
    glb = served.derivative(crate, "glb")
    images = document(glb)["images"]
    assert len(images) == len(list((CRATE / "textures").iterdir()))
    assert all("bufferView" in image and "uri" not in image for image in images)
    (tmp_path / "crate.glb").write_bytes(glb)
    assert gltf_validate(tmp_path / "crate.glb")["issues"]["numErrors"] == 0
    found, source = found_in(glb), trimesh.load_scene(CRATE / "crate.obj", process=False)
    assert found.triangles == len(source.triangles) == crate["statistics"]["triangles"]
    assert np.allclose((found.low, found.high), source.bounds, atol=1e-5)


def test_its_thumbnail_is_a_picture_of_something(served: Served, crate: dict[str, Any]) -> None:
    with Image.open(io.BytesIO(served.derivative(crate, "thumbnail"))) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    assert pixels.shape == (400, 400, 4)
    drawn = (pixels != pixels[0, 0]).any(axis=2)
    assert 0.05 < drawn.mean() < 0.95
    assert not (drawn[0].any() or drawn[-1].any() or drawn[:, 0].any() or drawn[:, -1].any())
    assert len(np.unique(pixels[drawn], axis=0)) > 16


def step_source(data: bytes) -> Bounds:
    """OpenCASCADE's own reading at the deviation that the engine promises, a tenth of a millimetre."""
    glb = cascadio.load(data, file_type="step", tol_linear=0.1, tol_angular=0.5)
    return found_in(glb)


def fbx_source(data: bytes) -> Bounds:
    geometry = fbx.read(data)
    metres = geometry.unit / 100
    return Bounds(geometry.triangles, geometry.low * metres, geometry.high * metres, 0)


def stl_source(data: bytes) -> Bounds:
    """The format has no unit and no picture: its numbers pass as they are."""
    mesh = trimesh.load_mesh(io.BytesIO(data), file_type="stl", process=False)
    return Bounds(len(mesh.triangles), mesh.bounds[0], mesh.bounds[1], 0)


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")
@pytest.mark.parametrize(
    ("model", "source"),
    [
        ("step/as1-oc-214.stp", step_source),
        ("fbx/Y_Bot.fbx", fbx_source),
        ("gltf/DamagedHelmet.glb", found_in),
        ("stl/counter.unitsmm.STL", stl_source),
    ],
)
def test_real_models_arrive_as_an_independent_reader_finds_them(
    served: Served,
    model: str,
    source: Callable[[bytes], Bounds],
    tmp_path: Path,
    gltf_validate: Callable[[Path], dict[str, Any]],
) -> None:
    data = (MODELS / model).read_bytes()
    served.drop(model, data)
    manifest = served.manifest(model)
    assert manifest["status"] == "success", manifest
    glb = served.derivative(manifest, "glb")
    found, expected = found_in(glb), source(data)
    assert found.triangles == expected.triangles == manifest["statistics"]["triangles"]
    assert np.allclose((found.low, found.high), (expected.low, expected.high), rtol=1e-4, atol=1e-4)
    box = manifest["statistics"]["boundingBox"]
    assert np.allclose((found.low, found.high), (box["min"], box["max"]), rtol=1e-4, atol=1e-4)
    assert found.textures == expected.textures == manifest["statistics"]["textures"]
    (tmp_path / "model.glb").write_bytes(glb)
    assert gltf_validate(tmp_path / "model.glb")["issues"]["numErrors"] == 0
