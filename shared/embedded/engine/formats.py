"""What the engine reads and writes. A pure table: importing it loads no model library."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType

from shared.problems import Code, Problem

#: File extension (lower case, with its dot) -> the format's name.
READS: Mapping[str, str] = MappingProxyType(
    {
        ".fbx": "FBX",
        ".glb": "glTF",
        ".gltf": "glTF",
        ".obj": "OBJ",
        ".ply": "PLY",
        ".step": "STEP",
        ".stl": "STL",
        ".stp": "STEP",
    }
)

#: Extensions of pictures, which are made into other pictures, and into nothing else.
PICTURES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tga", ".tif", ".tiff", ".webp"})

#: The output types that are pictures of any size, of a model or of a picture.
PICTURE_TYPES = ("jpg", "png")

#: What Model Derivative gives a thumbnail whose size is not said, in pixels.
THUMBNAIL_DEFAULT = 200

# A picture of a model whose size is not said; and any size of one, in pixels.
_PICTURE_DEFAULT = (800, 600)
_SIDE = range(1, 1025)


@dataclass(frozen=True, slots=True)
class Target:
    """An output type: its file extension, content type, and options with their allowed values; a range
    is one of whole numbers."""

    extension: str
    content_type: str
    advanced: Mapping[str, tuple[object, ...] | range] = field(default_factory=dict)


WRITES: Mapping[str, Target] = MappingProxyType(
    {
        "glb": Target(".glb", "model/gltf-binary"),
        "jpg": Target(".jpg", "image/jpeg", {"width": _SIDE, "height": _SIDE}),
        "obj": Target(".obj", "model/obj"),
        "png": Target(".png", "image/png", {"width": _SIDE, "height": _SIDE}),
        "stl": Target(".stl", "model/stl", {"format": ("binary", "ascii")}),
        "thumbnail": Target(".png", "image/png", {"width": (100, 200, 400), "height": (100, 200, 400)}),
    }
)


def read_format(name: str) -> str | None:
    """The name of the format that a file name's extension says, or None if the engine lacks it."""
    return READS.get(PurePosixPath(name).suffix.lower())


def check_output(type_: str, advanced: Mapping[str, object]) -> None:
    """Refuse a type or option that cannot be made: `unsupported-output` names the types there are,
    `invalid-settings` the offending key and its allowed values."""
    target = WRITES.get(type_)
    if target is None:
        raise Problem(
            Code.UNSUPPORTED_OUTPUT,
            f"The output type {type_!r} is not one of {', '.join(sorted(WRITES))}.",
        )
    for key, value in advanced.items():
        if key not in target.advanced:
            known = ", ".join(target.advanced) or "none"
            raise Problem(
                Code.INVALID_SETTINGS,
                f"The output type {type_!r} has no option {key!r} in `advanced` (it has: {known}).",
            )
        allowed = target.advanced[key]
        # `True == 1` in Python, so the type is compared too.
        if not any(type(value) is type(one) and value == one for one in allowed):
            listed = (
                f"a whole number from {allowed[0]} to {allowed[-1]}"
                if isinstance(allowed, range)
                else f"one of {', '.join(map(str, allowed))}"
            )
            raise Problem(
                Code.INVALID_SETTINGS,
                f"`advanced.{key}` of the output type {type_!r} is {value!r}; it must be {listed}.",
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
