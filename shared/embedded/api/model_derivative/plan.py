"""What of a checked order this service makes, and by which of the engine's options. Pure.

``SOURCES`` is the answer of the formats operation too: one table says what can be asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.embedded.engine.formats import (
    OBJECT_IDS,
    READS,
    TARGETS,
    WRITES,
    check_output,
    sources_of,
    thumbnail_size,
)
from shared.model_derivative_formats import WHOLE_MODEL, Format
from shared.problems import Problem

ZIP = ".zip"

#: What an option is when it is not given; a value given as such asks for nothing else.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "stl": {"format": "binary", "exportColor": True, "exportFileStructure": "single"},
    "step": {"applicationProtocol": "214", "tolerance": 0.001},
    "iges": {"tolerance": 0.001, "surfaceType": "bounded", "sheetType": "surface", "solidType": "solid"},
    "obj": {"exportFileStructure": "single"},
}


class NotMade(Exception):
    """The order is right, and this service does not make it; the message says what it makes."""


@dataclass(frozen=True)
class Planned:
    """One derivative to make: ``options`` are the engine's; ``signature`` is equal for two that would be
    the same; ``notes`` say what was asked for and has no effect."""

    type: str
    asked: Mapping[str, Any]
    options: Mapping[str, Any]
    signature: str
    notes: tuple[str, ...]

    @property
    def is_extraction(self) -> bool:
        return "objectIds" in self.asked


def sources(type_: str) -> tuple[str, ...]:
    """The extensions of what ``type_`` is made of here, with their dots; none where it is not made."""
    made_of = sorted(sources_of(type_))
    return (*made_of, ZIP) if made_of and TARGETS[type_].sources is None else tuple(made_of)


def plan(formats: tuple[Format, ...], source: str) -> tuple[Planned, ...]:
    """What to make of a source with the extension ``source``; entries that ask for the same are one.

    Raises:
        NotMade: one of them cannot be made, so none is.
    """
    if source not in READS and source != ZIP:
        raise NotMade(
            f"A source of type {source.removeprefix('.') or 'unknown'!r} cannot be translated here. "
            f"Sources are {_listed(READS)}, or a zip of them."
        )
    planned: dict[str, Planned] = {}
    for one in formats:
        entry = _plan(one, source)
        planned.setdefault(entry.signature, entry)
    return tuple(planned.values())


def _plan(wanted: Format, source: str) -> Planned:
    kind = wanted.type
    made_of = sources_of(kind)
    if not made_of:
        why = ""
        if kind in TARGETS:
            why = " It needs the service's optional CAD requirements, which are not installed."
        raise NotMade(
            f"The output type {kind!r} is not made here.{why} Made are {', '.join(sorted(WRITES))}."
        )
    if source not in made_of and source != ZIP:
        makes = sorted(one for one in WRITES if source in sources_of(one))
        raise NotMade(
            f"The output type {kind!r} is made of CAD sources only ({_listed(made_of)}); "
            f"{source.removeprefix('.')!r} is a mesh. Made of it are {', '.join(makes)}."
        )
    notes: list[str] = []
    asked = dict(wanted.advanced)
    options = {
        name: value
        for name, value in asked.items()
        if name != "modelGuid" and value != _DEFAULTS.get(kind, {}).get(name)
    }
    if wanted.object_ids:
        if options.pop("exportFileStructure", None) is not None:
            notes.append("'exportFileStructure' is ignored for geometry extraction.")
        if wanted.object_ids == (WHOLE_MODEL,):
            del options[OBJECT_IDS]
        else:
            options[OBJECT_IDS] = sorted(set(wanted.object_ids))
    try:
        check_output(kind, options)
    except Problem as problem:
        raise NotMade(problem.message) from None
    same = dict(options)
    if kind == "thumbnail":
        same = dict(zip(("width", "height"), thumbnail_size(options), strict=True))
    if wanted.object_ids:
        same[OBJECT_IDS] = list(options.get(OBJECT_IDS, wanted.object_ids))
    signature = json.dumps([kind, same], sort_keys=True)
    return Planned(kind, asked, options, signature, tuple(notes))


def groups(planned: tuple[Planned, ...]) -> list[list[Planned]]:
    """Derivatives that one request of the worker makes together: a file read once.

    Files of two outputs of one type could not be told apart, but for thumbnails, which are one each; and an
    extraction can fail for its ids, which is no reason for the others to fail."""
    together: list[list[Planned]] = []
    for one in planned:
        for group in together:
            if one.is_extraction or group[0].is_extraction:
                continue
            if one.type == "thumbnail" or all(other.type != one.type for other in group):
                group.append(one)
                break
        else:
            together.append([one])
    return together


def _listed(extensions: Any) -> str:
    return ", ".join(sorted(one.removeprefix(".") for one in extensions))
