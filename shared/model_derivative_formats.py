"""The job operation's body, checked against every row of its reference before anything else.

Pure. A value that the reference does not allow is refused whatever it is for: also in a format that
this service does not make. ``docs/model-derivative.md`` has the same rows as a table.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.embedded.engine.formats import WRITES, check_output
from shared.problems import Code, Problem

REGIONS = ("US", "EMEA", "AUS", "CAN", "DEU", "IND", "JPN", "GBR")
DEFAULT_REGION = "US"
DERIVATIVE_FORMATS = ("latest", "fallback")

UNITS = (
    "meter",
    "decimeter",
    "centimeter",
    "millimeter",
    "micrometer",
    "nanometer",
    "yard",
    "foot",
    "inch",
    "mil",
    "microinch",
)

#: The reference's own words, for ids that cannot be.
BAD_OBJECT_IDS = (
    "The values of 'objectIds' should be equal or greater than 0. "
    "You can also set the value as [-1] for getting the whole model."
)

WHOLE_MODEL = -1

_URN = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_WORKFLOW = re.compile(r"[A-Za-z0-9-]{1,36}")
_MOST_ATTRIBUTE_BYTES = 1023
_MOST_FORMATS = 50


@dataclass(frozen=True)
class Rule:
    """What a value must be, and how to say so."""

    allows: Callable[[Any], bool]
    must: str


def _one_of(*values: object) -> Rule:
    # `True == 1` in Python, so the type is compared too.
    named = ", ".join(json.dumps(value) for value in values)
    return Rule(
        lambda value: any(type(value) is type(one) and value == one for one in values), f"one of {named}"
    )


def _integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int for one in value)


def _views(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(one in ("2d", "3d") for one in value)


BOOL = _one_of(True, False)
TEXT = Rule(lambda value: isinstance(value, str), "a string")
FRACTION = Rule(lambda value: type(value) in (int, float) and 0 <= value <= 1, "a number from 0 to 1")
INTEGERS = Rule(_integers, "a list of integers")
HIDE_SHOW_SKIP = _one_of("hide", "show", "skip")

VIEWS = Rule(_views, 'a list with "2d", "3d" or both')

_VIEWABLE: Mapping[str, Rule] = {
    # DGN
    "requestedLinkageIDs": INTEGERS,
    # DWG and RVT
    "2dviews": _one_of("legacy", "pdf"),
    # IFC
    "switchLoader": BOOL,
    "conversionMethod": _one_of("legacy", "modern", "v3", "v4"),
    "buildingStoreys": HIDE_SHOW_SKIP,
    "spaces": HIDE_SHOW_SKIP,
    "openingElements": HIDE_SHOW_SKIP,
    # NWD
    "hiddenObjects": BOOL,
    "basicMaterialProperties": BOOL,
    "autodeskMaterialProperties": BOOL,
    "timelinerProperties": BOOL,
    # RVT
    "extractorVersion": _one_of("next", "previous"),
    "generateMasterViews": BOOL,
    "materialMode": _one_of("auto", "basic", "autodesk"),
    # VUE
    "hierarchy": _one_of("Classic", "SystemPath"),
}

_SIDE = _one_of(100, 200, 400)
_STRUCTURE = _one_of("single", "multiple")

#: Output type -> the options in its ``advanced``, in the reference's order.
ADVANCED: Mapping[str, Mapping[str, Rule]] = {
    "svf": _VIEWABLE,
    "svf2": _VIEWABLE,
    "thumbnail": {"width": _SIDE, "height": _SIDE},
    "stl": {"format": _one_of("binary", "ascii"), "exportColor": BOOL, "exportFileStructure": _STRUCTURE},
    "step": {"applicationProtocol": _one_of("203", "214", "242"), "tolerance": FRACTION},
    "iges": {
        "tolerance": FRACTION,
        "surfaceType": _one_of("bounded", "trimmed", "wireframe"),
        "sheetType": _one_of("open", "shell", "surface", "wireframe"),
        "solidType": _one_of("solid", "surface", "wireframe"),
    },
    "obj": {
        "exportFileStructure": _STRUCTURE,
        "unit": _one_of(*UNITS),
        "modelGuid": Rule(lambda value: isinstance(value, str) and bool(value), "a string that is not empty"),
        "objectIds": INTEGERS,
    },
    "dwg": {"exportSettingName": TEXT},
    "ifc": {"exportSettingName": TEXT},
    "fbx": {},
}


@dataclass(frozen=True)
class Format:
    """One entry of ``output.formats``."""

    type: str
    advanced: Mapping[str, Any]

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(self.advanced.get("objectIds", ()))

    @property
    def model_guid(self) -> str | None:
        """The view to extract geometry from; None where the whole design is asked for."""
        guid: str | None = self.advanced.get("modelGuid")
        return guid


@dataclass(frozen=True)
class Order:
    """A body that is right. ``urn`` is unpadded base64url; ``source`` what it stands for; ``output`` the
    body's own, to be said back. ``notes``: what was accepted and has no effect."""

    urn: str
    source: str
    region: str
    compressed: bool
    root: str | None
    check_references: bool
    formats: tuple[Format, ...]
    workflow: str | None
    attribute: Mapping[str, Any] | None
    output: Mapping[str, Any]
    notes: tuple[str, ...]


