"""OBJ with its MTL and textures, by numpy. Units and axes are as they are in the file.

assimp takes four times as long for a million triangles, cuts names at their first space, and loses
textures of highlights (measured with 5.4.3).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers import obj_text, polygons
from shared.embedded.engine.readers.clouds import centred
from shared.embedded.engine.readers.mtl import Library
from shared.embedded.engine.readers.obj_text import Elements, Model, State
from shared.embedded.engine.scene import Imported, Kind, Matrix, Mesh, Node, Primitive, Scene, linear

_ROUNDS = 6
# Odd, and otherwise of no meaning: a row's six words times these are its number.
_FACTORS = np.uint64(0x9E3779B97F4A7C15) ** np.arange(1, 7, dtype=np.uint64)

_Corners = NDArray[np.int32]
_Column = NDArray[np.int32]
_Numbers = NDArray[np.int64]


def read(data: bytes, files: InputFolder, *, gamma_material: bool, gamma_vertex: bool) -> Imported:
    """Raises `Problem` `corrupt-model`, which names the line or the element. A missing MTL is a warning
    that names it."""
    model = obj_text.parse(data)
    _weld(model)
    library = Library(files, gamma=gamma_material)
    for line in model.libraries:
        library.load(line)
    if model.colors is not None and gamma_vertex:
        model.colors[:, :3] = linear(model.colors[:, :3])
    builder = _Builder(model, library, files.model.stem)
    scene = builder.scene()
    library.make_all()
    scene.materials, scene.images = library.materials, library.images
    return Imported(scene, [*library.warnings, *builder.warnings])


@dataclass(slots=True)
class _Same:
    """Elements (corners (n, 3), counts (m,)) of one kind and one state; ``textured`` and ``shaded`` say
    that all of their corners have a texture coordinate, and a normal."""

    state: State
    kind: Kind
    corners: _Corners
    counts: _Numbers
    textured: bool
    shaded: bool


class _Builder:
    def __init__(self, model: Model, library: Library, stem: str) -> None:
        self._model = model
        self._library = library
        self._stem = stem
        self._fans = 0
        self._empty = 0
        finite = model.positions[np.isfinite(model.positions).all(axis=1)]
        self._middle: Matrix = centred([finite]) if len(finite) else np.zeros(3)
        # Where the corners of a position, and their number, are noted while corners are joined.
        self._slots = np.empty(len(model.positions) + 1, np.int64)

    @property
    def warnings(self) -> list[Warning_]:
        found = []
        if self._empty:
            details = {"elements": self._empty}
            found.append(
                Warning_("invalid-geometry", "Faces of fewer than three corners are left out", details)
            )
        if self._fans:
            details = {"elements": self._fans}
            found.append(
                Warning_("simplified-polygons", "Polygons are too large to be filled exactly", details)
            )
        if self._model.free_form:
            found.append(Warning_("dropped-surfaces", "Free-form curves and surfaces are not kept"))
        return found

    def scene(self) -> Scene:
        scene = Scene()
        nodes: dict[tuple[str, str], Node] = {}
        tops: list[Node] = []

        def node(object_: str, group: str) -> Node:
            """The node of a group, below its object's."""
            key = (object_, group if group != object_ else "")
            if key not in nodes:
                nodes[key] = Node(group or object_ or self._stem)
                siblings = node(object_, "").children if object_ and key[1] else tops
                siblings.append(nodes[key])
            return nodes[key]

        for object_ in self._model.objects:
            node(object_, "")
        for same in self._sorted():
            primitive = self._primitive(same)
            if primitive is None:
                continue
            own = node(same.state.object, same.state.group)
            if own.mesh is None:
                own.mesh = len(scene.meshes)
                scene.meshes.append(Mesh(own.name, []))
            scene.meshes[own.mesh].primitives.append(primitive)
        if not self._model.elements and len(self._model.positions):
            scene.meshes.append(Mesh(self._stem, [self._cloud()]))
            node("", "").mesh = 0
        root = Node("", children=tops)
        if self._middle.any():
            root.matrix = np.eye(4)
            root.matrix[:3, 3] = self._middle
        scene.roots = [root]
        return scene

    def _sorted(self) -> Iterator[_Same]:
        """All elements, by what they have in common."""
        states = self._model.states
        for kind, found in self._model.elements.items():
            found = _without_empty(found)
            if not len(found.counts):
                continue
            starts = np.cumsum(found.counts) - found.counts
            textured, shaded = (_of_all(found.corners[:, column] > 0, starts) for column in (1, 2))
            keys = found.states * 4 + textured * 2 + shaded
            if (np.diff(keys) < 0).any():
                found, keys = _in_order(found, keys)
            element = corner = 0
            for end in [*(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]:
                counts = found.counts[element:end]
                own = slice(corner, corner + int(counts.sum()))
                state, flags = divmod(int(keys[element]), 4)
                yield _Same(states[state], kind, found.corners[own], counts, flags > 1, flags % 2 > 0)
                element, corner = end, own.stop

    def _primitive(self, same: _Same) -> Primitive | None:
        model = self._model
        drawn = self._drawn(same)
        if not len(drawn):
            return None
        place, texcoord, normal = (np.ascontiguousarray(column) for column in same.corners.T)
        chosen, joined = self._joined(place, [texcoord] * same.textured + [normal] * same.shaded)
        material = self._library.index(same.state.material)
        texcoords = None
        if same.textured:
            texcoords = self._library.placed(model.texcoords[texcoord[chosen] - 1], material)
            texcoords[:, 1] = 1 - texcoords[:, 1]
        place = place[chosen] - 1
        return Primitive(
            self._near(model.positions[place]),
            joined[drawn],
            same.kind,
            model.normals[normal[chosen] - 1] if same.shaded else None,
            texcoords,
            None if model.colors is None else model.colors[place],
            material,
        )

    def _drawn(self, same: _Same) -> _Numbers:
        """The corners that make up triangles, lines or points."""
        everything = np.arange(len(same.corners))
        if same.kind == "points" or (same.kind == "triangles" and (same.counts == 3).all()):
            return everything
        if same.kind == "lines":
            # From each corner to the next, but for the last of each line.
            firsts = np.delete(everything, np.cumsum(same.counts) - 1)
            return np.column_stack([firsts, firsts + 1]).ravel()
        self._empty += int(np.count_nonzero(same.counts < 3))
        drawn, fans = polygons.triangles(same.counts, self._model.positions, same.corners[:, 0] - 1)
        self._fans += fans
        return drawn.ravel()

    def _cloud(self) -> Primitive:
        return Primitive(self._near(self._model.positions), None, "points", colors=self._model.colors)

    def _near(self, positions: Matrix) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):  # what is infinite is left out later
            return np.asarray(positions - self._middle, np.float32)

    def _joined(self, place: _Column, others: list[_Column]) -> tuple[_Numbers, NDArray[np.uint32]]:
        """One corner of each vertex, and the vertex of each corner: corners with the same position, and the
        same ``others``, are one vertex.

        Each round chooses the first corner of every position, and joins those that equal it. Most positions
        need one or two; what is left after a few is sorted."""
        others = [column for column in others if not np.array_equal(column, place)]
        slots, numbers = self._slots, np.empty(len(place), np.int64)
        joined = np.empty(len(place), np.uint32)
        chosen: list[_Numbers] = []
        count, left = 0, np.arange(len(place))
        for _ in range(_ROUNDS):
            own = place[left]
            slots[own[::-1]] = left[::-1]  # of equal places the last is kept, so this is the first
            first = slots[own]
            leaders = left[first == left]
            numbers[leaders] = np.arange(count, count + len(leaders))
            chosen.append(leaders)
            count += len(leaders)
            same = np.ones(len(left), bool)
            for column in others:
                same &= column[first] == column[left]
            joined[left[same]] = numbers[first[same]]
            left = left[~same]
            if not len(left):
                break
        else:
            wide = [column[left].astype(np.int64) for column in (place, *others)]
            # Numbers of 31 bits: two of them are one of 64, and a third needs its own turn.
            rest = wide[1] if len(wide) == 2 else np.unique(wide[1] << 32 | wide[2], return_inverse=True)[1]
            _, firsts, same_ = np.unique(wide[0] << 32 | rest, return_index=True, return_inverse=True)
            chosen.append(left[firsts])
            joined[left] = count + same_
        return np.concatenate(chosen), joined


