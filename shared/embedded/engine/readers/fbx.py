"""FBX by assimp, in metres. Skins are read at rest, animations are dropped with a warning."""

import numpy as np

from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers import assimp
from shared.embedded.engine.scene import Imported

# Without this, assimp makes several helper nodes of each node that has a pivot.
_PROPERTIES = {"IMPORT_FBX_PRESERVE_PIVOTS": 0}


def read(
    data: bytes, files: InputFolder, *, gamma_material: bool, gamma_vertex: bool
) -> tuple[Imported, str]:
    """The scene and its source unit. Raises `Problem` `corrupt-model`."""
    imported = assimp.read(
        data, files, properties=_PROPERTIES, gamma_material=gamma_material, gamma_vertex=gamma_vertex
    )
    _drop_curves(imported)
    # FBX's UnitScaleFactor is centimetres per unit.
    factor = imported.metadata.get("UnitScaleFactor", 1.0)
    centimetres = float(factor) if isinstance(factor, int | float) and factor > 0 else 1.0
    for root in imported.scene.roots:
        matrix = np.eye(4) if root.matrix is None else root.matrix
        root.matrix = np.diag([centimetres / 100] * 3 + [1.0]) @ matrix
    return imported, _UNITS.get(round(centimetres, 4), f"{centimetres:g} cm")


def _drop_curves(imported: Imported) -> None:
    """Animators' controls are curves around the mesh; they are no part of what it looks like."""
    primitives = [one for mesh in imported.scene.meshes for one in mesh.primitives]
    curves = sum(one.kind == "lines" for one in primitives)
    if 0 < curves < len(primitives):
        for mesh in imported.scene.meshes:
            mesh.primitives = [one for one in mesh.primitives if one.kind != "lines"]
        details = {"curves": curves}
        imported.warnings.append(Warning_("dropped-curves", "Curves are not kept", details))


_UNITS = {0.1: "mm", 1.0: "cm", 100.0: "m", 100000.0: "km", 2.54: "in", 30.48: "ft", 91.44: "yd"}
