"""One conversion's whole story: the filter of story.kql over the log of a run on the local host."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import run
from local.host import running
from local.places import ROOT

QUERY = (ROOT / "infra" / "queries" / "story.kql").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("story")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "STATE", folder / "state")
        patch.setattr(run, "OUT", folder / "out")
        patch.delenv("MODEL_STORAGE", raising=False)
        yield folder / "state", folder / "out"


def ask(query: str, conversion: str, log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the query answers for a log: its one filter, its order, its columns."""
    (dimension,) = re.findall(r"^\| where tostring\(customDimensions\.(\w+)\) == conversion$", query, re.M)
    assert "| order by timestamp asc" in query
    columns = re.findall(r"(\w+) = \w+\(customDimensions\.(\w+)\)", query)
    rows = [
        {"timestamp": line["time"], **{name: line.get(source) for name, source in columns}}
        for line in log
        if line.get(dimension) == conversion
    ]
    return sorted(rows, key=lambda row: row["timestamp"])


async def test_one_filter_on_the_conversions_id_tells_its_story_in_order(
    folders: tuple[Path, Path],
) -> None:
    state, out = folders
    async with running(ROOT, state, os.environ, level="Error"):
        assert await run.convert(run.SAMPLE) == 0
        # Another conversion of another model, whose story is its own.
        assert await run.convert(ROOT / "samples" / "cube" / "cube.stl") == 0
    manifest = json.loads((out / "crate" / "manifest.json").read_text(encoding="utf-8"))
    log = [json.loads(line) for line in (state / "host.log").read_text(encoding="utf-8").splitlines()]

    story = ask(QUERY, manifest["id"], log)
    events = [row["event"] for row in story]
    # The callback and a tick may both find the end, and one of them then carries on alone.
    pipeline = [event for event in events if event.startswith("conversion.") and event != "conversion.lost"]
    service = [event for event in events if event.startswith("request.")]
    assert pipeline == [
        "conversion.accepted",
        "conversion.start",
        "conversion.poll",
        "conversion.collect",
        "conversion.finish",
        "conversion.success",
    ]
    assert service == ["request.accepted", "request.started", "request.ended"]
    assert (
        events.index("conversion.start") < events.index("request.accepted") < events.index("conversion.poll")
    )
    assert events.index("request.ended") < events.index("conversion.collect")

    assert {row["model"] for row in story if row["model"]} == {"crate/crate.obj"}
    assert {row["etag"] for row in story if row["etag"]} == {manifest["source"]["etag"]}
    assert {row["service"] for row in story if row["service"]} == {"remote-rendering"}
    assert {row["service_id"] for row in story if row["service_id"]} == {manifest["service"]["id"]}
    assert any(row["trace_id"] for row in story)
    assert all(
        row["seconds"] >= 0 for row in story if row["event"] in ("conversion.success", "request.ended")
    )
    text = json.dumps(log)
    assert "sig=" not in text and "AccountKey" not in text
