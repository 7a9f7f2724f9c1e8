"""glTF document -> world-space geometry, for writers that need triangles and not a file."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.document import (
    COMPONENTS,
    DRACO,
    MESHOPT,
    WIDTHS,
    Document,
    Json,
)
from shared.embedded.engine.draco import decode_draco
from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.meshopt import decode_view
from shared.embedded.engine.scene import Floats, Indices, Kind, Matrix

_IDENTITY = np.eye(4)
_FAN, _STRIP, _TRIANGLES = 6, 5, 4
_LINES, _LOOP, _LINE_STRIP = 1, 2, 3


@dataclass(slots=True)
class Part:
    """One primitive where it stands in the world, at rest: skins and default morph weights applied.

    positions (n, 3); indices (m, k) with k = 3, 2, 1 by kind; normals (n, 3), texcoords by set number
    (n, 2) and colors (n, 4) where the model has them; material is an index into the document's,
    as node is."""

    name: str
    kind: Kind
    positions: Floats
    indices: Indices
    normals: Floats | None
    texcoords: dict[int, Floats]
    colors: Floats | None
    material: int | None
    node: int = -1


def parts(document: Document, only: Collection[int] | None = None, *, shaded: bool = True) -> Iterator[Part]:
    """Every primitive of the default scene, or of the nodes ``only``, once per node that uses it; without
    its normals and colours unless it is to be ``shaded``. Raises `Problem`."""
    decoder = _Decoder(document)
    worlds = world_matrices(document)
    for index, world in worlds.items():
        node = document.items("nodes")[index]
        if "mesh" in node and (only is None or index in only):
            yield from decoder.parts(index, world, worlds, shaded)


def world_matrices(document: Document) -> dict[int, Matrix]:
    """The 4 x 4 world matrix of every node of the default scene, parents first."""
    nodes = document.items("nodes")
    worlds: dict[int, Matrix] = {}
    stack = [(index, np.eye(4)) for index in reversed(roots(document))]
    while stack:
        index, parent = stack.pop()
        worlds[index] = parent @ local_matrix(nodes[index])
        stack += [(child, worlds[index]) for child in reversed(nodes[index].get("children", []))]
    return worlds


def roots(document: Document) -> list[int]:
    """The root nodes of the default scene, or of the first; of a document without scenes, all roots."""
    scenes = document.items("scenes")
    if scenes:
        found: list[int] = scenes[document.json.get("scene", 0)].get("nodes", [])
        return found
    children = {child for node in document.items("nodes") for child in node.get("children", [])}
    return [index for index in range(len(document.items("nodes"))) if index not in children]


def wrap(document: Document, matrix: Matrix) -> None:
    """Put a node with that 4 x 4 matrix above all roots of the default scene."""
    top = roots(document)
    if not top:
        return
    nodes = document.json.setdefault("nodes", [])
    nodes.append({"name": "root", "matrix": [float(value) for value in matrix.T.flat], "children": top})
    scenes = document.json.setdefault("scenes", [{}])
    scenes[document.json.setdefault("scene", 0)]["nodes"] = [len(nodes) - 1]


def local_matrix(node: Json) -> Matrix:
    """A node's 4 x 4 matrix relative to its parent."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.array(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix


