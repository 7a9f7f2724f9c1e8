"""What the converter process is asked to do, and what it answers: plain values that survive JSON.

Nothing here imports a model library, so the service may use it freely.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

#: The file name, and the type among the files made, of the list of a model's objects.
TREE = "tree.json"


@dataclass(frozen=True, slots=True)
class Output:
    """One file to make: a type of `formats.WRITES`, the file name to give it, and its options."""

    type: str
    name: str
    advanced: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one conversion may use. Going over one fails the conversion and names the limit.

    ``memory_mb`` counts on top of the libraries, which are loaded before the conversion starts;
    ``output_mb`` is the sum of all files made.
    """

    memory_mb: int = 3000
    cpu_seconds: int = 1500
    wall_seconds: int = 1500
    output_mb: int = 2000


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion: ``model`` is a path relative to ``input_folder``, which holds the model and
    its companions and nothing else; ``settings`` is the content of a ConversionSettings.json;
    ``tree``: the model's objects are written too, as :data:`TREE`."""

    input_folder: str
    model: str
    output_folder: str
    outputs: tuple[Output, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    tree: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Job":
        return cls(
            **{
                **value,
                "outputs": tuple(Output(**output) for output in value["outputs"]),
                "limits": Limits(**value["limits"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Made:
    """A file in the output folder. ``role`` is "companion" for a file that another one needs
    (the MTL and textures of an OBJ), "report" for one about the model, else None. ``type`` is the
    type of the output it belongs to."""

    type: str
    name: str
    size: int
    sha256: str
    content_type: str
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Warning_:
    """Something that a person should know of a conversion that succeeded: Remote Rendering's
    triple of a code, a title, and details by name."""

    code: str
    title: str
    details: Mapping[str, object] = field(default_factory=dict)


class Failure(NamedTuple):
    """Why there is no output: a code of `shared.problems.Code`, and a message to act on."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """How a conversion ended.

    ``statistics`` of the output (lengths in metres, y-up):
        meshes, triangles (as drawn: a mesh used twice counts twice), points, vertices, materials,
        textures, animations, boundingBox {min: [x, y, z], max: [x, y, z]} or None,
        sourceUnit ("m", "cm", … or None where the format has none).
    ``info`` holds sections of Remote Rendering's info.json, with its own key names:
        conversionSettings, inputInfo, inputStatistics, outputInfo, outputStatistics.
    A failed conversion has none of these, and its output folder may hold what was begun.
    """

    error: Failure | None = None
    made: tuple[Made, ...] = ()
    warnings: tuple[Warning_, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Result":
        return cls(
            error=Failure(*value["error"]) if value["error"] else None,
            made=tuple(Made(**made) for made in value["made"]),
            warnings=tuple(Warning_(**warning) for warning in value["warnings"]),
            statistics=value["statistics"],
            info=value["info"],
        )
