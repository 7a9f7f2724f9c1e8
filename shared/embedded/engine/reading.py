"""Which reader reads which format, and what every one's scene goes through to become a document."""

from dataclasses import dataclass
from typing import Any

from shared.embedded.engine.build import build
from shared.embedded.engine.conversion_settings import ConversionSettings
from shared.embedded.engine.document import Document
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers import (
    clouds,
    fbx,
    gltf,
    ifc,
    iges,
    obj,
    others,
    ply,
    step,
    stl,
    threemf,
    usd,
)
from shared.embedded.engine.readers.assimp import Imported
from shared.embedded.engine.scene import drop_invalid, give_materials
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


def read(format_: str, files: InputFolder, settings: ConversionSettings) -> Source:
    """The model, ready to be written. Raises `Problem`."""
    data = files.read_model()
    if not data:
        raise Problem(Code.EMPTY, "The model is empty. Upload it again.")
    return Source(format_, data, *_read(format_, data, files, settings))


def _read(
    format_: str, data: bytes, files: InputFolder, settings: ConversionSettings
) -> tuple[Document, str | None, list[Warning_]]:
    name = files.model.stem
    # Remote Rendering's defaults: colours are sRGB-encoded in FBX materials and PLY vertices.
    gamma: dict[str, Any] = {
        "gamma_material": _said(settings.gamma_material, format_ == "FBX"),
        "gamma_vertex": _said(settings.gamma_vertex, format_ in ("FBX", "PLY")),
    }
    match format_:
        case "glTF":
            document, warnings = gltf.read(data, files)
            return document, "m", warnings
        case "STEP":
            return *step.read(data), []
        case "IGES":
            return *iges.read(data), []
        case "STL":
            return _built(Imported(stl.read(data, name), []), None)
        case "FBX":
            return _built(*fbx.read(data, files, **gamma))
        case "PLY":
            return _built(ply.read(data, files, **gamma), None)
        case "OBJ":
            return _built(obj.read(data, files, **gamma), None)
        case "3MF":
            return _built(*threemf.read(data, files))
        case "IFC":
            return _built(*ifc.read(data))
        case "USD":
            return _built(*usd.read(data, files))
        case "LAS":
            return _built(*clouds.read_las(data, name))
        case "E57":
            return _built(clouds.read_e57(data, name), "m")
        case "XYZ":
            return _built(clouds.read_xyz(data, name), None)
        case _:
            return _built(*others.read(format_, data, files, **gamma))


def _said(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def _built(imported: Imported, unit: str | None) -> tuple[Document, str | None, list[Warning_]]:
    dropped = drop_invalid(imported.scene)
    if dropped:
        imported.warnings.append(
            Warning_("invalid-geometry", "Invalid triangles are left out", {"elements": dropped})
        )
    give_materials(imported.scene)
    return build(imported.scene), unit, imported.warnings
