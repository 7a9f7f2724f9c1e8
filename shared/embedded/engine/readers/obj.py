"""OBJ with its MTL and textures, by assimp. Units and axes are as they are in the file."""

import re

from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers import assimp
from shared.embedded.engine.scene import Imported, drop_unused_materials

_MTLLIB = re.compile(rb"^[ \t]*mtllib[ \t]+([^\r\n]+)", re.MULTILINE)


def read(data: bytes, files: InputFolder, *, gamma_material: bool, gamma_vertex: bool) -> Imported:
    """Raises `Problem` `corrupt-model`. A missing MTL is a warning that names it."""
    imported = assimp.read(data, files, gamma_material=gamma_material, gamma_vertex=gamma_vertex)
    drop_unused_materials(imported.scene, "DefaultMaterial")
    for material in imported.scene.materials:
        # Some exporters write the opacity where the transparency belongs; nobody exports what
        # cannot be seen at all.
        if material.base_color[3] == 0:
            material.base_color = (*material.base_color[:3], 1.0)
            material.blend = False
    for name in dict.fromkeys(_MTLLIB.findall(data)):
        text = name.decode("utf-8", "replace").strip()
        if files.resolve(text) is None:
            details = {"file": text[:200], "reason": "it is not in the model's folder"}
            imported.warnings.append(Warning_("4004", "Missing material file", details))
    return imported
