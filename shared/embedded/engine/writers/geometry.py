"""Everything a thumbnail shows, as one list of triangles with what is needed to shade them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.decode import Part
from shared.embedded.engine.document import Document, Json
from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.scene import Floats, Matrix
from shared.embedded.engine.writers.obj import transformed

#: Texture slots that shading looks at: name -> where the material keeps it.
SLOTS = ("baseColor", "metallicRoughness", "normal", "emissive", "occlusion")


@dataclass(slots=True)
class Geometry:
    """corners (t, 3, 3) and normals (t, 3, 3) in the world; colors (t, 3, 4); texcoords by slot
    (t, 3, 2); material (t,) is an index into the document's, -1 for none; flat (t,) marks
    triangles that stand for points and lines and are not shaded."""

    corners: Floats
    normals: Floats
    colors: Floats
    texcoords: dict[str, Floats]
    material: NDArray[np.int32]
    flat: NDArray[np.bool_]


def texture_slot(material: Json, slot: str) -> Json | None:
    """A material's glTF texture info for a slot name of `SLOTS`, or None."""
    holder = material.get("pbrMetallicRoughness", {}) if slot in SLOTS[:2] else material
    found: Json | None = holder.get(f"{slot}Texture")
    return found


def gather(document: Document, parts: Iterable[Part]) -> tuple[Geometry, list[Part]]:
    """The triangles, and the parts that are lines or points. Raises `Problem` `corrupt-model`
    if there is nothing to see."""
    pieces: list[Geometry] = []
    thin: list[Part] = []
    for part in parts:
        part = _finite(part)
        if len(part.indices) == 0:
            continue
        if part.kind == "triangles":
            pieces.append(_piece(document, part))
        else:
            thin.append(part)
    if not pieces and not thin:
        raise corrupt("it holds nothing that can be seen")
    return join(pieces), thin


def join(pieces: list[Geometry]) -> Geometry:
    """Several geometries as one."""
    if not pieces:
        empty = np.zeros((0, 3, 3), np.float32)
        return Geometry(
            empty, empty, np.zeros((0, 3, 4), np.float32), {}, np.zeros(0, np.int32), np.zeros(0, bool)
        )
    slots = {slot for piece in pieces for slot in piece.texcoords}
    return Geometry(
        np.concatenate([piece.corners for piece in pieces]),
        np.concatenate([piece.normals for piece in pieces]),
        np.concatenate([piece.colors for piece in pieces]),
        {
            slot: np.concatenate(
                [
                    piece.texcoords.get(slot, np.zeros((len(piece.corners), 3, 2), np.float32))
                    for piece in pieces
                ]
            )
            for slot in slots
        },
        np.concatenate([piece.material for piece in pieces]),
        np.concatenate([piece.flat for piece in pieces]),
    )


def ribbons(part: Part, axes: Matrix, size: float) -> Geometry:
    """Lines and points as triangles that face the viewer, ``size`` wide."""
    ends = part.positions[part.indices]  # (m, 2 or 1, 3)
    right, up = axes[0] * size / 2, axes[1] * size / 2
    if part.kind == "lines":
        along = ends[:, 1] - ends[:, 0]
        side = np.cross(along, axes[2])
        length = np.linalg.norm(side, axis=1, keepdims=True)
        side = np.where(length > 0, side / np.where(length > 0, length, 1) * size / 2, right)
        quad = np.stack([ends[:, 0] - side, ends[:, 0] + side, ends[:, 1] + side, ends[:, 1] - side], 1)
    else:
        middle = ends[:, 0]
        quad = np.stack(
            [middle - right - up, middle + right - up, middle + right + up, middle - right + up], 1
        )
    corners = quad[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3, 3).astype(np.float32)
    first = np.repeat(part.indices[:, 0], 2)
    colors = np.ones((len(corners), 3, 4), np.float32)
    if part.colors is not None:
        colors[:] = part.colors[first][:, None]
    # Without a surface there is no shading: what is farther away is drawn darker instead.
    depth = corners @ axes[2].astype(np.float32)
    near = (depth - depth.min()) / (float(np.ptp(depth)) or 1.0)
    colors[..., :3] *= (0.45 + 0.55 * near)[..., None]
    normals = np.broadcast_to(axes[2].astype(np.float32), corners.shape)
    material = np.full(len(corners), -1 if part.material is None else part.material, np.int32)
    return Geometry(corners, normals, colors, {}, material, np.ones(len(corners), bool))


def _finite(part: Part) -> Part:
    good = np.isfinite(part.positions).all(axis=1)
    if not good.all():
        part.indices = part.indices[good[part.indices].all(axis=1)]
    return part


def _piece(document: Document, part: Part) -> Geometry:
    corners = part.positions[part.indices]
    if part.normals is not None:
        normals = part.normals[part.indices]
    else:
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.repeat(flat[:, None], 3, axis=1)
    count = len(corners)
    colors = np.ones((count, 3, 4), np.float32) if part.colors is None else part.colors[part.indices]
    texcoords = {}
    if part.material is not None:
        material = document.items("materials")[part.material]
        for slot in SLOTS:
            found = texture_slot(material, slot)
            mapped = None if found is None else transformed(part, found)
            if mapped is not None:
                texcoords[slot] = np.nan_to_num(mapped)[part.indices].astype(np.float32)
    material_index = np.full(count, -1 if part.material is None else part.material, np.int32)
    return Geometry(corners, normals, colors, texcoords, material_index, np.zeros(count, bool))