class _Decoder:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._views: dict[int, bytes] = {}
        self._draco: dict[int, Any] = {}

    def parts(self, index: int, world: Matrix, worlds: dict[int, Matrix], shaded: bool) -> Iterator[Part]:
        node = self._document.items("nodes")[index]
        mesh = self._document.items("meshes")[node["mesh"]]
        name = node.get("name") or mesh.get("name") or ""
        weights = node.get("weights", mesh.get("weights")) or []
        for primitive in mesh["primitives"]:
            attributes = self._attributes(primitive)
            if "POSITION" not in attributes:
                continue
            positions = attributes["POSITION"].astype(np.float64)
            normals = attributes.get("NORMAL") if shaded else None
            for weight, target in zip(weights, primitive.get("targets", []), strict=False):
                if weight:
                    if "POSITION" in target:
                        positions = positions + weight * self.accessor(target["POSITION"])
                    if "NORMAL" in target and normals is not None:
                        normals = normals + weight * self.accessor(target["NORMAL"])
            if "skin" in node and "JOINTS_0" in attributes and "WEIGHTS_0" in attributes:
                blend = self._skinning(node["skin"], attributes, worlds)
                positions = np.einsum("nij,nj->ni", blend[:, :3, :3], positions) + blend[:, :3, 3]
                if normals is not None:
                    normals = np.einsum("nij,nj->ni", blend[:, :3, :3], normals)
                flipped = False
            elif np.array_equal(world, np.eye(4)):
                flipped = False
            else:
                if not np.array_equal(world, _IDENTITY):
                    positions = positions @ world[:3, :3].T + world[:3, 3]
                if normals is not None:
                    normals = normals @ _cofactors(world[:3, :3]).T
                flipped = bool(np.linalg.det(world[:3, :3]) < 0)
            if not np.isfinite(positions).all():
                raise corrupt("a mesh has positions that are not numbers")
            kind, indices = self._indices(primitive, len(positions), attributes.get("INDICES"))
            if flipped and kind == "triangles":
                indices = indices[:, ::-1]
            colors = attributes.get("COLOR_0") if shaded else None
            if colors is not None and colors.shape[1] == 3:
                colors = np.column_stack([colors, np.ones(len(colors), np.float32)])
            yield Part(
                name,
                kind,
                _narrowed(positions),
                np.ascontiguousarray(indices),
                None if normals is None else normals.astype(np.float32),
                {n: attributes[f"TEXCOORD_{n}"] for n in range(4) if f"TEXCOORD_{n}" in attributes},
                colors,
                primitive.get("material"),
                index,
            )

    def _attributes(self, primitive: Json) -> dict[str, Any]:
        draco = primitive.get("extensions", {}).get(DRACO)
        if draco is None:
            return {
                name: self.accessor(index)
                for name, index in primitive["attributes"].items()
                if name.split("_")[0] in ("POSITION", "NORMAL", "TEXCOORD", "COLOR", "JOINTS", "WEIGHTS")
            }
        view = draco["bufferView"]
        if view not in self._draco:
            self._draco[view] = decode_draco(bytes(self._document.view(view)))
        points, faces = self._draco[view]
        found: dict[str, Any] = {"INDICES": faces}
        for name, index in primitive["attributes"].items():
            accessor = self._document.items("accessors")[index]
            if name in draco["attributes"]:
                found[name] = _normalized(points[draco["attributes"][name]], accessor)
            else:
                found[name] = self.accessor(index)
        return found

    def accessor(self, index: int) -> NDArray[Any]:
        """The accessor's elements as floats (n, width); integers that are not normalised stay so."""
        accessor = self._document.items("accessors")[index]
        count, width = accessor["count"], WIDTHS[accessor["type"]]
        dtype = np.dtype(COMPONENTS[accessor["componentType"]])
        if "bufferView" in accessor:
            values = self._strided(accessor, count, width, dtype)
        else:
            values = np.zeros((count, width), dtype)
        sparse = accessor.get("sparse")
        if sparse is not None:
            where, what = sparse["indices"], sparse["values"]
            kind = np.dtype(COMPONENTS[where["componentType"]])
            places = self._strided(where, sparse["count"], 1, kind).ravel()
            if len(places) and int(places.max()) >= count:
                raise corrupt(f"the sparse part of accessor {index} replaces elements it does not have")
            values = values.copy()
            values[places] = self._strided(what, sparse["count"], width, dtype)
        return _normalized(values, accessor)

    def _strided(self, part: Json, count: int, width: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        index = part["bufferView"]
        view = self._document.items("bufferViews")[index]
        if MESHOPT in view.get("extensions", {}):
            if index not in self._views:
                compressed = view["extensions"][MESHOPT]
                self._views[index] = decode_view(bytes(self._document.view(index)), compressed)
            data: bytes | memoryview = self._views[index]
        else:
            data = self._document.view(index)
        stride = view.get("byteStride") or width * dtype.itemsize
        return np.ndarray((count, width), dtype, data, part.get("byteOffset", 0), (stride, dtype.itemsize))

    def _skinning(self, skin: int, attributes: dict[str, Any], worlds: dict[int, Matrix]) -> Matrix:
        found = self._document.items("skins")[skin]
        joints = np.array([worlds.get(joint, np.eye(4)) for joint in found["joints"]])
        if "inverseBindMatrices" in found:
            inverse = self.accessor(found["inverseBindMatrices"])[: len(joints)]
            joints = joints @ inverse.reshape(-1, 4, 4).transpose(0, 2, 1)
        used = attributes["JOINTS_0"].astype(np.int64)
        if used.size and int(used.max()) >= len(joints):
            raise corrupt("a vertex names a joint that its skin does not have")
        weights = attributes["WEIGHTS_0"].astype(np.float64)
        total = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(total > 0, total, 1)
        return np.asarray(np.einsum("nk,nkij->nij", weights, joints[used]))

    def _indices(self, primitive: Json, count: int, decoded: Any) -> tuple[Kind, Indices]:
        if decoded is not None:
            flat = decoded.ravel()
        elif "indices" in primitive:
            flat = self.accessor(primitive["indices"]).ravel()
        else:
            flat = np.arange(count, dtype=np.uint32)
        flat = flat.astype(np.uint32)
        if len(flat) and int(flat.max()) >= count:
            raise corrupt(f"a mesh has {count} vertices and uses number {int(flat.max())}")
        return _assembled(_TRIANGLES if decoded is not None else primitive.get("mode", _TRIANGLES), flat)


def _narrowed(positions: Matrix) -> Floats:
    """The positions in 32 bits, or in 64 where the model is so far from the origin, as surveyed ones
    are, that its details would be lost."""
    if len(positions):
        far = float(np.abs(positions).max())
        if far > 2**12 * float(np.ptp(positions, axis=0).max()) or far > 2**17:
            return positions  # type: ignore[return-value]
    return positions.astype(np.float32)


def _assembled(mode: int, flat: Indices) -> tuple[Kind, Indices]:
    """A primitive's index list as separate triangles, lines or points."""
    if mode == _TRIANGLES:
        return "triangles", flat[: len(flat) // 3 * 3].reshape(-1, 3)
    if mode == _STRIP:
        triangles = np.column_stack([flat[:-2], flat[1:-1], flat[2:]])
        triangles[1::2] = triangles[1::2, [1, 0, 2]]
        return "triangles", triangles
    if mode == _FAN:
        first = np.full(max(len(flat) - 2, 0), flat[0] if len(flat) else 0, np.uint32)
        return "triangles", np.column_stack([flat[1:-1], flat[2:], first])
    if mode == _LINES:
        return "lines", flat[: len(flat) // 2 * 2].reshape(-1, 2)
    if mode == _LINE_STRIP:
        return "lines", np.column_stack([flat[:-1], flat[1:]])
    if mode == _LOOP:
        return "lines", np.column_stack([flat, np.roll(flat, -1)])
    return "points", flat.reshape(-1, 1)


def _normalized(values: NDArray[Any], accessor: Json) -> NDArray[Any]:
    if not accessor.get("normalized") or values.dtype.kind == "f":
        return values
    scaled = values / np.float32(np.iinfo(values.dtype).max)
    return np.maximum(scaled, np.float32(-1)).astype(np.float32)


def _cofactors(matrix: Matrix) -> Matrix:
    """The matrix that carries normals: the inverse transpose up to a factor, defined for any matrix."""
    a, b, c = matrix
    return np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
