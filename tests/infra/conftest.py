"""The template as it would be deployed, and the app as Azure would index it with the template's settings."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from local.bindings import Function
from local.log import Log
from local.places import NODE_MODULES, ROOT
from local.runtime import Runtime
from tests.infra.bicep import Deployment, deploy
from tests.infra.checks import as_azure_gives_them

INFRA = ROOT / "infra"


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    """What main.bicep deploys by default."""
    return deploy(INFRA / "main.bicep", environmentName="test", location="westeurope")


@pytest.fixture(scope="session")
async def functions(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Function, ...]:
    """The whole app, indexed by Microsoft's runtime library with exactly the app settings of the template."""
    settings = as_azure_gives_them(deployment)
    log = Log(tmp_path_factory.mktemp("index") / "log")
    environment = {"PATH": os.environ["PATH"], **settings}
    runtime = Runtime(ROOT, environment, log, timeout=None)
    try:
        return await runtime.start()
    finally:
        await runtime.stop()
        log.close()


@pytest.fixture(scope="session")
def bind_kql() -> Callable[[Mapping[str, str]], dict[str, list[str]]]:
    """Microsoft's Kusto language service: queries by name -> what it finds wrong in each."""
    beside = (NODE_MODULES, *map(Path, filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep))))
    places = [place for place in beside if (place / "@kusto").is_dir()]
    assert places, "@kusto/language-service-next is not installed: run npm ci in local/"

    def bind(queries: Mapping[str, str]) -> dict[str, list[str]]:
        done = subprocess.run(
            ["node", str(Path(__file__).with_name("kusto.js")), str(places[0])],
            input=json.dumps(queries),
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, list[str]] = json.loads(done.stdout)
        return found

    return bind


@pytest.fixture
def infra_copy(tmp_path: Path) -> Callable[..., Path]:
    """A copy of infra/ with one text replaced in one file: ``plant(file, old, new)`` -> the copy's folder."""

    def plant(file: str, old: str, new: str) -> Path:
        for source in INFRA.rglob("*"):
            if source.is_file():
                target = tmp_path / "infra" / source.relative_to(INFRA)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
        changed = tmp_path / "infra" / file
        text = changed.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}: the fault would be planted nowhere"
        changed.write_text(text.replace(old, new), encoding="utf-8")
        return tmp_path / "infra"

    return plant


def queries_of(infra: Path, **parameters: Any) -> dict[str, str]:
    """Every query: of the files, of the workbook's panels, of the alerts."""
    found = {
        path.name: path.read_text(encoding="utf-8") for path in sorted((infra / "queries").glob("*.kql"))
    }
    deployed = deploy(infra / "main.bicep", environmentName="test", location="westeurope", **parameters)
    content = json.loads(deployed.one("Microsoft.Insights/workbooks").body["properties"]["serializedData"])
    for item in content["items"]:
        if item["type"] == 3:
            found[f"workbook: {item['name']}"] = item["content"]["query"]
    for alert in deployed.of("Microsoft.Insights/scheduledQueryRules"):
        for criterion in alert.body["properties"]["criteria"]["allOf"]:
            found[f"alert: {alert.name}"] = criterion["query"]
    return found
