"""OFF, DAE, 3DS, X3D and DXF by assimp, which turns them y-up."""

import re

import numpy as np

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.readers import assimp
from shared.embedded.engine.readers.xml_depth import check_depth
from shared.embedded.engine.scene import Imported, drop_unused_materials

_DAE_UNIT = re.compile(rb"<unit\b[^>]*?\bmeter\s*=\s*[\"']([\d.eE+-]+)")
_UNITS = {0.001: "mm", 0.01: "cm", 1.0: "m", 0.0254: "in", 0.3048: "ft", 0.9144: "yd", 1000.0: "km"}
# DXF's header: the unit of drawings, by AutoCAD's reference of $INSUNITS; 0 is none.
_DXF_UNIT = re.compile(rb"\$INSUNITS\s+70\s+(\d+)")
_DXF_UNITS = {
    1: (0.0254, "in"), 2: (0.3048, "ft"), 3: (1609.344, "mi"), 4: (0.001, "mm"), 5: (0.01, "cm"),
    6: (1.0, "m"), 7: (1000.0, "km"), 8: (2.54e-8, "µin"), 9: (2.54e-5, "mil"), 10: (0.9144, "yd"),
    13: (1e-6, "µm"), 14: (0.1, "dm"), 15: (10.0, "dam"), 16: (100.0, "hm"), 21: (1200 / 3937, "ftUS"),
}  # fmt: skip
# COLLADA's names are for people; its ids, which assimp takes otherwise, are for references.
_PROPERTIES = {"IMPORT_COLLADA_USE_COLLADA_NAMES": 1}
_X3D_TEXTURE = re.compile(rb"""(<ImageTexture\b[^<>]*?\s)url\s*=\s*(?:'([^']*)'|"([^"]*)")""")
_NO_MATERIALS = ("OFF", "DXF")


def read(
    format_: str, data: bytes, files: InputFolder, *, gamma_material: bool, gamma_vertex: bool
) -> tuple[Imported, str | None]:
    """The scene and its unit, None where the file says none. Raises `Problem` `corrupt-model`."""
    if format_ in ("DAE", "X3D"):
        # assimp calls itself for each level.
        check_depth(data)
    if format_ == "X3D":
        data = _X3D_TEXTURE.sub(lambda found: _one_address(found, files), data)
    if format_ == "DXF" and data.startswith(b"AutoCAD Binary DXF"):
        raise corrupt("it is a binary DXF, and only text can be read")
    imported = assimp.read(
        data, files, properties=_PROPERTIES, gamma_material=gamma_material, gamma_vertex=gamma_vertex
    )
    drop_unused_materials(imported.scene, "DefaultMaterial")
    if format_ in _NO_MATERIALS:
        _drop_made_up(imported)
    unit: str | None = None
    if format_ == "DAE":
        unit = _dae_unit(data)  # assimp has scaled by it
    elif format_ == "X3D":
        unit = "m"
    elif format_ == "DXF" and (found := _DXF_UNIT.search(data)) and int(found[1]) in _DXF_UNITS:
        factor, unit = _DXF_UNITS[int(found[1])]
        for root in imported.scene.roots:
            matrix = np.eye(4) if root.matrix is None else root.matrix
            root.matrix = np.diag([factor, factor, factor, 1.0]) @ matrix
    return imported, unit


def _one_address(found: re.Match[bytes], files: InputFolder) -> bytes:
    """A texture of a list of addresses as one of the first that is there; assimp 5.4.3 refuses the whole
    file for such a list, which is what the standard asks for."""
    listed = (
        (found[2] if found[2] is not None else found[3]).replace(b"&quot;", b'"').decode("utf-8", "replace")
    )
    addresses = re.findall(r'"([^"]*)"', listed) or [listed.strip()]
    best = next((one for one in addresses if files.resolve(one)), addresses[0])
    return b'%surl="%s"' % (found[1], best.replace('"', "").encode())


def _dae_unit(data: bytes) -> str | None:
    found = _DAE_UNIT.search(data)
    if found is None:
        return "m"
    try:
        metres = float(found[1])
    except ValueError:
        return None
    return _UNITS.get(round(metres, 6), f"{metres:g} m")


def _drop_made_up(imported: Imported) -> None:
    """The formats have no materials; assimp makes one up."""
    imported.scene.materials = []
    for mesh in imported.scene.meshes:
        for primitive in mesh.primitives:
            primitive.material = None
