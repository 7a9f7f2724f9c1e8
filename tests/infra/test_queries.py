"""Every saved query, bound by Microsoft's Kusto language service and compared with what the code logs."""

import ast
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from local.places import ROOT
from shared.conversion import Status, Step
from tests.infra.conftest import INFRA, queries_of

Bind = Callable[[Mapping[str, str]], dict[str, list[str]]]
Plant = Callable[..., Path]

LOGGING = ("event", "_event", "unexpected")
QUERIES = queries_of(INFRA)
OF_A_CONVERSION = {"conversion_id", "model", "etag", "step", "service", "service_id", "trace_id"}


def test_every_query_binds_to_the_tables_of_application_insights(bind_kql: Bind) -> None:
    assert {name: found for name, found in bind_kql(QUERIES).items() if found} == {}


def test_files_workbook_and_alerts_are_all_looked_at() -> None:
    kinds = [name.partition(":")[0] for name in QUERIES if ":" in name]
    assert kinds.count("alert") == 4
    assert kinds.count("workbook") == 10
    used = {query for name, query in QUERIES.items() if ":" in name}
    unused = {name for name, query in QUERIES.items() if ":" not in name and query not in used}
    assert unused == {"story.kql"}  # it asks for an id


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("queries/throttling.kql", "bin(timestamp", "bin(timestmp"),
        ("queries/alert-no-tick.kql", "customDimensions", "customDimension"),
        ("queries/durations.kql", "percentile(", "percentil("),
        ("queries/executions.kql", "requests", "request"),
    ],
)
def test_a_misspelt_name_is_found(bind_kql: Bind, infra_copy: Plant, file: str, old: str, new: str) -> None:
    queries = queries_of(infra_copy(file, old, new))
    found = bind_kql({name: query for name, query in queries.items() if query != QUERIES[name]})
    assert len(found) == 2  # the file, and the alert or panel that it is in
    wrong = new.replace("bin(", "").rstrip("(")
    assert all(any(wrong in message for message in messages) for messages in found.values())


@cache
def logged() -> tuple[set[str], set[str]]:
    """The names of events, and their dimensions, as the calls in the code have them."""
    events: set[str] = set()
    dimensions = set(OF_A_CONVERSION) | {"event", "detail"} | {f"in_{step.value}" for step in Step}
    for file in (ROOT / "shared").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in LOGGING:
                parts = [part for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
                events |= {part.value for part in parts if isinstance(part.value, str)}
                dimensions |= {keyword.arg for keyword in node.keywords if keyword.arg}
    events.discard("conversion.")
    return events | {f"conversion.{name.value}" for name in (*Step, *Status)}, dimensions


@pytest.mark.parametrize("name", sorted(name for name in QUERIES if ":" not in name))
def test_every_event_and_dimension_of_a_query_is_one_that_the_code_logs(name: str) -> None:
    events, dimensions = logged()
    query = QUERIES[name]
    assert set(re.findall(r"customDimensions\.(\w+)", query)) <= dimensions
    asked = set(re.findall(r"'((?:conversion|service|request|sweep)\.[\w.-]+|tick|sweep|queues)'", query))
    assert asked <= events
    if "traces" in query and name != "story.kql":
        assert asked or "startswith 'conversion.'" in query


def test_the_workbook_answers_what_an_operator_asks() -> None:
    panels = {name.removeprefix("workbook: ") for name in QUERIES if name.startswith("workbook: ")}
    assert panels >= {
        "In flight, by step and age",
        "Outcomes by service and format",
        "Durations by step, seconds",
        "Top failure codes",
        "Throttling and other faults of services",
        "Queue depth",
        "What the sweep finds",
    }
