"""The colour of what a thumbnail's rays hit: glTF materials under a studio's lights, in numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.document import Document, Json
from shared.embedded.engine.images import UnreadableImage
from shared.embedded.engine.pillow import pixels
from shared.embedded.engine.readers.gltf import sources
from shared.embedded.engine.scene import Floats, linear
from shared.embedded.engine.writers.geometry import Geometry, texture_slot

_TEXTURE_SIDE = 1024  # more would only be averaged away at 400 pixels
_DEFAULT: Json = {"pbrMetallicRoughness": {"baseColorFactor": (0.72, 0.73, 0.75, 1), "metallicFactor": 0}}
_CLAMP, _MIRROR = 33071, 33648

# Light comes from a key to the viewer's upper left, a weaker one from the right, the sky and the floor.
_KEY, _KEY_POWER = np.array([-0.45, 0.75, 0.55]), 1.8
_RIM, _RIM_POWER = np.array([0.85, 0.25, 0.1]), 0.55
_SKY, _FLOOR = np.array([0.54, 0.57, 0.62]), np.array([0.25, 0.235, 0.22])


class Shader:
    """Shades hits of one geometry. ``axes`` are the camera's: the lights move with it."""

    def __init__(self, document: Document, geometry: Geometry, axes: NDArray[np.float64]) -> None:
        self._document = document
        self._geometry = geometry
        self._key = unit(_KEY @ axes)
        self._rim = unit(_RIM @ axes)
        self._textures: dict[int, NDArray[np.uint8] | None] = {}

    @property
    def key(self) -> Floats:
        """Where the key light comes from, in the world."""
        return self._key

    def shade(
        self,
        triangles: NDArray[np.int64],
        weights: Floats,
        towards: Floats,
        lit: Floats,
        open_: Floats,
    ) -> tuple[Floats, Floats]:
        """Linear colours (n, 3) and opacities (n,) of hits.

        weights (n, 3) are barycentric, ``towards`` (n, 3) unit vectors to the viewer, ``lit`` (n,) how
        much of the key light arrives, ``open_`` (n,) how much of the surroundings."""
        color = np.zeros((len(triangles), 3), np.float32)
        alpha = np.ones(len(triangles), np.float32)
        materials = self._geometry.material[triangles]
        for index in (np.flatnonzero(np.bincount(materials + 1)) - 1).tolist():
            chosen = np.flatnonzero(materials == index)
            material = self._document.items("materials")[index] if index >= 0 else _DEFAULT
            color[chosen], alpha[chosen] = self._shade_one(
                material, triangles[chosen], weights[chosen], towards[chosen], lit[chosen], open_[chosen]
            )
        return color, alpha

    def normals(self, triangles: NDArray[np.int64], weights: Floats, towards: Floats) -> Floats:
        """Interpolated unit normals (n, 3) on the viewer's side."""
        normal = unit(_mix(self._geometry.normals[triangles], weights))
        corners = self._geometry.corners[triangles]
        face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        behind = np.einsum("ij,ij->i", face, towards) < 0
        turned = np.einsum("ij,ij->i", face, normal) < 0  # the model's winding and normals disagree
        return np.asarray(np.where((behind ^ turned)[:, None], -normal, normal), np.float32)

    def _shade_one(
        self, material: Json, triangles: Any, weights: Floats, towards: Floats, lit: Floats, open_: Floats
    ) -> tuple[Floats, Floats]:
        pbr = material.get("pbrMetallicRoughness", {})
        base = _mix(self._geometry.colors[triangles], weights)
        base = base * np.array(pbr.get("baseColorFactor", (1, 1, 1, 1)), np.float32)
        texel = self._texel(material, "baseColor", triangles, weights)
        if texel is not None:
            base[:, :3] *= linear(texel[:, :3])
            base[:, 3] *= texel[:, 3]
        mode = material.get("alphaMode", "OPAQUE")
        alpha = np.ones(len(base), np.float32)
        if mode == "BLEND":
            alpha = np.clip(base[:, 3], 0, 1)
        elif mode == "MASK":
            alpha = (base[:, 3] >= material.get("alphaCutoff", 0.5)).astype(np.float32)
        if "KHR_materials_unlit" in material.get("extensions", {}):
            return base[:, :3], alpha

        metallic = np.full((len(base), 1), pbr.get("metallicFactor", 1), np.float32)
        rough = np.full((len(base), 1), pbr.get("roughnessFactor", 1), np.float32)
        texel = self._texel(material, "metallicRoughness", triangles, weights)
        if texel is not None:
            metallic, rough = metallic * texel[:, 2:3], rough * texel[:, 1:2]
        texel = self._texel(material, "occlusion", triangles, weights)
        if texel is not None:
            open_ = np.asarray(open_ * texel[:, 0], np.float32)
        normal = self.normals(triangles, weights, towards)
        texel = self._texel(material, "normal", triangles, weights)
        if texel is not None:
            normal = self._bumped(normal, triangles, texel[:, :3] * 2 - 1)
        light = self._light(base[:, :3], metallic, np.clip(rough, 0.08, 1), normal, towards, lit, open_)
        flat = self._geometry.flat[triangles]
        color = np.asarray(np.where(flat[:, None], base[:, :3], light), np.float32)
        emissive = np.array(material.get("emissiveFactor", (0, 0, 0)), np.float32)
        strength = material.get("extensions", {}).get("KHR_materials_emissive_strength", {})
        emissive = emissive * np.float32(strength.get("emissiveStrength", 1))
        if emissive.any():
            texel = self._texel(material, "emissive", triangles, weights)
            color += emissive * (1 if texel is None else linear(texel[:, :3]))
        return color, alpha

    def _light(
        self,
        base: Floats,
        metallic: Floats,
        rough: Floats,
        normal: Floats,
        towards: Floats,
        lit: Floats,
        open_: Floats,
    ) -> Floats:
        facing = np.clip(np.einsum("ij,ij->i", normal, towards), 0, 1)[:, None]
        mirror = 0.04 * (1 - metallic) + base * metallic
        fresnel = mirror + (np.maximum(1 - rough, mirror) - mirror) * (1 - facing) ** 5
        diffuse = base * (1 - metallic)
        open_ = open_[:, None]

        color = diffuse * _surroundings(normal) * open_
        reflected = 2 * facing * normal - towards
        color += fresnel * self._reflection(reflected, rough) * (0.35 + 0.65 * open_)
        for light, power, arrives in ((self._key, _KEY_POWER, lit[:, None]), (self._rim, _RIM_POWER, open_)):
            cosine = np.clip(normal @ light, 0, 1)[:, None]
            half = unit(towards + light)
            sharp = 2 / np.maximum(rough**4, 1e-4) - 2
            peak = np.clip(np.einsum("ij,ij->i", normal, half), 0, 1)[:, None]
            gloss = (sharp + 8) / 8 * peak**sharp
            color += (
                power * arrives * cosine * (diffuse / np.pi * 1.6 + mirror * np.minimum(gloss, 12) * 0.25)
            )
        return np.asarray(color, np.float32)

    def _reflection(self, direction: Floats, rough: Floats) -> Floats:
        """The studio as a mirror sees it, blurred by roughness: gradient, two soft boxes, dark floor."""
        blurred = _surroundings(direction)
        wide = 1 / (0.05 + rough * rough)
        for light, power in ((self._key, 2.2), (self._rim, 1.4)):
            cosine = np.clip(direction @ light, -1, 1)[:, None]
            blurred = blurred + power * np.exp((cosine - 1) * 9 * np.sqrt(wide))
        return blurred

    def _bumped(self, normal: Floats, triangles: Any, bump: Floats) -> Floats:
        """Normals turned by a normal map; its directions follow from the texture coordinates."""
        corners = self._geometry.corners[triangles]
        mapped = self._geometry.texcoords["normal"][triangles]
        edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        uv1, uv2 = mapped[:, 1] - mapped[:, 0], mapped[:, 2] - mapped[:, 0]
        area = uv1[:, :1] * uv2[:, 1:] - uv2[:, :1] * uv1[:, 1:]
        sign = np.where(area < 0, np.float32(-1), np.float32(1))
        tangent = (edge1 * uv2[:, 1:] - edge2 * uv1[:, 1:]) * sign
        bitangent = (edge2 * uv1[:, :1] - edge1 * uv2[:, :1]) * sign
        tangent = unit(tangent - normal * np.einsum("ij,ij->i", tangent, normal)[:, None])
        across = np.cross(normal, tangent)
        across *= np.where(np.einsum("ij,ij->i", across, bitangent) > 0, -1, 1)[:, None]
        # Image rows run downwards, so green, which points up in the picture, is against v.
        return unit(tangent * bump[:, :1] + across * bump[:, 1:2] + normal * bump[:, 2:])

    def _texel(self, material: Json, slot: str, triangles: Any, weights: Floats) -> Floats | None:
        info = texture_slot(material, slot)
        if info is None or slot not in self._geometry.texcoords:
            return None
        texture = self._document.items("textures")[info["index"]]
        for image in sources(texture):
            data = self._image(image)
            if data is not None:
                sampler = {}
                if "sampler" in texture:
                    sampler = self._document.items("samplers")[texture["sampler"]]
                return _sample(data, sampler, _mix(self._geometry.texcoords[slot][triangles], weights))
        return None

    def _image(self, index: int) -> NDArray[np.uint8] | None:
        if index not in self._textures:
            view = self._document.items("images")[index]["bufferView"]
            try:
                self._textures[index] = pixels(bytes(self._document.view(view)), _TEXTURE_SIDE)
            except UnreadableImage:
                self._textures[index] = None
        return self._textures[index]


