"""Which reader reads which format, and what every one's scene goes through to become a document.

A reader's library is loaded when its format first comes up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.embedded.engine.build import build
from shared.embedded.engine.conversion_settings import ConversionSettings
from shared.embedded.engine.document import Document
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.scene import Imported, drop_invalid, give_materials
from shared.problems import Code, Problem


@dataclass(slots=True)
class Source:
    """A model that was read: its document, its length unit (None if it has none, and numbers are as they
    are in the file), and what is to be said about it. ``y_up`` says that its up axis is known, and is y;
    ``data`` are the file's own bytes."""

    format: str
    data: bytes
    document: Document
    unit: str | None
    warnings: list[Warning_]

    @property
    def y_up(self) -> bool:
        return self.format not in _OWN_AXES


#: Formats that do not say which way is up: their axes are kept.
_OWN_AXES = frozenset({"IGES", "OBJ", "OFF", "PLY", "STEP", "STL", "XYZ"})


_Read = tuple[Document, str | None, list[Warning_]]
#: Of the file's bytes, its folder, the name of what it holds, and how its colours are encoded.
_Reader = Callable[[bytes, InputFolder, str, dict[str, Any]], _Read]


def read(format_: str, files: InputFolder, settings: ConversionSettings) -> Source:
    """The model, ready to be written. Raises `Problem`."""
    data = files.read_model()
    if not data:
        raise Problem(Code.EMPTY, "The model is empty. Upload it again.")
    # Remote Rendering's defaults: colours are sRGB-encoded in FBX materials and PLY vertices.
    gamma = {
        "gamma_material": _said(settings.gamma_material, format_ == "FBX"),
        "gamma_vertex": _said(settings.gamma_vertex, format_ in ("FBX", "PLY")),
    }
    return Source(format_, data, *reader(format_)(data, files, files.model.stem, gamma))


def _said(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def reader(format_: str) -> _Reader:
    """The reader of a format of `formats.READS`, with its library loaded."""
    match format_:
        case "glTF":
            from shared.embedded.engine.readers import gltf

            return lambda data, files, name, gamma: _kept(*gltf.read(data, files))
        case "STEP":
            from shared.embedded.engine.readers import step

            return lambda data, files, name, gamma: (*step.read(data), [])
        case "IGES":
            from shared.embedded.engine.readers import iges

            return lambda data, files, name, gamma: (*iges.read(data), [])
        case "STL":
            from shared.embedded.engine.readers import stl

            return lambda data, files, name, gamma: _built(Imported(stl.read(data, name), []), None)
        case "FBX":
            from shared.embedded.engine.readers import fbx

            return lambda data, files, name, gamma: _built(*fbx.read(data, files, **gamma))
        case "PLY":
            from shared.embedded.engine.readers import ply

            return lambda data, files, name, gamma: _built(ply.read(data, files, **gamma), None)
        case "OBJ":
            from shared.embedded.engine.readers import obj

            return lambda data, files, name, gamma: _built(obj.read(data, files, **gamma), None)
        case "3MF":
            from shared.embedded.engine.readers import threemf

            return lambda data, files, name, gamma: _built(*threemf.read(data, files))
        case "IFC":
            from shared.embedded.engine.readers import ifc

            return lambda data, files, name, gamma: _built(*ifc.read(data))
        case "USD":
            from shared.embedded.engine.readers import usd

            return lambda data, files, name, gamma: _built(*usd.read(data, files))
        case "LAS":
            from shared.embedded.engine.readers import las

            return lambda data, files, name, gamma: _built(*las.read(data, name))
        case "E57":
            from shared.embedded.engine.readers import e57

            return lambda data, files, name, gamma: _built(e57.read(data, name), "m")
        case "XYZ":
            from shared.embedded.engine.readers import xyz

            return lambda data, files, name, gamma: _built(xyz.read(data, name), None)
        case _:
            from shared.embedded.engine.readers import others

            return lambda data, files, name, gamma: _built(*others.read(format_, data, files, **gamma))


def _kept(document: Document, warnings: list[Warning_]) -> _Read:
    return document, "m", warnings


def _built(imported: Imported, unit: str | None) -> _Read:
    dropped = drop_invalid(imported.scene)
    if dropped:
        imported.warnings.append(
            Warning_("invalid-geometry", "Invalid triangles are left out", {"elements": dropped})
        )
    give_materials(imported.scene)
    return build(imported.scene), unit, imported.warnings
