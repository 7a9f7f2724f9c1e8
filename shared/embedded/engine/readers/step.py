"""STEP: metres, parts, names and colours."""

import re

from shared.embedded.engine.document import Document
from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.readers import cad

_LENGTH = re.compile(
    rb"LENGTH_UNIT\s*\(\s*\)[^;]*?SI_UNIT\s*\(\s*(\$|\.\w+\.)\s*,\s*\.METRE\.", re.IGNORECASE
)
_SI = {b"$": "m", b".MILLI.": "mm", b".CENTI.": "cm", b".MICRO.": "µm", b".KILO.": "km"}
_NAMED = re.compile(rb"CONVERSION_BASED_UNIT\s*\(\s*'(INCH|FOOT)'", re.IGNORECASE)


def read(data: bytes) -> tuple[Document, str | None]:
    """The document and the file's length unit, where it is one that is commonly used.

    Raises `Problem` `corrupt-model`."""
    if b"ISO-10303-21" not in data[:1024]:
        raise corrupt("it does not start as a STEP file does, with ISO-10303-21")
    return cad.load(data, "step"), _unit(data)


def _unit(data: bytes) -> str | None:
    named = _NAMED.search(data)
    if named:
        return {b"INCH": "in", b"FOOT": "ft"}[named.group(1).upper()]
    found = _LENGTH.search(data)
    return _SI.get(found.group(1).upper()) if found else None
