"""main.bicep and events.bicep against the code: settings, names, roles, and what must never be open.

Every check is also seen to find a fault that is planted in a copy of the templates.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.bindings import Function
from local.places import ROOT
from tests.infra.bicep import Deployment, deploy, parameters_of
from tests.infra.checks import (
    ROLE_ASSIGNMENT,
    app_settings,
    event_faults,
    name_faults,
    need_faults,
    openness_faults,
    role_faults,
    secret_faults,
    setting_faults,
    table_roles,
)
from tests.infra.conftest import INFRA

Plant = Callable[..., Path]

CHECKER = ROOT.parent / "shared" / "bicep"
TEMPLATES = ("main.bicep", "main.bicepparam", "events.bicep")
FLAGS: list[dict[str, Any]] = [
    {},
    {"oneStorageAccount": True},
    {"privateNetwork": True},
    {"oneStorageAccount": True, "privateNetwork": True, "alertEmails": ["somebody@example.com"]},
    {"modelDerivativeClientId": "the-app", "modelDerivativeClientSecret": "planted-secret"},
    {"remoteRenderingEndpoint": "https://service.example", "remoteRenderingAccountKey": "planted-secret"},
]


def planted(infra: Path, **parameters: object) -> Deployment:
    return deploy(infra / "main.bicep", environmentName="test", location="westeurope", **parameters)


def roles(infra: Path = INFRA) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((infra / "roles.json").read_text(encoding="utf-8"))
    return found


ROLE_NAMES = {role["id"]: role["name"] for role in roles()}


# --- App settings ------------------------------------------------------------------------------


def test_every_app_setting_is_a_field_of_the_settings_class_and_every_required_one_is_set(
    deployment: Deployment,
) -> None:
    assert setting_faults(deployment) == []


def test_a_service_of_ones_own_brings_its_settings_and_its_key_by_key_vault() -> None:
    deployment = planted(
        INFRA,
        remoteRenderingEndpoint="https://service.example",
        remoteRenderingAccountId="30ea64bd-100f-4bf0-adc9-29fa45d4880c",
        remoteRenderingAccountKey="planted-secret",
    )
    assert setting_faults(deployment) == []
    key = app_settings(deployment)["REMOTE_RENDERING_ACCOUNT_KEY"]
    assert key.startswith("@Microsoft.KeyVault(") and "SecretName=remote-rendering-account-key" in key


def test_an_application_at_autodesk_brings_its_settings_and_its_secret_by_key_vault() -> None:
    deployment = planted(
        INFRA, modelDerivativeClientId="the-app", modelDerivativeClientSecret="planted-secret"
    )
    assert setting_faults(deployment) == []
    settings = app_settings(deployment)
    assert settings["MODEL_DERIVATIVE_CLIENT_ID"] == "the-app"
    secret = settings["MODEL_DERIVATIVE_CLIENT_SECRET"]
    assert secret.startswith("@Microsoft.KeyVault(") and "SecretName=model-derivative-client-secret" in secret


def test_the_key_of_an_api2convert_service_is_in_key_vault() -> None:
    deployment = planted(
        INFRA, api2convertUrl="https://api.api2convert.com/v2", api2convertApiKey="planted-secret"
    )
    assert setting_faults(deployment) == []
    settings = app_settings(deployment)
    assert settings["API2CONVERT_URL"] == "https://api.api2convert.com/v2"
    key = settings["API2CONVERT_API_KEY"]
    assert key.startswith("@Microsoft.KeyVault(") and "SecretName=api2convert-api-key" in key
    assert "API2CONVERT_API_KEY" not in app_settings(planted(INFRA))


def test_a_setting_that_the_code_does_not_know_is_found(infra_copy: Plant) -> None:
    infra = infra_copy("main.bicep", "MAX_IN_FLIGHT:", "MAXIMUM_IN_FLIGHT:")
    assert setting_faults(planted(infra)) == ["MAXIMUM_IN_FLIGHT: the code does not know this setting"]


def test_a_required_setting_that_is_missing_is_found(infra_copy: Plant) -> None:
    infra = infra_copy("main.bicep", "MODEL_STORAGE__queueServiceUri:", "// MODEL_STORAGE__queueServiceUri:")
    assert setting_faults(planted(infra)) == ["MODEL_STORAGE__queueServiceUri: the code needs this setting"]


def test_a_setting_that_the_code_refuses_is_found(infra_copy: Plant) -> None:
    infra = infra_copy("main.bicep", "embedded: 'embedded'\n", "embedded: 'converted'\n")
    (fault,) = setting_faults(planted(infra))
    assert "EMBEDDED_CONTAINER" in fault and "different containers" in fault


def test_linked_containers_are_told_to_the_app_and_their_roles_assigned() -> None:
    linked = [
        {"account": "partner", "resourceGroup": "theirs", "container": "cad", "access": "read"},
        {"account": "partner", "resourceGroup": "theirs", "container": "viewer", "access": "write"},
    ]
    deployment = planted(INFRA, linkedStorageAccounts=linked)
    assert app_settings(deployment)["EMBEDDED_LINKED_CONTAINERS"] == "partner/cad,partner/viewer"
    assigned = {
        item.body["scope"].name: ROLE_NAMES[item.body["properties"]["roleDefinitionId"][-36:]]
        for item in deployment.of(ROLE_ASSIGNMENT)
        if item.file.name == "linked.bicep"
    }
    assert assigned == {
        "partner/default/cad": "Storage Blob Data Reader",
        "partner/default/viewer": "Storage Blob Data Contributor",
    }


# --- Names -------------------------------------------------------------------------------------


def test_containers_queues_and_schedules_are_those_of_the_functions_bindings(
    deployment: Deployment, functions: tuple[Function, ...]
) -> None:
    assert name_faults(deployment, functions) == []


async def test_the_whole_app_is_indexed_with_the_settings_as_the_template_sets_them(
    functions: tuple[Function, ...],
) -> None:
    assert {(function.name, function.kind) for function in functions} == {
        ("start_conversion", "blobTrigger"),
        ("poll_conversions", "timerTrigger"),
        ("find_missed_models", "timerTrigger"),
        ("transfer_files", "queueTrigger"),
        ("embedded_worker", "queueTrigger"),
        ("http_api", "httpTrigger"),
    }


def test_a_wrong_queue_name_is_found(infra_copy: Plant, functions: tuple[Function, ...]) -> None:
    infra = infra_copy("main.bicep", "      queues.embedded\n", "      'embedded-request'\n")
    assert name_faults(planted(infra), functions) == [
        "the template makes no queue embedded-requests",
        "no function listens to the queue embedded-request",
        "EMBEDDED_QUEUE: the template makes no queue embedded-requests",
    ]


def test_a_container_that_is_not_made_is_found(infra_copy: Plant, functions: tuple[Function, ...]) -> None:
    infra = infra_copy("main.bicep", "  containers.models\n", "  'model'\n")
    assert name_faults(planted(infra), functions) == [
        "start_conversion: the template makes no container models",
        "MODELS_CONTAINER: the template makes no container models",
    ]


def test_the_event_subscription_calls_the_blob_trigger_for_the_models_container_only(
    functions: tuple[Function, ...],
) -> None:
    assert event_faults(events(INFRA), functions) == []


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("'start_conversion'", "'start_conversions'", "the subscription does not call start_conversion"),
        (
            "containers/${modelsContainer}/",
            "containers/",
            "the subscription's subjects are not those of the container models",
        ),
    ],
)
def test_a_subscription_to_something_else_is_found(
    infra_copy: Plant, functions: tuple[Function, ...], old: str, new: str, finding: str
) -> None:
    assert event_faults(events(infra_copy("events.bicep", old, new)), functions) == [finding]


def events(infra: Path) -> Deployment:
    return deploy(infra / "events.bicep", appName="func", topicName="topic", dataAccountName="data")


def test_what_the_second_pass_needs_are_outputs_of_the_first(deployment: Deployment) -> None:
    script = (INFRA / "scripts" / "subscribe.sh").read_text(encoding="utf-8")
    needed = {name.partition(":")[0] for name in script.split("${")[1:] if ":?" in name[:40]}
    assert needed == {
        "RESOURCE_GROUP",
        "FUNCTION_APP_NAME",
        "SYSTEM_TOPIC_NAME",
        "DATA_ACCOUNT_NAME",
        "MODELS_CONTAINER",
        "DEAD_LETTER_CONTAINER",
    }
    assert needed <= set(deployment.outputs)
    assert deployment.outputs["DEAD_LETTER_CONTAINER"] in {
        item.body["name"]
        for item in deployment.of("Microsoft.Storage/storageAccounts/blobServices/containers")
    }


# --- Roles -------------------------------------------------------------------------------------


def test_the_assigned_roles_are_those_of_the_list(deployment: Deployment) -> None:
    assert role_faults(deployment, roles()) == []


def test_the_roles_are_what_the_app_settings_make_the_app_use_and_no_more(deployment: Deployment) -> None:
    assert need_faults(deployment, ROLE_NAMES) == []


@pytest.mark.parametrize(
    ("old", "new", "findings"),
    [
        ('"scope": "key vault"', '"scope": "nowhere"', ["the app needs Key Vault Secrets User on key vault"]),
        (
            '"scope": "container converted"',
            '"scope": "container models"',
            [
                "the app needs Storage Blob Data Contributor on container converted",
                "nothing needs Storage Blob Data Contributor on container models",
            ],
        ),
    ],
)
def test_a_role_too_few_or_too_many_is_found(
    infra_copy: Plant, old: str, new: str, findings: list[str]
) -> None:
    assert need_faults(planted(infra_copy("roles.json", old, new)), ROLE_NAMES) == findings


def test_a_missing_role_is_found(infra_copy: Plant) -> None:
    infra = infra_copy("modules/roles.bicep", "role.scope == 'key vault'", "role.scope == 'vault'")
    assert role_faults(planted(infra), roles()) == [
        "not assigned: 4633458b-17de-408a-b874-0445c86b69e6 on key vault"
    ]


def test_the_table_in_the_documentation_is_the_list() -> None:
    listed = [(role["principal"], role["name"], role["id"], role["scope"], role["why"]) for role in roles()]
    assert table_roles(ROOT / "docs" / "deploy.md") == listed


def test_a_role_that_is_in_no_table_is_found() -> None:
    listed = {(role["id"], role["scope"]) for role in roles()[1:]}
    table = {(row[2], row[3]) for row in table_roles(ROOT / "docs" / "deploy.md")}
    assert table - listed == {(roles()[0]["id"], roles()[0]["scope"])}


def test_each_id_is_the_role_that_it_says() -> None:
    file = CHECKER / "roles.json"
    if not file.exists():
        pytest.skip("the list of built-in roles is not beside this checkout")
    built_in = json.loads(file.read_text(encoding="utf-8"))
    assert {role["id"]: role["name"] for role in roles()} == {
        role["id"]: built_in.get(role["id"]) for role in roles()
    }


def test_with_one_account_no_role_is_assigned_twice() -> None:
    deployment = planted(INFRA, oneStorageAccount=True)
    places = [
        (item.body["scope"].id, item.body["properties"]["roleDefinitionId"])
        for item in deployment.of(ROLE_ASSIGNMENT)
    ]
    assert len(places) == len(set(places)) == 11


# --- Nothing open, nothing told ----------------------------------------------------------------


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_no_shared_key_no_anonymous_access_no_password_no_plain_http(flags: dict[str, Any]) -> None:
    assert openness_faults(planted(INFRA, **flags)) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        (
            "storage",
            "allowSharedKeyAccess: false",
            "allowSharedKeyAccess: true",
            "allowSharedKeyAccess is True",
        ),
        ("storage", "    allowBlobPublicAccess: false\n", "", "allowBlobPublicAccess is None"),
        ("storage", "publicAccess: 'None'", "publicAccess: 'Blob'", "publicAccess is 'Blob'"),
        ("app", "httpsOnly: true", "httpsOnly: false", "httpsOnly is False"),
    ],
)
def test_an_open_door_is_found(infra_copy: Plant, file: str, old: str, new: str, finding: str) -> None:
    faults = openness_faults(planted(infra_copy(f"modules/{file}.bicep", old, new)))
    assert faults and all(finding in fault for fault in faults)


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_no_secret_stands_anywhere_but_in_the_vault(flags: dict[str, Any]) -> None:
    deployment = planted(INFRA, **flags)
    assert secret_faults(deployment, "planted-secret") == []
    assert deployment.of("Microsoft.KeyVault/vaults/secrets")


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        (
            "main.bicep",
            "output KEY_VAULT_NAME string = vaultName",
            "output KEY_VAULT_NAME string = remoteRenderingAccountKey",
            "output KEY_VAULT_NAME holds a secret",
        ),
        (
            "main.bicep",
            "        : '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=remote-rendering-account-key)'",
            "        : remoteRenderingAccountKey",
            "Microsoft.Web/sites/config func-",
        ),
    ],
)
def test_a_secret_in_the_open_is_found(
    infra_copy: Plant, file: str, old: str, new: str, finding: str
) -> None:
    faults = secret_faults(planted(infra_copy(file, old, new), **FLAGS[-1]), "planted-secret")
    assert len(faults) == 1 and faults[0].startswith(finding)


def test_a_deployment_that_finds_an_account_key_leaves_it(deployment: Deployment) -> None:
    (key,) = deployment.of("Microsoft.KeyVault/vaults/secrets")
    assert key.body["name"] == "embedded-account-key"
    assert key.once, "every deployment would make a new key"


def test_with_the_flag_storage_and_vault_are_reached_by_private_endpoints_only() -> None:
    deployment = planted(INFRA, privateNetwork=True)
    assert len(deployment.of("Microsoft.Network/privateEndpoints")) == 7
    for account in deployment.of("Microsoft.Storage/storageAccounts"):
        assert account.body["properties"]["networkAcls"]["defaultAction"] == "Deny"
    site = deployment.one("Microsoft.Web/sites").body["properties"]
    assert site["virtualNetworkSubnetId"]
    assert not planted(INFRA).one("Microsoft.Web/sites").body["properties"]["virtualNetworkSubnetId"]


def test_the_parameter_file_fits_the_template() -> None:
    assert deploy(INFRA / "main.bicep", **parameters_of(INFRA / "main.bicepparam")).resources


# --- The checker, and the compiler where there is one ------------------------------------------


def checked(infra: Path) -> subprocess.CompletedProcess[str]:
    if not CHECKER.exists():
        pytest.skip("the Bicep checker is not beside this checkout")
    command = [sys.executable, str(CHECKER / "bicep_check.py"), *(str(infra / name) for name in TEMPLATES)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_bicep_checker_finds_nothing() -> None:
    done = checked(INFRA)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("modules/storage.bicep", "allowSharedKeyAccess:", "allowSharedKeysAccess:"),
        ("main.bicep", "retentionDays: logRetentionDays", "retentionInDays: logRetentionDays"),
        ("events.bicep", "maxDeliveryAttempts: 30", "maxDeliveryAttempts: 'thirty'"),
    ],
)
def test_a_misspelt_property_is_found(infra_copy: Plant, file: str, old: str, new: str) -> None:
    done = checked(infra_copy(file, old, new))
    assert done.returncode == 1
    assert Path(file).name in done.stdout


@pytest.mark.parametrize("command", ["build", "lint"])
def test_the_compiler_finds_nothing(command: str, tmp_path: Path) -> None:
    bicep = shutil.which("bicep")
    if bicep is None:
        pytest.skip("bicep is not on PATH")
    for name in ("main.bicep", "events.bicep"):
        output = ["--outfile", str(tmp_path / f"{name}.json")] if command == "build" else []
        done = subprocess.run(
            [bicep, command, str(INFRA / name), *output], capture_output=True, text=True, env=os.environ
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Warning" not in done.stderr, done.stderr
