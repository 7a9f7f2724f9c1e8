"""OBJ with its MTL and textures, by assimp. Units and axes are as they are in the file."""

from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers import assimp
from shared.embedded.engine.readers.assimp import Imported


def read(data: bytes, files: InputFolder, *, gamma_material: bool, gamma_vertex: bool) -> Imported:
    """Raises `Problem` `corrupt-model`. A missing MTL is a warning that names it."""
    imported = assimp.read(data, files, gamma_material=gamma_material, gamma_vertex=gamma_vertex)
    for name in dict.fromkeys(imported.missing):
        details = {"file": name[:200], "reason": "it is not in the model's folder"}
        imported.warnings.append(Warning_("4004", "Missing material file", details))
    return imported
