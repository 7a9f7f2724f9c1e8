"""What the engine reads and writes. A pure table: importing it loads no model library."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Protocol

from shared.problems import Code, Problem

#: File extension (lower case, with its dot) -> the format's name.
READS: Mapping[str, str] = MappingProxyType(
    {
        ".3ds": "3DS",
        ".3mf": "3MF",
        ".dae": "DAE",
        ".dxf": "DXF",
        ".e57": "E57",
        ".fbx": "FBX",
        ".glb": "glTF",
        ".gltf": "glTF",
        ".ifc": "IFC",
        ".ige": "IGES",
        ".iges": "IGES",
        ".igs": "IGES",
        ".las": "LAS",
        ".laz": "LAS",
        ".obj": "OBJ",
        ".off": "OFF",
        ".ply": "PLY",
        ".step": "STEP",
        ".stl": "STL",
        ".stp": "STEP",
        ".usd": "USD",
        ".usda": "USD",
        ".usdc": "USD",
        ".usdz": "USD",
        ".x3d": "X3D",
        ".xyz": "XYZ",
    }
)

#: Extensions of pictures, which are made into other pictures, and into nothing else.
PICTURES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tga", ".tif", ".tiff", ".webp"})

#: The output types that are pictures of any size, of a model or of a picture.
PICTURE_TYPES = ("jpg", "png")

#: Formats that describe surfaces exactly; only from these can such a description be written.
CAD = frozenset({"STEP", "IGES"})

#: What Model Derivative gives a thumbnail whose size is not said, in pixels.
THUMBNAIL_DEFAULT = 200

# A picture of a model whose size is not said, in pixels.
_PICTURE_DEFAULT = (800, 600)

#: The options of an output that takes only a part of the model: ids of the objects in its tree, and
#: the view that they belong to.
OBJECT_IDS, MODEL_GUID = "objectIds", "modelGuid"
WHOLE_MODEL = -1

#: Unit of an OBJ -> its metres.
UNITS: Mapping[str, float] = MappingProxyType(
    {
        "meter": 1.0,
        "decimeter": 0.1,
        "centimeter": 0.01,
        "millimeter": 1e-3,
        "micrometer": 1e-6,
        "nanometer": 1e-9,
        "yard": 0.9144,
        "foot": 0.3048,
        "inch": 0.0254,
        "mil": 2.54e-5,
        "microinch": 2.54e-8,
    }
)


class Option(Protocol):
    """What a value of `advanced` may be; ``values`` are all of them, where they can be counted."""

    @property
    def values(self) -> tuple[object, ...]: ...

    @property
    def wanted(self) -> str: ...

    def allows(self, value: object) -> bool: ...


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values; the first is the default."""

    values: tuple[object, ...]

    @property
    def wanted(self) -> str:
        return f"one of {', '.join(map(_shown, self.values))}"

    def allows(self, value: object) -> bool:
        # `True == 1` in Python, so the type is compared too.
        return any(type(value) is type(one) and value == one for one in self.values)


