"""The function app's triggers, as the runtime library read them from the app's own decorators."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SETTING = re.compile(r"%([^%]+)%")
TRIGGERS = frozenset({"blobTrigger", "queueTrigger", "timerTrigger", "httpTrigger"})


class AppBroken(Exception):
    """The function app cannot run here; the message says which function and why."""


@dataclass(frozen=True)
class Function:
    """One function: its name, the id the runtime library knows it by, and its bindings."""

    name: str
    id: str
    bindings: tuple[Mapping[str, Any], ...]

    @property
    def trigger(self) -> Mapping[str, Any]:
        """The binding that starts it."""
        return next(binding for binding in self.bindings if _is_trigger(binding))

    @property
    def kind(self) -> str:
        """One of TRIGGERS."""
        return str(self.trigger["type"])

    def setting(self, key: str, environment: Mapping[str, str]) -> str:
        """The trigger's value for `key`, its `%NAME%` parts replaced from `environment`.

        Raises `AppBroken` for a missing one.
        """

        def value(match: re.Match[str]) -> str:
            if match[1] not in environment:
                raise AppBroken(f"{self.name}: {key} names the app setting {match[1]}, which is not set")
            return environment[match[1]]

        return SETTING.sub(value, str(self.trigger[key]))

    def connection(self, environment: Mapping[str, str]) -> str:
        """The connection string that the trigger's `connection` names. Raises `AppBroken`."""
        name = str(self.trigger.get("connection") or "AzureWebJobsStorage")
        if name not in environment:
            raise AppBroken(f"{self.name}: the app setting {name}, a connection string, is not set")
        return environment[name]


def function(metadata: Any) -> Function:
    """From one `RpcFunctionMetadata`. Raises `AppBroken` for what this host cannot do."""
    bindings = [json.loads(raw) for raw in metadata.raw_bindings]
    triggers = [binding for binding in bindings if _is_trigger(binding)]
    others = [b for b in bindings if b not in triggers and b["type"] != "http"]
    if len(triggers) != 1 or triggers[0]["type"] not in TRIGGERS or others:
        kinds = ", ".join(str(binding["type"]) for binding in bindings)
        raise AppBroken(f"{metadata.name}: the local host has no such bindings ({kinds})")
    (trigger,) = triggers
    deferred = trigger.get("properties", {}).get("SupportsDeferredBinding")
    if trigger["type"] == "blobTrigger" and not deferred:
        raise AppBroken(f"{metadata.name}: bind a BlobClient; the local host sends no blob's content")
    return Function(metadata.name, metadata.function_id, tuple(bindings))


def _is_trigger(binding: Mapping[str, Any]) -> bool:
    return str(binding["type"]).endswith("Trigger")
