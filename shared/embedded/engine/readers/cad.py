"""STEP and IGES by OpenCASCADE, through cascadio: tessellated, with parts, names and colours.

Neither format states an up axis, so the file's own axes are kept."""

from typing import Literal

from shared.embedded.engine.document import Document, Json, split_glb
from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.libraries import hidden

with hidden("trimesh"):  # which cascadio extends
    import cascadio

#: How far the triangles may be from the true surface, in millimetres, and by angle, in radians.
_DEFLECTION_MM, _DEFLECTION_RADIANS = 0.1, 0.5


def load(data: bytes, kind: Literal["step", "iges"]) -> Document:
    """What cascadio makes of it: STEP in metres, IGES in millimetres. Raises `Problem` `corrupt-model`."""
    try:
        made = cascadio.load(data, file_type=kind, tol_linear=_DEFLECTION_MM, tol_angular=_DEFLECTION_RADIANS)
    except RuntimeError as error:
        raise corrupt(f"OpenCASCADE cannot read it ({error})") from error
    if not made:
        raise corrupt("OpenCASCADE finds no shape in it")
    root, binary = split_glb(made)
    _give_materials(root)
    return Document(root, bytearray(binary or b""))


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