def check(body: object, region: str | None) -> Order:
    """The order in a job's body; ``region`` is that of the header, which wins over the body's.

    Raises:
        Problem: ``invalid-settings``, naming the attribute by its path.
    """
    root = _object(body, "the body", {"input", "output", "misc"}, ("input", "output"))
    given = _object(
        root["input"], "input", {"urn", "compressedUrn", "rootFilename", "checkReferences"}, ("urn",)
    )
    output = _object(root["output"], "output", {"destination", "formats"}, ("formats",))
    misc = _object(root.get("misc", {}), "misc", {"workflow", "workflowAttribute"})
    urn, source = urn_of(_valued(given["urn"], "input.urn", TEXT))
    compressed = _valued(given.get("compressedUrn", False), "input.compressedUrn", BOOL)
    filename = _valued(given.get("rootFilename"), "input.rootFilename", _NAME)
    if compressed and filename is None:
        raise invalid("'input.rootFilename' is mandatory when 'input.compressedUrn' is true.")
    destination = _object(output.get("destination", {}), "output.destination", {"region"})
    stated = _valued(destination.get("region"), "output.destination.region", _OPTIONAL_TEXT)
    within = check_region(stated, "output.destination.region")
    workflow, attribute, notes = _misc(misc)
    formats = output["formats"]
    if not isinstance(formats, list) or not 0 < len(formats) <= _MOST_FORMATS:
        raise invalid(f"'output.formats' must be a list of 1 to {_MOST_FORMATS} objects with a type.")
    return Order(
        urn=urn,
        source=source,
        region=region or within or DEFAULT_REGION,
        compressed=compressed,
        root=filename,
        check_references=_valued(given.get("checkReferences", False), "input.checkReferences", BOOL),
        formats=tuple(_format(entry, f"output.formats[{index}]") for index, entry in enumerate(formats)),
        workflow=workflow,
        attribute=attribute,
        output=output,
        notes=notes,
    )


