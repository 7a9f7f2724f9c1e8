"""What can be made of what, and with which options: the engine's own table, in this API's words."""

import uuid
from collections.abc import Mapping
from typing import Any

from shared.embedded.engine.formats import PICTURE_TYPES, PICTURES, READS, WRITES, check_output

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
    if extension in MODELS:
        return frozenset(WRITES)
    return frozenset(PICTURE_TYPES) if extension in PICTURES else frozenset()


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
    return {name: _schema(allowed) for name, allowed in WRITES[target].advanced.items() if allowed}


def check_options(target: str, options: Mapping[str, Any]) -> None:
    """Refuses options that the target does not have.

    Raises:
        Problem: naming the option.
    """
    check_output(target, options)


def _schema(allowed: tuple[object, ...] | range) -> dict[str, Any]:
    if isinstance(allowed, range):
        return {"type": "integer", "minimum": allowed[0], "maximum": allowed[-1]}
    kind = {bool: "boolean", int: "integer", float: "number"}.get(type(allowed[0]), "string")
    return {"type": kind, "enum": list(allowed)}
