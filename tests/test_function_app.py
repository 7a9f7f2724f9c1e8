"""The function app as Microsoft's runtime library indexes it: these bindings are the deployment contract."""

import os
from pathlib import Path

from local.azurite import Azurite
from local.config import app_settings, own_values
from local.log import Log
from local.places import ROOT
from local.runtime import Runtime

LOCAL_ONLY = ("BLOB_TRIGGER_SOURCE", "POLL_SCHEDULE", "SWEEP_SCHEDULE")

EXPECTED: dict[str, list[dict[str, object]]] = {
    "start_conversion": [
        {
            "type": "blobTrigger",
            "direction": "IN",
            "name": "blob",
            "path": "models/{name}",
            "connection": "MODEL_STORAGE",
            "source": "EventGrid",
            "properties": {"SupportsDeferredBinding": True},
        }
    ],
    "poll_conversions": [
        {
            "type": "timerTrigger",
            "direction": "IN",
            "name": "timer",
            "schedule": "*/30 * * * * *",
            "runOnStartup": False,
            "useMonitor": False,
        }
    ],
    "find_missed_models": [
        {
            "type": "timerTrigger",
            "direction": "IN",
            "name": "timer",
            "schedule": "0 */15 * * * *",
            "runOnStartup": False,
            "useMonitor": True,
        }
    ],
    "transfer_files": [
        {
            "type": "queueTrigger",
            "direction": "IN",
            "name": "message",
            "queueName": "transfer-files",
            "connection": "MODEL_STORAGE",
        }
    ],
    "embedded_worker": [
        {
            "type": "queueTrigger",
            "direction": "IN",
            "name": "message",
            "queueName": "embedded-requests",
            "connection": "MODEL_STORAGE",
        }
    ],
    "http_api": [
        {
            "type": "httpTrigger",
            "direction": "IN",
            "name": "req",
            "methods": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"],
            "authLevel": "ANONYMOUS",
            "route": "{*path}",
        },
        {"type": "http", "direction": "OUT", "name": "$return"},
    ],
}


async def test_every_binding_is_the_whole_dictionary_that_azure_gets(
    azurite: Azurite, tmp_path: Path
) -> None:
    settings = app_settings(own_values(ROOT, os.environ), azurite.connection_string, 1)
    for name in LOCAL_ONLY:
        del settings[name]
    log = Log(tmp_path / "log")
    runtime = Runtime(ROOT, settings, log, timeout=None)
    try:
        functions = await runtime.start()
    finally:
        await runtime.stop()
        log.close()
    assert {function.name: list(function.bindings) for function in functions} == EXPECTED
