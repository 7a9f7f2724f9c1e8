"""The app as it starts in Azure: what it is given, and what it says when that cannot be right."""

import json
import os
from pathlib import Path

import pytest

from local.bindings import AppBroken
from local.log import Log
from local.places import ROOT
from local.runtime import Runtime
from tests.infra.bicep import Deployment, deploy
from tests.infra.checks import app_settings, as_azure_gives_them
from tests.infra.conftest import INFRA


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"EMBEDDED_ACCOUNT_KEY": None}, "App settings: EMBEDDED_ACCOUNT_KEY: is not set"),
        (
            {"MODEL_STORAGE": "UseDevelopmentStorage=true"},
            "MODEL_STORAGE and MODEL_STORAGE__blobServiceUri: set one",
        ),
        (
            {"EMBEDDED_ACCOUNT_KEY": "@Microsoft.KeyVault(VaultName=kv;SecretName=embedded-account-key)"},
            "EMBEDDED_ACCOUNT_KEY: ",
        ),
        ({"CONVERTED_CONTAINER": "models"}, "CONVERTED_CONTAINER"),
    ],
)
async def test_a_missing_or_contradictory_setting_stops_the_app_with_one_message_that_names_it(
    deployment: Deployment, tmp_path: Path, changes: dict[str, str | None], told: str
) -> None:
    settings = {"PATH": os.environ["PATH"], **as_azure_gives_them(deployment), **changes}
    log = Log(tmp_path / "log")
    runtime = Runtime(ROOT, {name: value for name, value in settings.items() if value}, log, timeout=None)
    try:
        with pytest.raises(AppBroken) as stopped:
            await runtime.start()
    finally:
        await runtime.stop()
        log.close()
    assert told in str(stopped.value)


def test_the_converter_has_an_instance_to_itself_and_all_but_900_mb_of_it() -> None:
    queues = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))["extensions"]["queues"]
    assert (queues["batchSize"], queues["newBatchThreshold"]) == (1, 0)
    for memory in (2048, 4096):
        deployment = deploy(
            INFRA / "main.bicep", environmentName="test", location="x", instanceMemoryMB=memory
        )
        site = deployment.one("Microsoft.Web/sites").body["properties"]
        scale = site["functionAppConfig"]["scaleAndConcurrency"]
        assert scale["instanceMemoryMB"] == memory
        assert app_settings(deployment)["ENGINE_MEMORY_MB"] == str(memory - 900)


def test_it_runs_on_the_python_that_the_tests_run_on() -> None:
    deployment = deploy(INFRA / "main.bicep", environmentName="test", location="x")
    runtime = deployment.one("Microsoft.Web/sites").body["properties"]["functionAppConfig"]["runtime"]
    wanted = (ROOT / ".python-version").read_text(encoding="utf-8").strip()
    assert runtime == {"name": "python", "version": wanted}


def test_only_the_remote_rendering_api_is_served_unless_a_parameter_turns_others_on() -> None:
    assert app_settings(deploy(INFRA / "main.bicep", environmentName="test", location="x"))[
        "EMBEDDED_APIS"
    ] == ("remote-rendering")
    every = ["remote-rendering", "model-derivative", "api2convert"]
    deployment = deploy(INFRA / "main.bicep", environmentName="test", location="x", embeddedApis=every)
    assert app_settings(deployment)["EMBEDDED_APIS"] == ",".join(every)
