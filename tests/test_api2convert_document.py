"""The page on API2Convert has a row for everything that there is."""

import re
from pathlib import Path
from typing import Any

import pytest

from shared.embedded.api.api2convert import errors
from shared.embedded.api.api2convert.model import STATUSES
from shared.embedded.api.api2convert.schema import _CALLS, _schemas

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "api2convert.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]


def named(heading: str) -> set[str]:
    return {name for cell in first_cells(heading) for name in re.findall(r"`([^`]+)`", cell)}


def test_every_call_has_a_row() -> None:
    assert {f"{method.upper()} {path}" for method, path, _, _ in _CALLS} <= named("Every call")


@pytest.mark.parametrize("noun", ["Job", "Conversion", "InputFile", "OutputFile"])
def test_every_field_has_a_row(noun: str) -> None:
    fields: dict[str, Any] = _schemas()[noun]["properties"]
    assert set(fields) <= named("Every field")


def test_every_status_has_a_row() -> None:
    assert set(STATUSES) <= named("Every status")


def test_every_code_has_a_row() -> None:
    own = {*errors._NUMBERS.values(), errors._OTHER, errors._NO_OUTPUT, errors._WARNING}
    codes = own | {said[0] for said in (errors.UNREACHABLE, errors.NOT_FOUND, errors.UNSUPPORTED)}
    assert {str(code) for code in codes} == named("Every code")
