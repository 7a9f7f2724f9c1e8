"""STEP by OpenCASCADE, through cascadio: metres, parts, names and colours.

The format states no up axis, so the file's own axes are kept."""

import re

import cascadio

from shared.embedded.engine.document import Document, Json, split_glb
from shared.embedded.engine.faults import corrupt

#: How far the triangles may be from the true surface, in millimetres, and by angle, in radians.
_DEFLECTION_MM, _DEFLECTION_RADIANS = 0.1, 0.5

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
    try:
        made = cascadio.load(
            data, file_type="step", tol_linear=_DEFLECTION_MM, tol_angular=_DEFLECTION_RADIANS
        )
    except RuntimeError as error:
        raise corrupt(f"OpenCASCADE cannot read it ({error})") from error
    if not made:
        raise corrupt("OpenCASCADE finds no shape in it")
    root, binary = split_glb(made)
    _give_materials(root)
    return Document(root, bytearray(binary or b"")), _unit(data)


def _give_materials(root: Json) -> None:
    """CAD colours are paint, where glTF's default, which OpenCASCADE leaves, is bare metal."""
    materials = root.setdefault("materials", [])
    for mesh in root.get("meshes", []):
        for primitive in mesh["primitives"]:
            if "material" not in primitive:
                if not materials or "name" in materials[-1]:
                    materials.append({"pbrMetallicRoughness": {"baseColorFactor": [0.8, 0.8, 0.8, 1]}})
                primitive["material"] = len(materials) - 1
    for material in materials:
        pbr = material.setdefault("pbrMetallicRoughness", {})
        pbr.setdefault("metallicFactor", 0)
        pbr.setdefault("roughnessFactor", 0.6)


def _unit(data: bytes) -> str | None:
    named = _NAMED.search(data)
    if named:
        return {b"INCH": "in", b"FOOT": "ft"}[named.group(1).upper()]
    found = _LENGTH.search(data)
    return _SI.get(found.group(1).upper()) if found else None
