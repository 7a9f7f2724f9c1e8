"""host.json and app settings."""

import json
from pathlib import Path

import pytest

from local.azurite import ACCOUNT
from local.config import ConfigError, HostJson, app_settings, blob_endpoint, own_values, seconds

AZURITE = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/{ACCOUNT};"
AZURE = "DefaultEndpointsProtocol=https;AccountName=mine;AccountKey=a2V5;EndpointSuffix=core.windows.net"


def test_time_spans_are_seconds() -> None:
    assert seconds("00:00:30") == 30
    assert seconds("1.02:03:04") == 93784
    with pytest.raises(ConfigError, match="hh:mm:ss"):
        seconds("30s")


def test_an_app_setting_overrides_host_json_as_on_the_platform(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps({"extensions": {"queues": {"batchSize": 1}}}))
    environment = {"AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:07"}
    config = HostJson.read(tmp_path, environment)
    assert (config.queue_batch, config.queue_threshold, config.queue_visibility) == (1, 0, 7)
    assert (config.queue_tries, config.blob_tries, config.timeout) == (5, 5, 1800)


def test_a_missing_host_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"host\.json"):
        HostJson.read(tmp_path, {})


def test_the_callers_environment_wins_over_local_settings_over_defaults(tmp_path: Path) -> None:
    values = {"POLL_SCHEDULE": "file", "SWEEP_SCHEDULE": "file"}
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": values}))
    own = own_values(tmp_path, {"SWEEP_SCHEDULE": "caller", "LOCAL": "false"})
    settings = app_settings(own, AZURITE, 7)
    assert (settings["POLL_SCHEDULE"], settings["SWEEP_SCHEDULE"]) == ("file", "caller")
    assert settings["BLOB_TRIGGER_SOURCE"] == "LogsAndContainerScan"
    assert (settings["LOCAL"], settings["WEBSITE_HOSTNAME"]) == ("true", "127.0.0.1:7")


@pytest.mark.parametrize("content", ["{", "[]", '{"Values": []}', "{}"])
def test_local_settings_that_cannot_be_read_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "local.settings.json").write_text(content)
    with pytest.raises(ConfigError, match=r"local\.settings\.json"):
        own_values(tmp_path, {})


@pytest.mark.parametrize(
    ("storage", "account", "url"),
    [
        (AZURITE, ACCOUNT, "http://127.0.0.1:1/{account}"),
        (AZURE, "mine", "https://{account}.blob.core.windows.net"),
    ],
)
def test_the_embedded_service_is_linked_to_the_storage_in_use(storage: str, account: str, url: str) -> None:
    assert blob_endpoint(storage) == (account, url)
    settings = app_settings({}, storage, 7)
    assert settings["EMBEDDED_LINKED_CONTAINERS"] == f"{account}/models,{account}/converted"
    assert settings["EMBEDDED_BLOB_URL"] == url


def test_what_is_no_connection_string_is_refused() -> None:
    with pytest.raises(ConfigError, match="MODEL_STORAGE"):
        blob_endpoint("nonsense")
