"""What the host and the functions say: readable on the console, as JSON lines in a file."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

LEVELS = ("Trace", "Debug", "Information", "Warning", "Error", "Critical")
SYSTEM = ("azure.functions", "azure_functions_runtime")
"""Loggers of the platform itself; below a warning they go to the file only."""


class Log:
    """Writes to `file` everything, to `console` what is at least `level`.

    A line of the file: `{"time", "level", "function", "invocation", "logger",
    "message", "exception"?, …dimensions}`; the dimensions are a log call's `extra`.
    """

    def __init__(self, file: Path, *, console: TextIO = sys.stderr, level: str = "Information") -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        self._file = file.open("w", encoding="utf-8", buffering=1)
        self._console = console
        self._least = LEVELS.index(level)

    def write(
        self,
        level: str,
        message: str,
        *,
        function: str = "host",
        invocation: str = "",
        logger: str = "local",
        exception: str = "",
        dimensions: dict[str, Any] | None = None,
    ) -> None:
        """One record; `level` is one of LEVELS."""
        now = datetime.now(UTC)
        record: dict[str, Any] = {"time": now.isoformat(timespec="milliseconds"), "level": level}
        record |= {"function": function, "invocation": invocation, "logger": logger, "message": message}
        if exception:
            record["exception"] = exception
        record |= {key: value for key, value in (dimensions or {}).items() if key not in record}
        self._file.write(json.dumps(record, default=str) + "\n")

        system = logger.startswith(SYSTEM) and LEVELS.index(level) < LEVELS.index("Warning")
        if LEVELS.index(level) < self._least or system:
            return
        # An event's message already holds its dimensions.
        told = {} if dimensions and "event" in dimensions else dimensions or {}
        extra = "".join(f"  {key}={value}" for key, value in told.items())
        print(
            f"{now:%H:%M:%S}.{now.microsecond // 1000:03} {level:<11} {function}: {message}{extra}",
            file=self._console,
        )
        if exception:
            print(exception.rstrip(), file=self._console)

    def close(self) -> None:
        """Closes the file, not the console."""
        self._file.close()