def _sample(image: NDArray[np.uint8], sampler: Json, at: Floats) -> Floats:
    """Bilinear samples (n, 4) within 0..1 of an image (h, w, 4) at texture coordinates (n, 2)."""
    height, width = image.shape[:2]
    x, x_part = _cells(at[:, 0], width, sampler.get("wrapS"))
    y, y_part = _cells(at[:, 1], height, sampler.get("wrapT"))
    top = image[y[0], x[0]] * (1 - x_part) + image[y[0], x[1]] * x_part
    bottom = image[y[1], x[0]] * (1 - x_part) + image[y[1], x[1]] * x_part
    return np.asarray((top * (1 - y_part) + bottom * y_part) / 255, np.float32)


def _cells(at: Floats, size: int, wrap: int | None) -> tuple[list[NDArray[np.int64]], Floats]:
    place = at.astype(np.float64) * size - 0.5
    low = np.floor(place)
    cells = []
    for cell in (low, low + 1):
        if wrap == _CLAMP:
            cells.append(np.clip(cell, 0, size - 1).astype(np.int64))
        elif wrap == _MIRROR:
            folded = np.mod(cell, 2 * size).astype(np.int64)
            cells.append(np.minimum(folded, 2 * size - 1 - folded))
        else:
            cells.append(np.mod(cell, size).astype(np.int64))
    return cells, (place - low).astype(np.float32)[:, None]


def _surroundings(direction: Floats) -> Floats:
    up = (0.5 + 0.5 * direction[:, 1:2]).astype(np.float32)
    return np.asarray(_FLOOR + (_SKY - _FLOOR) * up, np.float32)


def _mix(corners: Floats, weights: Floats) -> Floats:
    return np.asarray(np.einsum("nij,ni->nj", corners, weights), np.float32)


def unit(vectors: NDArray[np.floating]) -> Floats:
    """Vectors of length one; zero stays zero."""
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)
