"""Jobs and their parts as JSON documents. No secret is ever in one, but for the job's own token."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from shared.embedded.api.api2convert.model import STATUSES, Conversion, Input, Job, Message, Output

# What a job says where the guide's samples say it in other words than its table.
_INFO = {code: f"{info}." for code, info in STATUSES.items()} | {
    "downloading": "The file is currently downloading from the source URL."
}


class Documents:
    """Makes documents for callers of the service at ``base``, its address without a trailing slash."""

    def __init__(self, base: str) -> None:
        self._server = f"{base}/v2/dl/web1"

    def job(self, job: Job) -> dict[str, Any]:
        """A whole job."""
        document: dict[str, Any] = {
            "id": job.id,
            "token": job.token,
            "type": "job",
            "status": {"code": job.status, "info": _INFO[job.status]},
            "errors": [message(item) for item in job.errors],
        }
        if job.warnings:
            document["warnings"] = [message(item) for item in job.warnings]
        return document | {
            "process": job.process,
            "conversion": [conversion(item) for item in job.conversions],
            "input": [input_file(item) for item in job.inputs],
            "output": self.outputs(job, job.outputs),
            "callback": job.callback,
            "notify_status": job.notify_status,
            "fail_on_input_error": job.fail_on_input_error,
            "fail_on_conversion_error": job.fail_on_conversion_error,
            "limits": dict(job.limits),
            "server": self._server,
            "spent": 0,
            "created_at": _date(job.created),
            "modified_at": _date(job.modified),
        }

    def outputs(self, job: Job, chosen: Iterable[Output]) -> list[dict[str, Any]]:
        """Some outputs of a job."""
        names = Counter(item.name for item in job.outputs)
        return [self._output(job, item, names[item.name] == 1) for item in chosen]

    def _output(self, job: Job, item: Output, has_own_name: bool) -> dict[str, Any]:
        name = quote(item.name) if has_own_name else f"{item.id}/{quote(item.name)}"
        return {
            "id": item.id,
            "source": {"conversion": item.conversion, "input": list(item.inputs)},
            "uri": f"{self._server}/download-file/{job.id}/{name}",
            "filename": item.name,
            "size": item.size,
            "status": "enabled",
            "content_type": item.content_type,
            "downloads_counter": item.downloads,
            "checksum": item.checksum,
            "metadata": {} if item.role is None else {"role": item.role},
            "created_at": _date(item.created),
        }


def conversion(item: Conversion) -> dict[str, Any]:
    return {
        "id": item.id,
        "target": item.target,
        "category": item.category,
        "options": dict(item.options),
        "metadata": dict(item.metadata),
        "output_target": [],
    }


def input_file(item: Input) -> dict[str, Any]:
    """An input. Its address is told without the query, where tokens are; its credentials never."""
    return {
        "id": item.id,
        "type": item.type,
        "status": item.status,
        "source": item.source.partition("?")[0],
        "engine": item.engine,
        "options": dict(item.options),
        "filename": item.filename,
        "size": item.size,
        "checksum": item.checksum,
        "content_type": item.content_type,
        "credentials": {},
        "parameters": dict(item.parameters),
        "metadata": dict(item.metadata),
        "created_at": _date(item.created),
        "modified_at": _date(item.modified),
    }


def message(item: Message) -> dict[str, Any]:
    document: dict[str, Any] = {
        "source": item.source,
        "id_source": item.id_source,
        "code": item.code,
        "message": item.message,
    }
    return document | ({"details": dict(item.details)} if item.details else {})


def _date(time: datetime) -> str:
    # The vendor's have no zone; they are UTC.
    return f"{time:%Y-%m-%dT%H:%M:%S}"
