"""Remote Rendering's ConversionSettings, checked, and applied to a glTF document."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shared.embedded.engine.decode import wrap
from shared.embedded.engine.document import Document, Json
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.scene import Matrix, linear
from shared.problems import Code, Problem

_AXIS = re.compile(r"default|[+-][xyz]")
_AXES = ("+x", "+y", "+z")
_PACKED_NORMAL = ("AUTO", "NONE", "8_8_8_8_SIGNED_NORMALIZED", "16_16_16_16_FLOAT")
_COLOR = ("NONE", "8_8_8_8_UNSIGNED_NORMALIZED")
_TEXCOORD = ("NONE", "32_32_FLOAT", "16_16_FLOAT")
_VERTEX: Mapping[str, tuple[str, ...]] = {
    "position": ("32_32_32_FLOAT", "16_16_16_16_FLOAT"),
    "color0": _COLOR,
    "color1": _COLOR,
    "normal": _PACKED_NORMAL,
    "tangent": _PACKED_NORMAL,
    "binormal": _PACKED_NORMAL,
    "texcoord0": _TEXCOORD,
    "texcoord1": _TEXCOORD,
}
#: What a GLB does whether it is asked or not: these values need no warning.
_AS_IT_IS: Mapping[str, object] = {
    "sceneGraphMode": "dynamic",
    "generateCollisionMesh": False,
    "fbxAssumeMetallic": False,
    "material-override": "",
    "vertex.position": "32_32_32_FLOAT",
    "vertex.texcoord0": "32_32_FLOAT",
    "vertex.texcoord1": "32_32_FLOAT",
}


def _whether(value: object) -> bool:
    return isinstance(value, bool)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _one_of(*values: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in values


def _positive(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and np.isfinite(value)
        and 1e-12 <= value <= 1e12
    )


def _axes(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    if not all(isinstance(axis, str) and _AXIS.fullmatch(axis) for axis in value):
        return False
    return sorted(axis[-1] for axis in _plain_axes(value)) == ["x", "y", "z"]


def _plain_axes(value: Any) -> list[str]:
    return [_AXES[place] if axis == "default" else axis for place, axis in enumerate(value)]


def _texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) and one for one in value)


#: Key -> whether a value is valid, and what to say that it must be.
_KEYS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "scaling": (_positive, "a number above 0"),
    "recenterToOrigin": (_whether, "true or false"),
    "opaqueMaterialDefaultSidedness": (_one_of("SingleSided", "DoubleSided"), "SingleSided or DoubleSided"),
    "material-override": (_text, "a file name"),
    "gammaToLinearMaterial": (_whether, "true or false"),
    "gammaToLinearVertex": (_whether, "true or false"),
    "sceneGraphMode": (_one_of("none", "static", "dynamic"), "none, static or dynamic"),
    "generateCollisionMesh": (_whether, "true or false"),
    "unlitMaterials": (_whether, "true or false"),
    "deduplicateMaterials": (_whether, "true or false"),
    "fbxAssumeMetallic": (_whether, "true or false"),
    "axis": (_axes, 'three of "default", "+x", "-x", "+y", "-y", "+z", "-z", each axis once'),
    "metadataKeys": (_texts, "a list of names"),
}


@dataclass(frozen=True, slots=True)
class ConversionSettings:
    """Checked settings. None means that the settings do not say, and the model is left as it is.

    Remote Rendering's own defaults for sidedness and merging of materials would change what the
    model says, so they count only where they are asked for."""

    scaling: float = 1.0
    recenter: bool = False
    axes: tuple[str, str, str] = ("+x", "+y", "+z")
    double_sided: bool | None = None
    unlit: bool = False
    deduplicate: bool = False
    gamma_material: bool | None = None
    gamma_vertex: bool | None = None
    given: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def check(cls, content: Mapping[str, object]) -> "ConversionSettings":
        """Raises `Problem` `invalid-settings`, which names the key, its value and what it must be."""
        given: dict[str, object] = {}
        for key, value in content.items():
            if key == "vertex":
                given |= _check_vertex(value)
                continue
            if key not in _KEYS:
                known = ", ".join([*_KEYS, "vertex"])
                raise Problem(
                    Code.INVALID_SETTINGS, f"ConversionSettings has no key {key!r}. It has: {known}."
                )
            valid, wanted = _KEYS[key]
            if not valid(value):
                raise _invalid(key, value, wanted)
            given[key] = value
        sidedness = given.get("opaqueMaterialDefaultSidedness")
        axes = _plain_axes(given.get("axis", _AXES))
        scaling = given.get("scaling", 1.0)
        assert isinstance(scaling, int | float)
        return cls(
            scaling=float(scaling),
            recenter=given.get("recenterToOrigin") is True,
            axes=(axes[0], axes[1], axes[2]),
            double_sided=None if sidedness is None else sidedness == "DoubleSided",
            unlit=given.get("unlitMaterials") is True,
            deduplicate=given.get("deduplicateMaterials") is True,
            gamma_material=_optional(given.get("gammaToLinearMaterial")),
            gamma_vertex=_optional(given.get("gammaToLinearVertex")),
            given=given,
        )

    def warnings(self, source_format: str) -> list[Warning_]:
        """One for each setting that is valid and cannot change a GLB made from this format."""
        applied = {
            "scaling", "recenterToOrigin", "opaqueMaterialDefaultSidedness", "unlitMaterials",
            "deduplicateMaterials", "axis", "gammaToLinearMaterial",
        }  # fmt: skip
        if source_format in ("OBJ", "PLY", "FBX"):
            applied.add("gammaToLinearVertex")
        if source_format == "glTF":
            applied.add("metadataKeys")  # all extras are kept
        return [
            Warning_(
                "setting-not-applied",
                f"The setting {key} has no effect on this output",
                {"setting": key, "value": value},
            )
            for key, value in self.given.items()
            if key not in applied and not (key in _AS_IT_IS and _AS_IT_IS[key] == value)
        ]

    def turn(self) -> Matrix:
        """The 3 x 3 matrix of axis and scaling."""
        matrix = np.zeros((3, 3))
        for row, axis in enumerate(self.axes):
            matrix[row, "xyz".index(axis[1])] = -self.scaling if axis[0] == "-" else self.scaling
        return matrix

    def moves(self, offset: Matrix) -> bool:
        """Whether axis, scaling and a shift by ``offset`` (3,) change anything."""
        return bool(offset.any()) or not np.array_equal(self.turn(), np.eye(3))

    def place(self, document: Document, offset: Matrix) -> None:
        """Apply axis, scaling and then a shift by ``offset`` (3,), by a node above the whole scene.

        A node, because vertices may be compressed, and skins and animations must follow."""
        if not self.moves(offset):
            return
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.turn(), offset
        wrap(document, matrix)

    def apply_to_materials(self, document: Document, source_format: str) -> None:
        """Sidedness, gamma, unlit and deduplication, in this order."""
        materials = document.items("materials")
        if self.unlit and not materials:
            _give_default_material(document)
            materials = document.items("materials")
        for material in materials:
            if self.double_sided is not None and material.get("alphaMode", "OPAQUE") == "OPAQUE":
                material["doubleSided"] = self.double_sided
            if self.gamma_material and source_format in ("glTF", "STEP"):
                _linearize(material)
            if self.unlit:
                material.setdefault("extensions", {})["KHR_materials_unlit"] = {}
                document.use_extension("KHR_materials_unlit")
        if self.deduplicate:
            _deduplicate(document)


def _check_vertex(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise _invalid("vertex", value, "an object")
    for key, format_ in value.items():
        if key not in _VERTEX:
            raise Problem(
                Code.INVALID_SETTINGS,
                f"ConversionSettings has no key 'vertex.{key}'. It has: {', '.join(_VERTEX)}.",
            )
        if not isinstance(format_, str) or format_ not in _VERTEX[key]:
            raise _invalid(f"vertex.{key}", format_, f"one of {', '.join(_VERTEX[key])}")
    return {f"vertex.{key}": format_ for key, format_ in value.items()}


def _invalid(key: str, value: object, wanted: str) -> Problem:
    return Problem(
        Code.INVALID_SETTINGS,
        f"The ConversionSettings key '{key}' is {str(value)[:100]!r}; it must be {wanted}.",
    )


def _optional(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _linearize(material: Json) -> None:
    pbr = material.get("pbrMetallicRoughness", {})
    for holder, key in ((pbr, "baseColorFactor"), (material, "emissiveFactor")):
        if key in holder:
            color = np.clip(np.array(holder[key][:3], np.float64), 0, 1)
            holder[key] = [*(float(value) for value in linear(color)), *holder[key][3:]]


def _give_default_material(document: Document) -> None:
    """An explicit material for the primitives that use glTF's default one."""
    document.json["materials"] = [{}]
    for mesh in document.items("meshes"):
        for primitive in mesh["primitives"]:
            primitive["material"] = 0


def _deduplicate(document: Document) -> None:
    """Materials that differ in nothing but their name become one, with the first one's name."""
    firsts: dict[str, int] = {}
    kept: list[Json] = []
    moved: list[int] = []
    for material in document.items("materials"):
        looks = repr(sorted((key, repr(value)) for key, value in material.items() if key != "name"))
        if looks not in firsts:
            firsts[looks] = len(kept)
            kept.append(material)
        moved.append(firsts[looks])
    if len(kept) == len(moved):
        return
    document.json["materials"] = kept
    for mesh in document.items("meshes"):
        for primitive in mesh["primitives"]:
            if "material" in primitive:
                primitive["material"] = moved[primitive["material"]]
            variants = primitive.get("extensions", {}).get("KHR_materials_variants", {})
            for mapping in variants.get("mappings", []):
                mapping["material"] = moved[mapping["material"]]
