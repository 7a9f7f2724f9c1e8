"""IGES, in metres: OpenCASCADE gives it in millimetres, whatever the file's own unit is."""

import re

import numpy as np

from shared.embedded.engine.decode import wrap
from shared.embedded.engine.document import Document
from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.readers import cad

# The global section's 14th parameter, by the standard.
_UNIT_PARAMETER = 13
_UNITS = {"1": "in", "2": "mm", "4": "ft", "5": "mi", "6": "m", "7": "km", "8": "mil", "9": "µm", "10": "cm",
          "11": "µin"}  # fmt: skip
_LINE = re.compile(rb"^(.{72})([SGDPT])[ \d]{7}", re.MULTILINE)
_TEXT = re.compile(r"\s*(\d{1,9})H")


def read(data: bytes) -> tuple[Document, str | None]:
    """The document and the file's length unit. Raises `Problem` `corrupt-model`."""
    if _LINE.search(data[:4096]) is None:
        raise corrupt("it does not start as an IGES file does, with lines of 80 characters")
    document = cad.load(data, "iges")
    wrap(document, np.diag([1e-3, 1e-3, 1e-3, 1.0]))
    return document, _unit(data)


def _unit(data: bytes) -> str | None:
    lines = []
    for line in _LINE.finditer(data):
        if line[2] == b"G":
            lines.append(line[1].decode("latin-1"))
        elif lines:
            break
    parameters = _parameters("".join(lines))
    return _UNITS.get(parameters[_UNIT_PARAMETER]) if len(parameters) > _UNIT_PARAMETER else None


def _parameters(section: str) -> list[str]:
    """The values of the global section up to the unit. Texts state their length, and may hold the
    separator; the first parameter is the separator itself, empty for a comma."""
    separator, at = ",", 0
    if section.startswith("1H"):
        separator = section[2:3]
    values: list[str] = []
    while 0 <= at < len(section) and len(values) <= _UNIT_PARAMETER:
        text = _TEXT.match(section, at)
        end = section.find(separator, text.end() + int(text[1]) if text else at)
        end = len(section) if end < 0 else end
        values.append(section[text.end() if text else at : end].strip())
        at = end + 1
    return values
