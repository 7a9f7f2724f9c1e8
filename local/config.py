"""host.json and the app settings, as the host and the worker process get them."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from local.azurite import ACCOUNT

EMBEDDED_ACCOUNT_ID = "00000000-0000-4000-8000-00000000c0de"
EMBEDDED_ACCOUNT_KEY = "bG9jYWwtZGV2ZWxvcG1lbnQta2V5LW5vdC1hLXNlY3JldA=="
"""The embedded service's local account: fixed and public, as Azurite's is. Never used in Azure."""

TIMESPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.\d+)?")
OVERRIDE = "AzureFunctionsJobHost__"
"""Prefix of app settings that override host.json, as on the platform:
AzureFunctionsJobHost__extensions__queues__visibilityTimeout"""


class ConfigError(Exception):
    """A file or setting that the host cannot use; the message names it."""


def seconds(timespan: str) -> float:
    """Of a .NET TimeSpan such as `00:00:30` or `1.00:00:00`. Raises `ConfigError`."""
    match = TIMESPAN.fullmatch(timespan)
    if match is None:
        raise ConfigError(f"{timespan!r} is no time span; write it as hh:mm:ss")
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


@dataclass(frozen=True)
class HostJson:
    """The parts of host.json that this host imitates, with the platform's defaults; times in seconds."""

    route_prefix: str
    blob_parallel: int
    blob_tries: int
    queue_batch: int
    queue_threshold: int
    queue_tries: int
    queue_visibility: float
    queue_base64: bool
    timeout: float | None

    @classmethod
    def read(cls, app: Path, environment: Mapping[str, str]) -> Self:
        """From `app`/host.json and the settings that override it. Raises `ConfigError`."""
        try:
            content: dict[str, Any] = json.loads((app / "host.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{app / 'host.json'} cannot be read: {error}") from error
        for name, value in environment.items():
            if name.startswith(OVERRIDE):
                *parents, key = name.removeprefix(OVERRIDE).split("__")
                place = content
                for parent in parents:
                    place = place.setdefault(parent, {})
                place[key] = value
        extensions = content.get("extensions", {})
        blobs, queues = extensions.get("blobs", {}), extensions.get("queues", {})
        batch = int(queues.get("batchSize", 16))
        timeout = str(content.get("functionTimeout", "00:30:00"))
        return cls(
            route_prefix=extensions.get("http", {}).get("routePrefix", "api"),
            blob_parallel=int(blobs.get("maxDegreeOfParallelism", 8 * (os.cpu_count() or 1))),
            blob_tries=int(blobs.get("poisonBlobThreshold", 5)),
            queue_batch=batch,
            queue_threshold=int(queues.get("newBatchThreshold", batch // 2)),
            queue_tries=int(queues.get("maxDequeueCount", 5)),
            queue_visibility=seconds(queues.get("visibilityTimeout", "00:00:00")),
            queue_base64=queues.get("messageEncoding", "base64") == "base64",
            timeout=None if timeout == "-1" else seconds(timeout),
        )


def own_values(app: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What the user set: `Values` of local.settings.json, then `environment` over it.

    Raises `ConfigError` for a file that is no such JSON.
    """
    file = app / "local.settings.json"
    values: dict[str, str] = {}
    if file.exists():
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            values = {str(name): str(value) for name, value in content["Values"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f'{file} must be JSON with an object "Values": {error!r}') from error
    return values | dict(environment)


def app_settings(own: Mapping[str, str], storage: str, port: int) -> dict[str, str]:
    """The worker's environment: local defaults for a `storage` connection string and an HTTP `port`,
    the user's `own` values over them, and on top what only the host can know."""
    account, blob_url = blob_endpoint(storage)
    defaults = {
        "MODEL_STORAGE": storage,
        "AzureWebJobsStorage": storage,
        "BLOB_TRIGGER_SOURCE": "LogsAndContainerScan",
        "POLL_SCHEDULE": "*/2 * * * * *",
        "POLL_FLOOR_SECONDS": "1",
        "GRACE_SECONDS": "30",
        "SWEEP_SCHEDULE": "*/30 * * * * *",
        "EMBEDDED_APIS": "remote-rendering,model-derivative,api2convert",
        "EMBEDDED_ACCOUNT_ID": EMBEDDED_ACCOUNT_ID,
        "EMBEDDED_ACCOUNT_KEY": EMBEDDED_ACCOUNT_KEY,
        "EMBEDDED_BLOB_URL": blob_url,
        "EMBEDDED_LINKED_CONTAINERS": f"{account}/models,{account}/converted",
    }
    host = {"LOCAL": "true", "WEBSITE_HOSTNAME": f"127.0.0.1:{port}"}
    return defaults | dict(own) | host


def blob_endpoint(storage: str) -> tuple[str, str]:
    """The account of a connection string, and its blob address with `{account}` in the account's place.

    Raises `ConfigError` for a string that names neither account nor endpoint.
    """
    parts = dict(part.split("=", 1) for part in storage.split(";") if "=" in part)
    account = parts.get("AccountName", "")
    endpoint = parts.get("BlobEndpoint", "").rstrip("/")
    if not account and not endpoint:
        raise ConfigError("MODEL_STORAGE must be a connection string with AccountName or BlobEndpoint")
    if not endpoint:
        suffix = parts.get("EndpointSuffix", "core.windows.net")
        endpoint = f"{parts.get('DefaultEndpointsProtocol', 'https')}://{account}.blob.{suffix}"
    account = account or ACCOUNT
    return account, endpoint.replace(account, "{account}")
