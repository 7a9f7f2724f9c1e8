"""The two JSON files that Remote Rendering leaves beside an output, and that people look into first."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from shared.embedded.engine.job import Warning_
from shared.embedded.requests import Error
from shared.problems import Code

#: An output that is called .arrAsset holds glb: that format has no public description.
ASSET_IS_GLB = "asset-is-glb"

# Remote Rendering numbers its results; the one number that is known for a code of ours.
_NUMBERS = {Code.CORRUPT_MODEL.value: ("2007", "The input asset is not valid.", "import error")}

# A file in the worker is called as its output is, and file systems permit 255 bytes.
_LONGEST_STEM = 150


def stem(model: str) -> str:
    """The model's name without its folder and extension: what its outputs and reports are called."""
    name = model.rpartition("/")[2]
    return short(name.rpartition(".")[0] or name)


def short(name: str) -> str:
    """``name``, or its beginning and a digest where a file system would not take it."""
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) <= _LONGEST_STEM:
        return name
    return f"{encoded[:80].decode('utf-8', 'ignore')}~{hashlib.sha256(encoded).hexdigest()[:16]}"


def result_name(model: str) -> str:
    """The file name of the report on how the conversion of ``model`` ended."""
    return f"{stem(model)}.result.json"


def info_name(model: str) -> str:
    """The file name of the report on what was found in ``model`` and made of it."""
    return f"{stem(model)}.info.json"


def result_json(
    conversion_id: str, warnings: Iterable[Warning_], error: Error | None
) -> list[dict[str, object]]:
    """The content of ``<name>.result.json``: the id, what to know, at most one error, and how it ended."""
    entries: list[dict[str, object]] = [{"conversionId": conversion_id}]
    entries += [
        {"warning": warning.code, "title": warning.title, "details": dict(warning.details)}
        for warning in warnings
    ]
    if error is not None:
        number, title, detail = _NUMBERS.get(error.code, (error.code, error.message, ""))
        entries.append(
            {"error": number, "title": title, "details": {detail: error.message} if detail else {}}
        )
        ended = "failed"
    else:
        ended = "succeeded with warnings" if len(entries) > 1 else "succeeded"
    return [*entries, {"result": ended}]


def info_json(model: str, output: str | None, info: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``<name>.info.json``: the files' names, and what the engine tells of them.

    ``output`` is the output's name where the request asked for another than the default.
    """
    files = {"input": model} if output is None else {"input": model, "output": output}
    return {"files": files, **info}