def urn_of(encoded: str) -> tuple[str, str]:
    """A URN as paths have it: unpadded, and decoded.

    Raises:
        Problem: it is not the URL-safe base64 of a URN.
    """
    unpadded = encoded.rstrip("=")
    source = ""
    if _URN.fullmatch(encoded):
        try:
            source = base64.urlsafe_b64decode(unpadded + "=" * (-len(unpadded) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            source = ""
    if not source.startswith("urn:"):
        raise invalid("The URN is not valid: it must be the URL-safe base64 of the source design's URN.")
    return unpadded, source


def check_region(region: str | None, name: str) -> str | None:
    """A region as the manifest spells it; None where none is given.

    Raises:
        Problem: there is no such region.
    """
    if region is None:
        return None
    if region.upper() not in REGIONS:
        raise invalid(f"'{name}' must be one of {', '.join(REGIONS)}.")
    return region.upper()


def invalid(message: str) -> Problem:
    """A refusal of a value."""
    return Problem(Code.INVALID_SETTINGS, message)


_OPTIONAL_TEXT = Rule(lambda value: value is None or isinstance(value, str), "a string")
_NAME = Rule(lambda value: value is None or (isinstance(value, str) and bool(value)), "a file name")


def _format(entry: object, path: str) -> Format:
    fields = _object(entry, path, {"type", "views", "advanced"}, ("type",))
    kind = _valued(fields["type"], f"{path}.type", TEXT)
    if kind not in ADVANCED and kind not in WRITES:
        known = ", ".join(sorted(ADVANCED.keys() | WRITES.keys()))
        raise invalid(f"'{path}.type' is {kind!r}, which is none of {known}.")
    if kind in ("svf", "svf2"):
        _valued(fields.get("views"), f"{path}.views", VIEWS)
    elif "views" in fields:
        raise invalid(f"'{path}.views' belongs to svf and svf2 only.")
    advanced = fields.get("advanced", {})
    if kind not in ADVANCED:
        _object(advanced, f"{path}.advanced", set(advanced) if isinstance(advanced, dict) else set())
        check_output(kind, advanced)
        return Format(kind, advanced)
    rules = ADVANCED[kind]
    _object(advanced, f"{path}.advanced", set(rules))
    for name, value in advanced.items():
        _valued(value, f"{path}.advanced.{name}", rules[name])
    if kind == "obj":
        _check_extraction(advanced, f"{path}.advanced")
    return Format(kind, advanced)


def _check_extraction(advanced: Mapping[str, Any], path: str) -> None:
    ids = advanced.get("objectIds")
    if ids is not None:
        if any(one < WHOLE_MODEL for one in ids):
            raise invalid(BAD_OBJECT_IDS)
        if not ids:
            raise invalid(f"'{path}.objectIds' is empty: name at least one object, or -1 for all.")
        if WHOLE_MODEL in ids and len(ids) > 1:
            raise invalid(f"'{path}.objectIds' has -1, which stands for the whole model, among other ids.")
    for one, other in (("objectIds", "modelGuid"), ("modelGuid", "objectIds")):
        if one in advanced and other not in advanced:
            raise invalid(f"'{path}.{one}' needs '{path}.{other}': geometry is extracted with both.")


def _misc(misc: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | None, tuple[str, ...]]:
    workflow = misc.get("workflow")
    if workflow is not None or "workflow" in misc:
        rule = Rule(lambda value: isinstance(value, str) and bool(_WORKFLOW.fullmatch(value)), _WORKFLOW_MUST)
        workflow = _valued(workflow, "misc.workflow", rule)
    attribute = misc.get("workflowAttribute")
    if "workflowAttribute" in misc:
        _valued(
            attribute, "misc.workflowAttribute", Rule(lambda value: isinstance(value, dict), "a JSON object")
        )
        size = len(
            json.dumps(attribute, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        )
        if size > _MOST_ATTRIBUTE_BYTES:
            raise invalid("'misc.workflowAttribute' must be smaller than 1 KB.")
        if workflow is None:
            return None, None, ("'misc.workflowAttribute' is ignored, because 'misc.workflow' is not set.",)
    return workflow, attribute, ()


_WORKFLOW_MUST = "1 to 36 letters, digits and hyphens"


def _object(value: object, path: str, known: set[str], required: tuple[str, ...] = ()) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"'{path}' must be a JSON object.")
    for name in required:
        if name not in value:
            raise invalid(f"'{name}' is missing in '{path}'.")
    if unknown := sorted(set(value) - known):
        has = ", ".join(sorted(known)) or "none"
        raise invalid(f"'{path}' has no attribute {unknown[0]!r} (it has: {has}).")
    return value


def _valued(value: Any, path: str, rule: Rule) -> Any:
    if not rule.allows(value):
        raise invalid(f"'{path}' must be {rule.must}.")
    return value