def _weld(model: Model) -> None:
    """Where nearly every corner has a position, texture coordinate or normal of its own, as converters of
    loose triangles write them, equal ones become one."""
    corners = [found.corners for found in model.elements.values()]
    many = 0.9 * sum(map(len, corners))
    if 0 < many < len(model.positions) and model.colors is None:
        model.positions = _distinct(model.positions, corners, 0)
    if 0 < many < len(model.texcoords):
        model.texcoords = _distinct(model.texcoords, corners, 1)
    if 0 < many < len(model.normals):
        model.normals = _distinct(model.normals, corners, 2)


def _distinct[Rows: NDArray[np.floating]](rows: Rows, corners: list[_Corners], column: int) -> Rows:
    """The rows without those that are there before; a column of the corners is numbered anew."""
    words = (rows + rows.dtype.type(0)).view(np.uint32)  # -0.0 and 0.0 are the same place
    keys = np.zeros(len(rows), np.uint64)
    for place, factor in zip(range(words.shape[1]), _FACTORS, strict=False):
        keys += words[:, place] * factor
    _, first, same = np.unique(keys, return_index=True, return_inverse=True)
    if not np.array_equal(words[first[same]], words):
        return rows  # two places have one number, as good as never: then they stay as they are
    numbers = np.append(0, same + 1).astype(np.int32)
    for one in corners:
        one[:, column] = numbers[one[:, column]]
    return rows[first]  # type: ignore[return-value]


def _without_empty(found: Elements) -> Elements:
    kept = found.counts > 0
    return found if kept.all() else Elements(found.corners, found.counts[kept], found.states[kept])


def _of_all(has: NDArray[np.bool_], starts: _Numbers) -> NDArray[np.int32]:
    """Of each element, 1 if all its corners have it, else 0."""
    if has.all() or not has.any():
        return np.full(len(starts), int(has.all()), np.int32)
    return np.logical_and.reduceat(has, starts).astype(np.int32)


def _in_order(found: Elements, keys: NDArray[np.int32]) -> tuple[Elements, NDArray[np.int32]]:
    """The elements in the order of their keys, and the keys."""
    order = np.argsort(keys, kind="stable")
    starts = np.cumsum(found.counts) - found.counts
    counts = found.counts[order]
    moved = np.repeat(starts[order] - (np.cumsum(counts) - counts), counts) + np.arange(len(found.corners))
    return Elements(found.corners[moved], counts, found.states[order]), keys[order]
