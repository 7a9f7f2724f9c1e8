"""What can be made of what, and with which options: the engine's own table, in this API's words."""

import uuid
from collections.abc import Mapping
from typing import Any

from shared.embedded.engine.formats import (
    PICTURE_TYPES,
    PICTURES,
    READS,
    WRITES,
    Choice,
    ObjectIds,
    Option,
    Whole,
    Within,
    check_output,
    sources_of,
)

CATEGORY = "cad"

_CATEGORIES = {"thumbnail": "operation"} | dict.fromkeys(PICTURE_TYPES, "image")

#: Extensions of what models can be made of; a zip holds one with its companions.
MODELS = frozenset(READS) | {".zip"}


def category_of(target: str) -> str:
    """The category of a target that there is."""
    return _CATEGORIES.get(target, CATEGORY)


def is_target(target: str) -> bool:
    """Whether the service makes this of anything."""
    return target in WRITES


def targets_of(extension: str) -> frozenset[str]:
    """What the service makes of files with this extension (lower case, with its dot)."""
    if extension in PICTURES:
        return frozenset(PICTURE_TYPES)
    if extension in READS:
        return frozenset(one for one in WRITES if extension in sources_of(one))
    return frozenset(WRITES) if extension in MODELS else frozenset()


def rows(category: str | None, target: str | None, source: str | None) -> list[dict[str, Any]]:
    """The catalogue, or what is left of it by these filters."""
    makes = targets_of(f".{source.lower().removeprefix('.')}") if source else frozenset(WRITES)
    return [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"conversion:{name}")),
            "target": name,
            "category": category_of(name),
            "options": schema_of(name),
        }
        for name in sorted(WRITES)
        if name in makes
        and (category is None or category == category_of(name))
        and (target is None or target == name)
    ]


def schema_of(target: str) -> dict[str, Any]:
    """The options of a target, each as a small JSON schema."""
    return {name: _schema(option) for name, option in WRITES[target].advanced.items()}


def check_options(target: str, options: Mapping[str, Any]) -> None:
    """Refuses options that the target does not have.

    Raises:
        Problem: naming the option.
    """
    check_output(target, options)


def _schema(option: Option) -> dict[str, Any]:
    match option:
        case Choice(values):
            kind = {bool: "boolean", int: "integer"}.get(type(values[0]), "string")
            return {"type": kind, "enum": list(values)}
        case Whole(low, high):
            return {"type": "integer", "minimum": low, "maximum": high}
        case Within(low, high):
            return {"type": "number", "minimum": low, "maximum": high}
        case ObjectIds():
            return {"type": "array", "items": {"type": "integer"}}
        case _:
            return {"type": "string"}
