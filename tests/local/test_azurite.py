"""The storage emulator's life."""

import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from local import azurite as module
from local.azurite import Azurite, AzuriteFailed, Certificate
from local.places import ROOT
from tests.tls import self_signed


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_run_side_by_side_and_stop_leaves_neither() -> None:
    with Azurite.start() as one, Azurite.start() as other:
        assert one.blob_url != other.blob_url
        assert f"BlobEndpoint={one.blob_url}/" in one.connection_string
        assert httpx.get(one.blob_url).status_code >= 400  # it answers, and wants to know who asks
        pids = (one.pid, other.pid)
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)
    one.stop()


def test_it_dies_with_a_killed_parent() -> None:
    script = (
        "import time; from local.azurite import Azurite\n"
        "azurite = Azurite.start(); print(azurite.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    give_up = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_with_a_certificate_it_speaks_tls(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with Azurite.start(certificate) as azurite:
        assert azurite.blob_url.startswith("https://")
        assert azurite.connection_string.startswith("DefaultEndpointsProtocol=https;")
        bearer = {"Authorization": "Bearer x", "x-ms-version": "2026-06-06"}
        context = ssl.create_default_context(cafile=certificate.certificate)
        with httpx.Client(verify=context) as client:
            answer = client.get(f"{azurite.blob_url}/devstoreaccount1?comp=list", headers=bearer)
        assert "Bearer is not allowed" not in answer.text


def test_what_azurite_says_when_it_cannot_start_is_in_the_error(tmp_path: Path) -> None:
    missing = Certificate(tmp_path / "no.pem", tmp_path / "no.key")
    with pytest.raises(AzuriteFailed, match=r"no\.pem"):
        Azurite.start(missing)


def test_a_missing_installation_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "NODE_MODULES", tmp_path)
    with pytest.raises(AzuriteFailed, match="make run"):
        Azurite.start()