@dataclass(frozen=True, slots=True)
class Within:
    """A number from ``low`` to ``high``."""

    low: float
    high: float
    values: tuple[object, ...] = ()

    @property
    def wanted(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def allows(self, value: object) -> bool:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high
        )


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``low`` to ``high``."""

    low: int
    high: int
    values: tuple[object, ...] = ()

    @property
    def wanted(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def allows(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class ObjectIds:
    """A list of ids, or of -1 alone for the whole model."""

    values: tuple[object, ...] = ()
    wanted: str = "a list of object ids, equal to or greater than 0, or [-1] for the whole model"

    def allows(self, value: object) -> bool:
        if not isinstance(value, list | tuple) or not value:
            return False
        if any(type(one) is not int for one in value):
            return False
        return list(value) == [WHOLE_MODEL] or min(value) >= 0


@dataclass(frozen=True, slots=True)
class Name:
    """A text that is not empty."""

    values: tuple[object, ...] = ()
    wanted: str = "a text"

    def allows(self, value: object) -> bool:
        return isinstance(value, str) and 0 < len(value) <= 200


@dataclass(frozen=True, slots=True)
class Target:
    """An output type: its file extension, content type, and options with what they may be.

    ``needs`` is the package that makes it, where that is an optional one; ``sources`` the formats that
    it is made of, None for all."""

    extension: str
    content_type: str
    advanced: Mapping[str, Option] = field(default_factory=dict)
    needs: str | None = None
    sources: frozenset[str] | None = None


_STRUCTURE = Choice(("single", "multiple"))
_TOLERANCE = Within(0, 1)
_SIZE: Mapping[str, Option] = {"width": Whole(1, 1024), "height": Whole(1, 1024)}

#: Every output type that there is code for.
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "3mf": Target(".3mf", "model/3mf"),
        "glb": Target(".glb", "model/gltf-binary"),
        "gltf": Target(".gltf", "model/gltf+json"),
        "iges": Target(
            ".igs",
            "model/iges",
            {
                "tolerance": _TOLERANCE,
                "surfaceType": Choice(("bounded", "trimmed", "wireframe")),
                "sheetType": Choice(("surface", "open", "shell", "wireframe")),
                "solidType": Choice(("solid", "surface", "wireframe")),
            },
            needs="OCP",
            sources=CAD,
        ),
        "jpg": Target(".jpg", "image/jpeg", _SIZE),
        "obj": Target(
            ".obj",
            "model/obj",
            {
                "exportFileStructure": _STRUCTURE,
                "unit": Choice(tuple(UNITS)),
                MODEL_GUID: Name(),
                OBJECT_IDS: ObjectIds(),
            },
        ),
        "ply": Target(".ply", "model/ply"),
        "png": Target(".png", "image/png", _SIZE),
        "step": Target(
            ".stp",
            "model/step",
            {"applicationProtocol": Choice(("214", "203", "242")), "tolerance": _TOLERANCE},
            needs="OCP",
            sources=CAD,
        ),
        "stl": Target(
            ".stl",
            "model/stl",
            {
                "format": Choice(("binary", "ascii")),
                "exportColor": Choice((True, False)),
                "exportFileStructure": _STRUCTURE,
            },
        ),
        "thumbnail": Target(
            ".png", "image/png", {"width": Choice((100, 200, 400)), "height": Choice((100, 200, 400))}
        ),
        "usdz": Target(".usdz", "model/vnd.usdz+zip"),
    }
)

#: The output types that can be made here: those whose optional package is installed.
WRITES: Mapping[str, Target] = MappingProxyType(
    {
        name: target
        for name, target in TARGETS.items()
        if target.needs is None or find_spec(target.needs) is not None
    }
)


def read_format(name: str) -> str | None:
    """The name of the format that a file name's extension says, or None if the engine lacks it."""
    return READS.get(PurePosixPath(name).suffix.lower())


def sources_of(type_: str) -> tuple[str, ...]:
    """The extensions (with their dots) of what an output type is made of here; none if it is not made."""
    target = WRITES.get(type_)
    if target is None:
        return ()
    return tuple(one for one, name in READS.items() if target.sources is None or name in target.sources)


def check_output(type_: str, advanced: Mapping[str, object], source: str | None = None) -> None:
    """Refuse a type or option that cannot be made, of a model of the format ``source`` if that is known:
    `unsupported-output` names the types there are, `invalid-settings` the offending key and its values."""
    target = WRITES.get(type_)
    if target is None:
        lacking = TARGETS.get(type_)
        why = f" It needs the optional package {lacking.needs}, which is not installed." if lacking else ""
        raise Problem(
            Code.UNSUPPORTED_OUTPUT,
            f"The output type {type_!r} is not one of {', '.join(sorted(WRITES))}.{why}",
        )
    if source is not None and target.sources is not None and source not in target.sources:
        raise Problem(
            Code.UNSUPPORTED_OUTPUT,
            f"The output type {type_!r} is made of {', '.join(sorted(target.sources))} only, and the model "
            f"is {source}.",
        )
    for key, value in advanced.items():
        option = target.advanced.get(key)
        if option is None:
            known = ", ".join(target.advanced) or "none"
            raise Problem(
                Code.INVALID_SETTINGS,
                f"The output type {type_!r} has no option {key!r} in `advanced` (it has: {known}).",
            )
        if not option.allows(value):
            raise Problem(
                Code.INVALID_SETTINGS,
                f"`advanced.{key}` of the output type {type_!r} is {str(value)[:100]!r}; "
                f"it must be {option.wanted}.",
            )


def thumbnail_size(advanced: Mapping[str, object]) -> tuple[int, int]:
    """Width and height in pixels of checked thumbnail options; one alone means a square."""
    width = advanced.get("width", advanced.get("height", THUMBNAIL_DEFAULT))
    height = advanced.get("height", width)
    assert isinstance(width, int) and isinstance(height, int)
    return width, height


def picture_size(advanced: Mapping[str, object]) -> tuple[int, int]:
    """Width and height in pixels of a picture of a model; one alone means a square."""
    if "width" in advanced or "height" in advanced:
        return thumbnail_size(advanced)
    return _PICTURE_DEFAULT


def file_name(stem: str, type_: str, advanced: Mapping[str, object]) -> str:
    """The file name of a checked output: `car.glb`, and `car.400x400.png` for a thumbnail."""
    if type_ == "thumbnail":
        width, height = thumbnail_size(advanced)
        return f"{stem}.{width}x{height}.png"
    return stem + WRITES[type_].extension
