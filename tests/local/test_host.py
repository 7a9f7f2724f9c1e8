"""The host's own life: what it publishes, refuses, and leaves behind."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from local.azurite import Azurite
from local.bindings import AppBroken
from local.config import EMBEDDED_ACCOUNT_ID, EMBEDDED_ACCOUNT_KEY, ConfigError
from local.host import AlreadyRunning, published, running
from local.places import ROOT
from tests.local.conftest import APP, SETTINGS, Tiny

MARK = "TINY_HOST_MARK"


def marked(mark: str) -> list[int]:
    """The processes that inherited a mark, and so descend from the host that got it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@contextmanager
def started(state: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A host in a process of its own, when it is up; and its mark."""
    mark = str(uuid.uuid4())
    environment = os.environ | {MARK: mark}
    environment.pop("MODEL_STORAGE", None)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.local.tiny_host", str(state)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline()
            yield process, mark
        finally:
            process.kill()


def none_left(mark: str) -> bool:
    give_up = time.monotonic() + 10
    while marked(mark):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


def test_the_endpoints_are_published_for_the_owner_only(tiny: Tiny) -> None:
    file = tiny.state / "endpoints.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    endpoints = json.loads(file.read_text())
    assert endpoints == {
        "functions": tiny.host.endpoints.functions,
        "storage": tiny.host.environment["MODEL_STORAGE"],
        "account_id": EMBEDDED_ACCOUNT_ID,
        "account_key": EMBEDDED_ACCOUNT_KEY,
    }


def test_the_runtime_library_indexes_every_kind_of_trigger(tiny: Tiny) -> None:
    assert {function.name: function.kind for function in tiny.host.functions} == {
        "on_blob": "blobTrigger",
        "on_message": "queueTrigger",
        "on_tick": "timerTrigger",
        "on_request": "httpTrigger",
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_it_started(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path) as (process, mark):
        endpoints = json.loads((tmp_path / "endpoints.json").read_text())
        assert httpx.get(f"{endpoints['functions']}/a").status_code == 207
        assert len(marked(mark)) == 3  # the host, its worker, Azurite
        process.send_signal(number)
        assert process.wait(20) == 7
        assert not (tmp_path / "endpoints.json").exists()
        assert none_left(mark)


def test_a_killed_host_leaves_no_process(tmp_path: Path) -> None:
    with started(tmp_path) as (process, mark):
        process.kill()
        process.wait()
        assert none_left(mark)


async def test_endpoints_that_a_killed_host_left_are_gone_before_the_next_is_up(tmp_path: Path) -> None:
    with started(tmp_path) as (process, _):
        process.kill()
        process.wait()
    assert published(tmp_path) is not None
    (tmp_path / "host.json").write_text("no JSON")
    with pytest.raises(ConfigError):
        async with running(tmp_path, tmp_path, os.environ):
            pass
    assert published(tmp_path) is None


async def test_a_second_host_on_the_same_folder_is_refused(tiny: Tiny) -> None:
    with pytest.raises(AlreadyRunning, match=r"endpoints\.json"):
        async with running(APP, tiny.state, os.environ):
            pass
    assert (tiny.state / "endpoints.json").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_like_this", "nothing_like_this"),
        ("import azure.functions as func\napp = func.FunctionApp()", "no function"),
        (
            "import azure.functions as func\napp = func.FunctionApp()\n"
            "@app.timer_trigger(arg_name='timer', schedule='%UNSET_SCHEDULE%')\n"
            "def tick(timer: func.TimerRequest) -> None: ...",
            "UNSET_SCHEDULE",
        ),
        (
            "import azure.functions as func\napp = func.FunctionApp()\n"
            "@app.timer_trigger(arg_name='timer', schedule='often')\n"
            "def tick(timer: func.TimerRequest) -> None: ...",
            "tick: 'often' has 1 fields",
        ),
        (
            "import azure.functions as func\napp = func.FunctionApp()\n"
            "@app.blob_trigger(arg_name='blob', path='drop/{name}', connection='MODEL_STORAGE')\n"
            "def whole(blob: func.InputStream) -> None: ...",
            "whole: bind a BlobClient",
        ),
        (
            "import azure.functions as func\napp = func.FunctionApp()\n"
            "@app.event_hub_message_trigger(arg_name='event', event_hub_name='h', connection='C')\n"
            "def on_event(event: func.EventHubEvent) -> None: ...",
            "on_event",
        ),
    ],
    ids=["import", "empty", "setting", "schedule", "input-stream", "kind"],
)
async def test_an_app_that_cannot_run_says_why(
    azurite: Azurite, tmp_path: Path, source: str, said: str
) -> None:
    (tmp_path / "host.json").write_text("{}")
    (tmp_path / "function_app.py").write_text(source)
    environment = os.environ | SETTINGS | {"MODEL_STORAGE": azurite.connection_string}
    with pytest.raises(AppBroken, match=said):
        async with running(tmp_path, tmp_path / "state", environment):
            pass
    assert not (tmp_path / "state" / "endpoints.json").exists()


async def test_an_invocation_over_the_time_limit_costs_the_worker_its_life(
    azurite: Azurite, tmp_path: Path
) -> None:
    (tmp_path / "host.json").write_text('{"functionTimeout": "00:00:01"}')
    (tmp_path / "function_app.py").write_text(
        "import os, time\nimport azure.functions as func\napp = func.FunctionApp()\n"
        "@app.route(route='{seconds}')\n"
        "def wait(req: func.HttpRequest) -> str:\n"
        "    time.sleep(int(req.route_params['seconds']))\n"
        "    return str(os.getpid())"
    )
    environment = os.environ | {"MODEL_STORAGE": azurite.connection_string}
    async with (
        running(tmp_path, tmp_path / "state", environment) as host,
        httpx.AsyncClient(base_url=f"{host.endpoints.functions}/api", timeout=30) as client,
    ):
        before = await client.get("/0")
        assert before.status_code == 200
        assert (await client.get("/30")).status_code == 502
        assert (await client.get("/0")).text != before.text
