"""Which files are models, and which conversion service reads which.

Extensions are lower case, with their dot. Pure: nothing here loads a model library.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from shared.embedded.engine.formats import READS as ENGINE_READS

REMOTE_RENDERING: Final = "remote-rendering"
MODEL_DERIVATIVE: Final = "model-derivative"
API2CONVERT: Final = "api2convert"


def _extensions(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


# The source formats of Model Derivative's published GET designdata/formats, of any target. Its
# three patterns (`prt\.\d+$` …) are what `extension` makes of Creo's numbered versions.
_MODEL_DERIVATIVE = _extensions("""
    3dm 3ds a asm axm axmf brd catpart catproduct cgr collaboration dae ddx ddz dgk dgn dlv3 dmt dwf
    dwfx dwg dwgx dwt dxf emodel exp f2d f3d fbrd fbx flbr fprj fsch g gbxml glb gltf iam idw ifc
    ifw ige iges igs ipt iwm jt max model mpf msr neu nwc nwd obj osb par pdf pmlprj pmlprjz prt psm
    psmodel rcp rva rvt sab sat sch session skp sldasm sldprt smb smt ste step stl stla stlb stp
    stpz vpb vue wire x_b x_t xas xpr zip
""")

#: Conversion service -> the extensions it reads. A zip holds a model with its companions. What
#: API2Convert reads is in a catalogue that it answers at run time; the embedded one's is this.
READS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        REMOTE_RENDERING: frozenset(ENGINE_READS) | {".zip"},
        MODEL_DERIVATIVE: _MODEL_DERIVATIVE,
        API2CONVERT: frozenset(ENGINE_READS) | {".zip"},
    }
)

_EVERY_MODEL = frozenset[str]().union(*READS.values())

#: Files that models refer to: materials, buffers, pictures.
COMPANIONS = _extensions("""
    mtl bin
    basis bmp dds exr gif hdr jpeg jpg ktx ktx2 pcx png psd tga tif tiff webp
""")

#: Conversion service -> what it makes when the settings do not say.
DEFAULT_FORMATS: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        REMOTE_RENDERING: (
            {"type": "glb"},
            {"type": "thumbnail", "advanced": {"width": 400, "height": 400}},
        ),
        MODEL_DERIVATIVE: (
            {"type": "obj"},
            {"type": "thumbnail", "advanced": {"width": 400, "height": 400}},
        ),
        API2CONVERT: ({"type": "glb"},),
    }
)

#: Settings of one model stand beside it under its whole name plus this, those of a folder in it.
SIDECAR_SUFFIX = ".conversion.json"
FOLDER_SIDECAR = "conversion.json"

_CREO_VERSION = re.compile(r"\.(asm|neu|prt)\.\d+\Z", re.IGNORECASE)


def extension(path: str) -> str:
    """The extension that tells a file's format, or "". `wheel.prt.12` is version 12 of a `.prt`."""
    if version := _CREO_VERSION.search(path):
        return f".{version[1].lower()}"
    # pathlib would intern every segment, and a sweep asks for millions.
    stem, _, suffix = path.rstrip("/").rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if stem and suffix else ""


def is_model(path: str) -> bool:
    """Whether a conversion can start from the file: some service reads its format.

    The shadows that macOS writes beside files (`._car.obj`) are none.
    """
    parts = path.split("/")
    if parts[-1].startswith("._") or "__MACOSX" in parts:
        return False
    return extension(path) in _EVERY_MODEL


def is_companion(path: str) -> bool:
    """Whether the file is of a kind that models refer to."""
    return extension(path) in COMPANIONS


def services_that_read(extension: str) -> tuple[str, ...]:
    """The names of the conversion services that read a format, the default one first."""
    return tuple(service for service, reads in READS.items() if extension.lower() in reads)


def model_of_sidecar(path: str) -> str | None:
    """The model that `<model file name>.conversion.json` belongs to; None for any other file,
    `conversion.json` (which is a folder's) included."""
    if not path.lower().endswith(SIDECAR_SUFFIX):
        return None
    model = path[: -len(SIDECAR_SUFFIX)]
    return model if is_model(model) else None
