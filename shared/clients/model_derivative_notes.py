"""What an order asks for that will have no effect, as the reference says: it is sent, and a person is told.

Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Viewable option -> the extensions of the sources that have it.
_SOURCES: Mapping[str, tuple[str, ...]] = {
    "requestedLinkageIDs": (".dgn",),
    "2dviews": (".dwg", ".rvt"),
    "switchLoader": (".ifc",),
    "conversionMethod": (".ifc",),
    "buildingStoreys": (".ifc",),
    "spaces": (".ifc",),
    "openingElements": (".ifc",),
    "hiddenObjects": (".nwd",),
    "basicMaterialProperties": (".nwd",),
    "autodeskMaterialProperties": (".nwd",),
    "timelinerProperties": (".nwd",),
    "extractorVersion": (".rvt",),
    "generateMasterViews": (".rvt",),
    "materialMode": (".rvt",),
    "hierarchy": (".vue",),
}
_NOT_LEGACY = ("buildingStoreys", "spaces", "openingElements")
_IFC = ".ifc"
_F3D = ".f3d"


def notes_on(formats: Sequence[Mapping[str, Any]], misc: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """One sentence for each option without an effect; ``source`` is the extension of the model."""
    found = [note for wanted in formats for note in _notes(wanted, source.lower())]
    if "workflowAttribute" in misc and "workflow" not in misc:
        found.append("'workflowAttribute' is ignored, because 'workflow' is not set.")
    return tuple(dict.fromkeys(found))


def _notes(wanted: Mapping[str, Any], source: str) -> Iterator[str]:
    kind, advanced = wanted["type"], wanted.get("advanced", {})
    if kind in ("svf", "svf2"):
        for name in advanced:
            if source not in _SOURCES[name]:
                listed = " and ".join(one.removeprefix(".").upper() for one in _SOURCES[name])
                yield f"'{name}' is ignored: it is for sources of the type {listed}."
        if source == _IFC:
            yield from _ifc_notes(advanced)
    if kind == "obj":
        if "objectIds" in advanced and "exportFileStructure" in advanced:
            yield "'exportFileStructure' is ignored for geometry extraction."
        if "unit" in advanced and source == _F3D:
            yield "'unit' does not support F3D: the values remain unchanged."


def _ifc_notes(advanced: Mapping[str, Any]) -> Iterator[str]:
    if "switchLoader" in advanced and "conversionMethod" in advanced:
        yield "'switchLoader' is ignored, because 'conversionMethod' is given."
    default = "modern" if advanced.get("switchLoader") else "legacy"
    if advanced.get("conversionMethod", default) == "legacy":
        for name in _NOT_LEGACY:
            if name in advanced:
                yield f"'{name}' is ignored by the legacy conversion method: give 'conversionMethod'."
