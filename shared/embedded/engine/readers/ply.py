"""PLY, meshes and point clouds, by numpy where it is plain, else by assimp. Units and axes are as they are
in the file."""

import re

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.readers import assimp, ply_plain
from shared.embedded.engine.scene import Imported, Mesh, Node, Scene

_FACES = re.compile(rb"^element[ \t]+(face|tristrips)[ \t]+0*[1-9]", re.MULTILINE)


def read(data: bytes, files: InputFolder, *, gamma_material: bool, gamma_vertex: bool) -> Imported:
    """Raises `Problem` `corrupt-model`."""
    plain = ply_plain.read(data, gamma_vertex)
    if plain is not None:
        if not len(plain.positions):
            raise corrupt("it holds no vertices")
        name = files.model.stem
        return Imported(Scene([Node(name, mesh=0)], [Mesh(name, [plain])]), [])
    header = data[: data.find(b"end_header")]
    imported = assimp.read(
        data,
        files,
        gamma_material=gamma_material,
        gamma_vertex=gamma_vertex,
        faces=_FACES.search(header) is not None,
    )
    scene = imported.scene
    if not scene.images:
        # The format has no materials; assimp makes one up where no texture is named.
        scene.materials = []
        for mesh in scene.meshes:
            for primitive in mesh.primitives:
                primitive.material = None
    return imported
