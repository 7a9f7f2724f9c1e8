"""What a document holds, counted: for manifests, and for Remote Rendering's info.json."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shared.embedded.engine.decode import Part, roots
from shared.embedded.engine.document import Document


@dataclass(slots=True)
class Measures:
    """Filled while a document's parts are walked once."""

    triangles: int = 0
    vertices: int = 0
    points: int = 0
    low: np.ndarray[tuple[int], np.dtype[np.float64]] = field(default_factory=lambda: np.full(3, np.inf))
    high: np.ndarray[tuple[int], np.dtype[np.float64]] = field(default_factory=lambda: np.full(3, -np.inf))
    faces: list[int] = field(default_factory=list)  # triangles or points of each part

    def add(self, part: Part) -> None:
        if part.kind == "triangles":
            self.triangles += len(part.indices)
        elif part.kind == "points":
            self.points += len(part.indices)
        self.faces.append(len(part.indices))
        self.vertices += len(part.positions)
        used = np.zeros(len(part.positions), bool)
        used[part.indices.ravel()] = True
        if used.any():
            drawn = part.positions if used.all() else part.positions[used]
            self.low = np.minimum(self.low, drawn.min(axis=0))
            self.high = np.maximum(self.high, drawn.max(axis=0))

    @property
    def box(self) -> dict[str, list[float]] | None:
        """{"min": [x, y, z], "max": [x, y, z]} of what is drawn, or None if nothing is."""
        if not np.isfinite(self.low).all():
            return None
        return {"min": [float(value) for value in self.low], "max": [float(value) for value in self.high]}


def statistics(document: Document, measures: Measures, source_unit: str | None) -> dict[str, Any]:
    """`Result.statistics`: see there."""
    return {
        "meshes": len(document.items("meshes")),
        "triangles": measures.triangles,
        "points": measures.points,
        "vertices": measures.vertices,
        "materials": len(document.items("materials")),
        "textures": len(document.items("images")),
        "animations": len(document.items("animations")),
        "boundingBox": measures.box,
        "sourceUnit": source_unit,
    }


def input_statistics(document: Document, measures: Measures) -> dict[str, int]:
    """`inputStatistics` of info.json, with Remote Rendering's names."""
    nodes = document.items("nodes")
    return {
        "numMeshes": len(document.items("meshes")),
        "numFaces": measures.triangles + measures.points,
        "numVertices": measures.vertices,
        "numMaterial": len(document.items("materials")),
        "numFacesSmallestMesh": min(measures.faces, default=0),
        "numFacesBiggestMesh": max(measures.faces, default=0),
        "numNodes": len(nodes),
        "numMeshUsagesInScene": sum("mesh" in node for node in nodes),
        "maxNodeDepth": _depth(document),
    }


def _depth(document: Document) -> int:
    nodes = document.items("nodes")
    depth, level = 0, roots(document)
    while level:
        depth += 1
        level = [child for index in level for child in nodes[index].get("children", [])]
    return depth
