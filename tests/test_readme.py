"""The documents say what the code says: settings, codes, formats, commands, events, licences, links."""

import ast
import json
import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from shared.conversion import ConversionSettings, Sidecar
from shared.embedded.engine.conversion_settings import _KEYS
from shared.embedded.engine.formats import READS, TARGETS
from shared.formats import DEFAULT_FORMATS, REMOTE_RENDERING
from shared.formats import READS as SERVICE_READS
from shared.manifest import Manifest
from shared.problems import Code
from shared.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NONE = "–"


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    level = heading.split(" ", 1)[0]
    body = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{2,{len(level)}}} ", body)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, without headings and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def default_as_written(name: str) -> str:
    field = Settings.model_fields[name]
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default == "":
        return NONE
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default:d}`" if isinstance(field.default, int) else f"`{field.default}`"


def test_every_app_setting_is_in_the_table_with_its_default() -> None:
    told = {names(row[0])[0]: row[1] for row in rows(section(README, "## App settings"))}
    real = {
        str(field.validation_alias or name.upper()): default_as_written(name)
        for name, field in Settings.model_fields.items()
    }
    assert told == real


def test_every_code_is_in_the_table_once() -> None:
    told = [names(row[0])[0] for row in rows(section(README, "### Codes"))]
    assert sorted(told) == sorted(Code)


def test_the_table_of_inputs_is_what_the_service_reads() -> None:
    inputs = section(README, "## Formats").split("What it makes")[0]
    told = {extension: row[1] for row in rows(inputs) for extension in names(row[0])}
    assert told.keys() == SERVICE_READS[REMOTE_RENDERING]
    assert {extension: name for extension, name in told.items() if extension != ".zip"} == dict(READS)


def test_the_table_of_outputs_is_what_the_engine_writes() -> None:
    outputs = section(README, "## Formats").split("What it makes")[1]
    told = {names(row[0])[0]: set(names(row[2])) for row in rows(outputs)}
    real = {
        name: {
            *target.advanced,
            *(str(value).lower() for option in target.advanced.values() for value in option.values),
        }
        for name, target in TARGETS.items()
    }
    assert told == real
    default = DEFAULT_FORMATS[REMOTE_RENDERING]
    assert [item["type"] for item in default] == ["glb", "thumbnail"]
    assert default[1]["advanced"] == {"width": 400, "height": 400}


def test_the_keys_of_a_sidecar_are_all_told() -> None:
    text = document("conversion-settings.md")
    told = [names(row[0])[0] for row in rows(text.split("**When it takes effect.**")[0])]
    assert told == [field.alias for field in Sidecar.model_fields.values()]
    for key in (*_KEYS, "vertex"):
        assert f"`{key}`" in text


@pytest.mark.parametrize("name", ["../README.md", "conversion-settings.md"])
def test_the_settings_shown_are_settings(name: str) -> None:
    shown = [
        text for text in re.findall(r"```json\n(.*?)```", document(name), re.DOTALL) if '"formats"' in text
    ]
    assert shown
    for text in shown:
        sidecar = Sidecar.parse(text.encode(), name)
        assert sidecar.formats
        ConversionSettings.model_validate({"service": "remote-rendering", **json.loads(text)})


def test_every_field_of_the_manifest_is_told() -> None:
    table = " ".join(row[0] for row in rows(document("manifest.md").split("## An example")[0]))
    for name, field in Manifest.model_fields.items():
        assert re.search(rf"`{field.alias or name}\b", table), name


def test_the_manifest_shown_is_a_manifest() -> None:
    text = re.findall(r"```json\n(.*?)```", document("manifest.md"), re.DOTALL)[0]
    assert Manifest.model_validate_json(text).derivatives


def test_the_commands_named_are_make_targets() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE))
        assert named <= targets, path.name
    assert {"run", "serve", "test"} <= targets


def events() -> set[str]:
    """The names of the events that the code logs; of a name that is put together, its beginning."""
    found: set[str] = set()
    for file in (ROOT / "shared").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("event", "telemetry.event"):
                found |= {
                    part.value
                    for part in ast.walk(node.args[0])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
    return found


def test_every_event_is_told() -> None:
    told = [name for row in rows(document("logs.md")) for name in names(row[0])]
    for name in events():
        assert any(one == name or (name.endswith(".") and one.startswith(name)) for one in told), name


def test_every_package_of_the_requirements_has_its_licence_told() -> None:
    files = [(ROOT / name).read_text("utf-8") for name in ("requirements.txt", "requirements-cad.txt")]
    required = re.findall(r"^([\w.-]+)==(\S+)", "\n".join(files), re.MULTILINE)
    told = [line.split(" | ")[:3] for line in document("licences.md").splitlines() if line.startswith("| ")]
    versions = {row[0].removeprefix("| "): (row[1], row[2]) for row in told if len(row) == 3}
    assert required
    for package, version in required:
        assert package in versions, package
        assert versions[package][0] == version, package
        assert versions[package][1].strip(" |"), package


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.name))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
    for target in (one or other for one, other in targets):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target
