"""What the template must agree with: the settings class, the functions' bindings, the table of roles.

Each check gives its findings as sentences, so that a test can also see it find a fault that was planted.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from pydantic import AliasChoices

from local.bindings import Function
from shared.settings import Settings, SettingsError, read_settings
from tests.infra.bicep import Deployment, Resource

PLATFORM = {
    *(f"AzureWebJobsStorage__{service}ServiceUri" for service in ("blob", "queue", "table")),
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
}
"""Settings of the host and of the Python worker, which the settings class leaves to them."""

NEEDED = ("MODEL_STORAGE__blobServiceUri", "MODEL_STORAGE__queueServiceUri", "MODEL_STORAGE__clientId")
"""Required, though not each on its own: a connection string would do, but in Azure there is none."""

KEY = "the key that Key Vault would give"
CLIENT_ID = "5f0e5a0c-65b5-4c1b-9f5c-0d8f2f0f9d11"
CONNECTION_STRING = (
    "InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint=http://127.0.0.1:9/"
)
ROLE_ASSIGNMENT = "Microsoft.Authorization/roleAssignments"


def app_settings(deployment: Deployment) -> dict[str, str]:
    """The function app's settings, as the template sets them."""
    (settings,) = [
        item for item in deployment.of("Microsoft.Web/sites/config") if item.name.endswith("/appsettings")
    ]
    values: dict[str, str] = settings.body["properties"]
    return values


def as_azure_gives_them(deployment: Deployment) -> dict[str, str]:
    """The app settings as the process sees them: what only Azure knows is filled in."""
    seen = {}
    for name, value in app_settings(deployment).items():
        if value.startswith("@Microsoft.KeyVault("):
            value = KEY
        elif name == "APPLICATIONINSIGHTS_CONNECTION_STRING":
            value = CONNECTION_STRING
        seen[name] = re.sub(r"\{[^{}]*\.clientId\}", CLIENT_ID, value)
    return seen | {"WEBSITE_HOSTNAME": "func-test.azurewebsites.net"}


def setting_faults(deployment: Deployment) -> list[str]:
    """App settings that the code does not know, or that it needs and does not get, or refuses."""
    known, required = set(), set(NEEDED)
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        assert not isinstance(alias, AliasChoices)
        setting = str(alias) if alias else name.upper()
        known.add(setting)
        if field.is_required():
            required.add(setting)
    given = app_settings(deployment)
    faults = [
        f"{name}: the code does not know this setting" for name in sorted(set(given) - known - PLATFORM)
    ]
    faults += [f"{name}: the code needs this setting" for name in sorted(required - set(given))]
    faults += [f"{name}: the platform needs this setting" for name in sorted(PLATFORM - set(given))]
    faults += [f"{name}: {value!r} is no text" for name, value in given.items() if not isinstance(value, str)]
    if not faults:
        with mock.patch.dict(os.environ, as_azure_gives_them(deployment), clear=True):
            try:
                read_settings()
            except SettingsError as error:
                faults.append(str(error))
    return faults


def name_faults(deployment: Deployment, functions: Iterable[Function]) -> list[str]:
    """Containers, queues and schedules of the template against the functions' own bindings."""
    settings = app_settings(deployment)
    containers = _last_names(deployment.of("Microsoft.Storage/storageAccounts/blobServices/containers"))
    queues = _last_names(deployment.of("Microsoft.Storage/storageAccounts/queueServices/queues"))
    faults = []
    listened = set()
    for function in functions:
        trigger = function.trigger
        if function.kind == "queueTrigger":
            listened.add(trigger["queueName"])
        elif function.kind == "blobTrigger":
            container = trigger["path"].partition("/")[0]
            if container not in containers:
                faults.append(f"{function.name}: the template makes no container {container}")
        elif function.kind == "timerTrigger" and trigger["schedule"] not in settings.values():
            faults.append(f"{function.name}: the schedule {trigger['schedule']} is not the template's")
    faults += [f"the template makes no queue {name}" for name in sorted(listened - queues)]
    faults += [f"no function listens to the queue {name}" for name in sorted(queues - listened)]
    for name, value in settings.items():
        if name.endswith("_CONTAINER") and value not in containers:
            faults.append(f"{name}: the template makes no container {value}")
        if name.endswith("_QUEUE") and value not in queues:
            faults.append(f"{name}: the template makes no queue {value}")
    return faults


def event_faults(events: Deployment, functions: Iterable[Function]) -> list[str]:
    """The event subscription against the blob trigger."""
    (trigger,) = [function for function in functions if function.kind == "blobTrigger"]
    properties = events.one("Microsoft.EventGrid/systemTopics/eventSubscriptions").body["properties"]
    faults = []
    container = trigger.trigger["path"].partition("/")[0]
    if properties["filter"]["subjectBeginsWith"] != f"/blobServices/default/containers/{container}/blobs/":
        faults.append(f"the subscription's subjects are not those of the container {container}")
    url = properties["destination"]["properties"]["endpointUrl"]
    if f"/runtime/webhooks/blobs?functionName=Host.Functions.{trigger.name}&" not in url:
        faults.append(f"the subscription does not call {trigger.name}")
    if trigger.trigger["source"] != "EventGrid":
        faults.append(f"{trigger.name} does not listen to Event Grid")
    return faults


