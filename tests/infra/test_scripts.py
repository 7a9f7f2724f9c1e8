"""The hook that makes the event subscription, with a stand-in for the Azure CLI."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from local.places import ROOT

SCRIPT = ROOT / "infra" / "scripts" / "subscribe.sh"
OUTPUTS = {
    "RESOURCE_GROUP": "rg-test",
    "FUNCTION_APP_NAME": "func-test",
    "SYSTEM_TOPIC_NAME": "evgt-test",
    "DATA_ACCOUNT_NAME": "stdatatest",
    "MODELS_CONTAINER": "models",
    "DEAD_LETTER_CONTAINER": "event-dead-letters",
}
SECRET = "aGtleS10aGF0LW11c3Qtbm90LWJlLXNlZW4="


def subscribe(tmp_path: Path, az: str, **changes: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Runs the script; what it did, and the command lines that it gave to az."""
    calls = tmp_path / "calls"
    calls.touch()
    command = tmp_path / "az"
    command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{calls}\n{az}\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SUBSCRIBE_WAIT_SECONDS": "0"}
    done = subprocess.run(
        ["sh", str(SCRIPT)], env=environment | OUTPUTS | changes, capture_output=True, text=True, timeout=60
    )
    return done, calls.read_text().splitlines()


def test_it_deploys_the_second_pass_with_the_outputs_of_the_first(tmp_path: Path) -> None:
    done, (call,) = subscribe(tmp_path, "exit 0")
    assert done.returncode == 0, done.stderr
    assert "deployment group create --resource-group rg-test" in call
    assert "--template-file infra/events.bicep" in call
    assert "appName=func-test topicName=evgt-test dataAccountName=stdatatest modelsContainer=models" in call
    assert "stdatatest/models" in done.stdout


def test_it_waits_for_an_app_that_is_not_ready(tmp_path: Path) -> None:
    done, calls = subscribe(tmp_path, f'[ "$(wc -l <{tmp_path / "calls"})" -ge 3 ]')
    assert done.returncode == 0
    assert len(calls) == 3
    assert done.stdout.count("not ready") == 2


def test_it_fails_in_the_end_and_never_shows_a_key(tmp_path: Path) -> None:
    address = f"https://func-test.azurewebsites.net/runtime/webhooks/blobs?functionName=F&code={SECRET}"
    done, calls = subscribe(tmp_path, f'echo "Webhook validation failed for \\"{address}\\"" >&2; exit 1')
    assert done.returncode == 1
    assert len(calls) == 10
    assert "Webhook validation failed" in done.stderr and "code=…" in done.stderr
    assert SECRET not in done.stderr + done.stdout + "".join(calls)


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_an_output_that_is_missing_stops_it_before_anything_is_done(tmp_path: Path, name: str) -> None:
    done, calls = subscribe(tmp_path, "exit 0", **{name: ""})
    assert done.returncode != 0
    assert name in done.stderr
    assert calls == []
