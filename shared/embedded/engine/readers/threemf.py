"""3MF by expat and numpy: in metres, y-up, with its objects, colours and textures.

assimp loses colour groups, parts in other files of the package (production extension) and names, and
follows a cycle of components until its stack ends (measured with 5.4.3).
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers import threemf_xml as xml
from shared.embedded.engine.readers.package import Package
from shared.embedded.engine.readers.textures import Textures
from shared.embedded.engine.scene import (
    Floats,
    Imported,
    Indices,
    Material,
    Mesh,
    Node,
    Primitive,
    Scene,
    linear,
    upright,
)

#: Unit -> its metres, and its short name.
_UNITS = {
    "micron": (1e-6, "µm"),
    "millimeter": (1e-3, "mm"),
    "centimeter": (1e-2, "cm"),
    "inch": (0.0254, "in"),
    "foot": (0.3048, "ft"),
    "meter": (1.0, "m"),
}
# An object may be a part of others, of which each may be a part of others: a few hundred bytes can
# ask for more than there is memory.
_MAX_PARTS = 100_000
_MAX_NESTING = 64
_NO_PROPERTY = -1


def read(data: bytes, files: InputFolder) -> tuple[Imported, str]:
    """The scene and its unit. Raises `Problem` `corrupt-model` or `limit-exceeded`."""
    return _Reader(Package(data), files).read()


class _Where(NamedTuple):
    """An object of one of the package's model files."""

    path: str
    id: str


@dataclass
class _Reader:
    package: Package
    files: InputFolder
    scene: Scene = field(default_factory=Scene)
    warnings: list[Warning_] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._models: dict[str, xml.Model] = {}
        self._meshes: dict[_Where, int | None] = {}
        self._materials: dict[tuple[str, str, int], int] = {}
        self._pictures: dict[str, bytes] = {}
        self._textures = Textures(self.files, self._pictures)
        self._parts = 0

    def read(self) -> tuple[Imported, str]:
        start = self.package.first("3dmodel") or self.package.named(".model")
        if start is None:
            raise corrupt("the 3MF package has no model in it")
        model = self._model(start)
        factor, unit = _UNITS.get(model.unit, _UNITS["millimeter"])
        root = Node(model.title, upright(factor))
        for item in model.items:
            self._place(root, item, start)
        self.scene.roots = [root]
        self.scene.images = self._textures.images
        return Imported(self.scene, [*self.warnings, *self._textures.warnings]), unit

    def _model(self, path: str) -> xml.Model:
        if path not in self._models:
            content = self.package.read(path)
            if content is None:
                raise corrupt(f"the 3MF package has no {path!r}, which another part of it names")
            self._models[path] = xml.parse(content)
        return self._models[path]

    def _place(self, root: Node, item: xml.Use, path: str) -> None:
        """Put an item of the build, with the parts below it, under the root."""
        stack: list[tuple[Node, xml.Use, str, tuple[_Where, ...]]] = [(root, item, path, ())]
        while stack:
            parent, use, path, above = stack.pop()
            where = _Where(use.path or path, use.object)
            self._parts += 1
            if where in above:
                raise corrupt(f"the object {where.id} of the 3MF is a part of itself")
            if self._parts > _MAX_PARTS or len(above) > _MAX_NESTING:
                raise corrupt(f"the 3MF has more than {_MAX_PARTS} parts, or nests them too deeply")
            model = self._model(where.path)
            found = model.objects.get(where.id)
            if found is None:
                raise corrupt(f"the 3MF uses an object {where.id!r} that it does not have")
            extras = {"partNumber": found.part_number} if found.part_number else {}
            node = Node(found.name, use.matrix, self._mesh(where, model, found), extras=extras)
            parent.children.append(node)
            for component in reversed(found.components):
                stack.append((node, component, where.path, (*above, where)))

    def _mesh(self, where: _Where, model: xml.Model, found: xml.Object) -> int | None:
        if where not in self._meshes:
            self._meshes[where] = None
            if len(found.triangles):
                self._meshes[where] = len(self.scene.meshes)
                self.scene.meshes.append(Mesh(found.name, self._primitives(where.path, model, found)))
        return self._meshes[where]

    def _primitives(self, path: str, model: xml.Model, found: xml.Object) -> list[Primitive]:
        """The triangles by what they are painted with."""
        made: list[Primitive] = []
        for group_id in dict.fromkeys(found.groups):
            chosen = np.array([one == group_id for one in found.groups])[found.group]
            triangles, properties = found.triangles[chosen], found.properties[chosen]
            group = model.groups.get(group_id)
            if isinstance(group, xml.Materials) and len(group.colors):
                made += self._painted(path, group_id, group, found.vertices, triangles, properties)
            elif isinstance(group, xml.Colors) and len(group.colors):
                places, indices, colors = _corners(found.vertices, triangles, properties, group.colors)
                made.append(Primitive(places, indices, colors=_linear(colors)))
            elif isinstance(group, xml.Coordinates) and len(group.coordinates):
                places, indices, texcoords = _corners(
                    found.vertices, triangles, properties, group.coordinates
                )
                texcoords[:, 1] = 1 - texcoords[:, 1]
                material = self._textured(path, group_id, model.textures.get(group.texture, ""))
                made.append(Primitive(places, indices, texcoords=texcoords, material=material))
            else:
                made.append(Primitive(found.vertices, np.ascontiguousarray(triangles).ravel()))
        return made

    def _painted(
        self, path: str, id_: str, group: xml.Materials, vertices: Floats, triangles: Any, properties: Any
    ) -> list[Primitive]:
        made = []
        first = properties[:, 0].clip(0, len(group.colors) - 1)
        for index in np.flatnonzero(np.bincount(first)).tolist():
            key = (path, id_, int(index))
            if key not in self._materials:
                red, green, blue, alpha = _linear(group.colors[index : index + 1])[0].tolist()
                self._materials[key] = len(self.scene.materials)
                material = Material(group.names[index], (red, green, blue, alpha), blend=alpha < 1)
                self.scene.materials.append(material)
            own = np.ascontiguousarray(triangles[first == index])
            made.append(Primitive(vertices, own.ravel(), material=self._materials[key]))
        return made

    def _textured(self, path: str, id_: str, picture: str) -> int:
        key = (path, id_, _NO_PROPERTY)
        if key not in self._materials:
            content = self.package.read(picture) if picture else None
            if content is not None:
                self._pictures[picture] = content
            self._materials[key] = len(self.scene.materials)
            self.scene.materials.append(Material(id_, base_color_texture=self._textures.color(picture, id_)))
        return self._materials[key]


def _corners(
    vertices: Floats, triangles: Any, properties: Any, values: Floats
) -> tuple[Floats, Indices, Floats]:
    """Vertices of (position, property) pairs: a 3MF states properties per corner of a triangle."""
    chosen = properties.clip(0, len(values) - 1).astype(np.int64)
    # A vertex that does not exist stays one, for the triangle to be left out and counted.
    known = np.minimum(triangles.astype(np.int64), len(vertices))
    pairs, inverse = np.unique(known.ravel() * len(values) + chosen.ravel(), return_inverse=True)
    place, property_ = np.divmod(pairs, len(values))
    padded = np.vstack([vertices, np.full((1, 3), np.nan, np.float32)])
    return padded[place], inverse.astype(np.uint32), values[property_].copy()


def _linear(colors: Floats) -> Floats:
    return np.column_stack([linear(colors[:, :3]), colors[:, 3]]).astype(np.float32)
