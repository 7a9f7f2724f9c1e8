"""Log lines that can be followed: events with stable names and dimensions.

An event's dimensions travel as the log record's ``extra`` and arrive as customDimensions in Application
Insights. Their names are part of the product, as the codes are: saved queries filter on them.
"""

import json
import logging
import traceback
from pathlib import PurePath
from typing import Any

from shared.conversion import Conversion
from shared.problems import Problem

# httpx logs every URL at INFO, and the storage client its headers; a SAS would be among them.
_TOO_TALKATIVE = ("httpx", "httpcore", "azure", "aiohttp.access", "opentelemetry")

logger = logging.getLogger("conversions")


def configure() -> None:
    """Quietens the loggers that print URLs.

    In Azure the worker has by then set up the export to Application Insights, because the app setting
    PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY says so.
    """
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logger.setLevel(logging.INFO)
    # The platform's library logs every reply by the root logger, with the tokens that are in it.
    logging.getLogger().addFilter(_is_no_detail)


def _is_no_detail(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def event(
    name: str,
    conversion: Conversion | None = None,
    *,
    level: int = logging.INFO,
    **dimensions: Any,
) -> None:
    """Logs one event. A conversion's own dimensions are the same on all its events."""
    if conversion is not None:
        dimensions = {
            "conversion_id": conversion.id,
            "model": conversion.path,
            "etag": conversion.etag,
            "step": conversion.step.value,
            "service": conversion.service,
            "service_id": conversion.service_id,
            "trace_id": conversion.trace_id,
        } | dimensions
    dimensions = {key: value for key, value in dimensions.items() if value is not None}
    told = " ".join(f"{key}={_shown(value)}" for key, value in dimensions.items())
    logger.log(level, "%s %s", name, told, extra={"event": name, **_safe(dimensions)})


def unexpected(name: str, trouble: Exception, **dimensions: Any) -> None:
    """Logs what went wrong where no manifest can say it: a problem's own words, or where a bug is."""
    if isinstance(trouble, Problem):
        event(name, level=logging.ERROR, code=trouble.code, message=trouble.message, **dimensions)
    else:
        kind = type(trouble).__name__
        event(name, level=logging.ERROR, bug=kind, where=where(trouble), **dimensions)


def where(exception: BaseException) -> str:
    """The places an exception came through, innermost first; its text may quote an address with a SAS."""
    frames = traceback.extract_tb(exception.__traceback__)[-8:]
    return " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def _safe(dimensions: dict[str, Any]) -> dict[str, Any]:
    # A log record has a `message` of its own.
    return {("detail" if key == "message" else key): value for key, value in dimensions.items()}


def _shown(value: Any) -> str:
    """A value on one line, whatever is in it: names of blobs may hold newlines."""
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text, ensure_ascii=False)