def role_faults(deployment: Deployment, expected: Iterable[Mapping[str, str]]) -> list[str]:
    """The role assignments of the template against the list of roles."""
    assigned = set()
    for item in deployment.of(ROLE_ASSIGNMENT):
        assigned.add((_place(item.body["scope"]), item.body["properties"]["roleDefinitionId"][-36:]))
    wanted = {
        (role["scope"], role["id"]) for role in expected if not role["scope"].startswith("linked container")
    }
    faults = [f"not assigned: {role} on {place}" for place, role in sorted(wanted - assigned)]
    return faults + [
        f"assigned, but not listed: {role} on {place}" for place, role in sorted(assigned - wanted)
    ]


def need_faults(deployment: Deployment, names: Mapping[str, str]) -> list[str]:
    """What the app settings make the app use, against what its identity may do (``names``: roles by id)."""
    may: dict[str, set[str]] = {}
    for item in deployment.of(ROLE_ASSIGNMENT):
        role = names[item.body["properties"]["roleDefinitionId"][-36:]]
        may.setdefault(_place(item.body["scope"]), set()).add(role)
    settings = app_settings(deployment)
    needs = [
        ("host account", "Storage Blob Data Owner"),
        ("host account", "Storage Queue Data Contributor"),
        ("host account", "Storage Table Data Contributor"),
        ("data account", "Storage Blob Delegator"),
    ]
    for name, value in settings.items():
        if name.endswith("_CONTAINER"):
            reads = name == "MODELS_CONTAINER"
            needs.append((f"container {value}", f"Storage Blob Data {'Reader' if reads else 'Contributor'}"))
        elif name.endswith("_QUEUE"):
            needs.append(("data account", "Storage Queue Data Contributor"))
        elif value.startswith("@Microsoft.KeyVault("):
            needs.append(("key vault", "Key Vault Secrets User"))
        elif name.endswith("AUTHENTICATION_STRING"):
            needs.append(("application insights", "Monitoring Metrics Publisher"))
    wanted = dict.fromkeys(needs)
    faults = [
        f"the app needs {role} on {place}" for place, role in wanted if role not in may.get(place, set())
    ]
    surplus = {(place, role) for place, given in may.items() for role in given} - set(wanted)
    surplus.discard(("container event-dead-letters", "Storage Blob Data Contributor"))  # Event Grid's
    return faults + [f"nothing needs {role} on {place}" for place, role in sorted(surplus)]


def _place(scope: Resource) -> str:
    """A role's scope in the words of the table."""
    kind = scope.type.rpartition("/")[2]
    if kind == "storageAccounts":
        return "host account" if str(scope.body["name"]).startswith("sthost") else "data account"
    if kind == "containers":
        return f"container {scope.body['name']}"
    return {"vaults": "key vault", "components": "application insights"}[kind]


def openness_faults(deployment: Deployment) -> list[str]:
    """Shared keys, anonymous access, passwords, and connections that are not encrypted."""
    faults = []

    def must(resource: Resource, path: str, value: Any) -> None:
        found: Any = resource.body
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found != value:
            faults.append(f"{resource.type} {resource.name}: {path} is {found!r}, not {value!r}")

    for account in deployment.of("Microsoft.Storage/storageAccounts"):
        must(account, "properties.allowSharedKeyAccess", False)
        must(account, "properties.allowBlobPublicAccess", False)
        must(account, "properties.supportsHttpsTrafficOnly", True)
        must(account, "properties.minimumTlsVersion", "TLS1_2")
    for container in deployment.of("Microsoft.Storage/storageAccounts/blobServices/containers"):
        must(container, "properties.publicAccess", "None")
    for service in deployment.of("Microsoft.Storage/storageAccounts/blobServices"):
        must(service, "properties.deleteRetentionPolicy.enabled", True)
        must(service, "properties.containerDeleteRetentionPolicy.enabled", True)
    for vault in deployment.of("Microsoft.KeyVault/vaults"):
        must(vault, "properties.enableRbacAuthorization", True)
        must(vault, "properties.enableSoftDelete", True)
    for insights in deployment.of("Microsoft.Insights/components"):
        must(insights, "properties.DisableLocalAuth", True)
    for site in deployment.of("Microsoft.Web/sites"):
        must(site, "properties.httpsOnly", True)
        must(site, "properties.siteConfig.minTlsVersion", "1.2")
        must(site, "properties.siteConfig.ftpsState", "Disabled")
        must(
            site,
            "properties.functionAppConfig.deployment.storage.authentication.type",
            "UserAssignedIdentity",
        )
    passwords = deployment.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    for policy in passwords:
        must(policy, "properties.allow", False)
    if _last_names(passwords) != {"scm", "ftp"}:
        faults.append("publishing with a password is not switched off")
    return faults


def secret_faults(deployment: Deployment, *secrets: str) -> list[str]:
    """Secrets that stand anywhere but in a vault: in an output, a setting, a tag, a name."""
    marks = (*secrets, "{keys of", "{a new guid}")
    places = {f"output {name}": str(value) for name, value in deployment.outputs.items()}
    for resource in deployment.resources:
        if resource.existing or resource.type == "Microsoft.KeyVault/vaults/secrets":
            continue
        body = {key: value for key, value in resource.body.items() if not isinstance(value, Resource)}
        places[f"{resource.type} {resource.name}"] = json.dumps(body, default=str)
    return [
        f"{place} holds a secret" for place, text in places.items() if any(mark in text for mark in marks)
    ]


def table_roles(markdown: Path) -> list[tuple[str, str, str, str, str]]:
    """The rows of the page's table of roles: who, role, its id, where, why."""
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| `([0-9a-f-]{36})` \| ([^|]+) \| ([^|]+) \|$",
        markdown.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return [(who, name, id_, where, why) for who, name, id_, where, why in rows]


def _last_names(resources: Iterable[Resource]) -> set[str]:
    return {str(item.body["name"]) for item in resources}
