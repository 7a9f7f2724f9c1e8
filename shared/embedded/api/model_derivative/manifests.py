"""A design's manifest, made of its state and the worker's records. Pure.

Booleans are the strings "true" and "false" and progress is text, as the real service writes them.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from shared.embedded.api.model_derivative.designs import Derivative, Design, Job
from shared.embedded.engine.formats import thumbnail_size
from shared.embedded.requests import Record, State

DERIVATIVE_URN = "urn:adsk.viewing:fs.file:"

_STATUS = {
    State.CREATED: "pending",
    State.RUNNING: "inprogress",
    State.SUCCEEDED: "success",
    State.FAILED: "failed",
}
_PROGRESS = {
    "pending": "0% complete",
    "inprogress": "50% complete",
    "success": "complete",
    "failed": "complete",
}

_REPORT = "report"
_THUMBNAIL = "thumbnail"
_BYTES = "application/octet-stream"
_FILE = re.compile(r"([^/]+)/output/([0-9a-f]{32})/([^/]+)")


def status_of(design: Design, records: Mapping[str, Record]) -> str:
    """The status of the whole: success only if everything is."""
    return _together({records[one.request].state for one in design.derivatives})


def job_status(job: Job, records: Mapping[str, Record]) -> str:
    """The status of one job."""
    return _together({records[one].state for one in job.requests})


def _together(states: set[State]) -> str:
    found = {_STATUS[state] for state in states}
    for status in ("inprogress", "pending", "failed"):
        if status in found:
            # One of several that waits is no reason to call the whole pending.
            return "inprogress" if status == "pending" and len(found) > 1 else status
    return "success"


def manifest(design: Design, records: Mapping[str, Record]) -> dict[str, Any]:
    """The manifest's JSON."""
    status = status_of(design, records)
    derivatives = [_derivative(design, one, records[one.request]) for one in design.derivatives]
    done = sum(one["status"] in ("success", "failed") for one in derivatives)
    percent = 100 * done // max(len(derivatives), 1)
    return {
        "type": "manifest",
        "hasThumbnail": _text(any(one["hasThumbnail"] == "true" for one in derivatives)),
        "status": status,
        "progress": "complete" if status in ("success", "failed") else f"{percent}% complete",
        "region": design.region,
        "urn": design.urn,
        "version": "1.0",
        "derivatives": derivatives,
    }


def _derivative(design: Design, one: Derivative, record: Record) -> dict[str, Any]:
    status = _STATUS[record.state]
    children = [_resource(design, one, entry) for entry in files_of(one, record)]
    made: dict[str, Any] = {
        "name": design.name,
        "hasThumbnail": _text(one.type == _THUMBNAIL and status == "success"),
        "status": status,
        "progress": _PROGRESS[status],
        "outputType": one.type,
    }
    if messages := [*_notes(one), *_messages(one, record)]:
        made["messages"] = messages
    return made | {"children": children} if children else made


def files_of(one: Derivative, record: Record) -> Iterator[Mapping[str, Any]]:
    """The files of a derivative, as the worker recorded them."""
    for entry in (record.result or {}).get("outputs", ()):
        if entry.get("role") == _REPORT or entry["type"] != one.type:
            continue
        # Thumbnails of several sizes are made together, and each is one file.
        if one.type != _THUMBNAIL or entry["path"].endswith(f"/{one.name}"):
            yield entry


def _resource(design: Design, one: Derivative, entry: Mapping[str, Any]) -> dict[str, Any]:
    name = entry["path"].rpartition("/")[2]
    urn = f"{DERIVATIVE_URN}{design.urn}/output/{one.request}/{name}"
    resource: dict[str, Any] = {
        "guid": str(uuid.uuid5(uuid.NAMESPACE_URL, urn)),
        "type": "resource",
        "role": _THUMBNAIL if one.type == _THUMBNAIL else one.type.upper(),
        "mime": entry["contentType"] if one.type == _THUMBNAIL else _BYTES,
        "urn": urn,
        "status": "success",
        "progress": "complete",
    }
    if one.type == _THUMBNAIL:
        return resource | {"resolution": list(thumbnail_size(one.asked))}
    return {**one.asked, **resource}


def _notes(one: Derivative) -> list[dict[str, Any]]:
    return [{"type": "warning", "code": "Option-Ignored", "message": note} for note in one.notes]


def _messages(one: Derivative, record: Record) -> list[dict[str, Any]]:
    # A request makes several derivatives; what is said of one output is not said of the others.
    messages = [
        {"type": "warning", "code": str(warning["code"]), "message": _said(warning)}
        for warning in (record.result or {}).get("warnings", ())
        if warning["details"].get("output", one.name) == one.name
    ]
    if record.error is not None:
        messages.append({"type": "error", "code": record.error.code, "message": record.error.message})
    return messages


def _said(warning: Mapping[str, Any]) -> str:
    details = ", ".join(f"{key}: {value}" for key, value in warning["details"].items())
    return f"{warning['title']} ({details})." if details else f"{warning['title']}."


def file_of_urn(derivative_urn: str, urn: str) -> tuple[str, str] | None:
    """The (request id, file name) that a derivative's URN stands for; None if it is not of this design."""
    match = _FILE.fullmatch(derivative_urn.removeprefix(DERIVATIVE_URN))
    if match is None or not derivative_urn.startswith(DERIVATIVE_URN) or match[1] != urn:
        return None
    return match[2], match[3]


def _text(value: bool) -> str:
    return "true" if value else "false"
