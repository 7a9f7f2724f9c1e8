"""PLY, meshes and point clouds, by assimp. Units and axes are as they are in the file."""

from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.readers import assimp
from shared.embedded.engine.readers.assimp import Imported


def read(data: bytes, files: InputFolder, *, gamma_material: bool, gamma_vertex: bool) -> Imported:
    """Raises `Problem` `corrupt-model`."""
    return assimp.read(data, files, gamma_material=gamma_material, gamma_vertex=gamma_vertex)
