"""STEP and IGES from STEP and IGES, by OpenCASCADE itself: surfaces stay exact, names and colours stay.

Needs the packages of requirements-cad.txt."""

import os
from collections.abc import Mapping
from pathlib import Path

from OCP.IFSelect import IFSelect_RetDone
from OCP.IGESCAFControl import IGESCAFControl_Reader, IGESCAFControl_Writer
from OCP.Interface import Interface_Static
from OCP.STEPCAFControl import STEPCAFControl_Reader, STEPCAFControl_Writer
from OCP.TCollection import TCollection_ExtendedString
from OCP.TDocStd import TDocStd_Document

from shared.embedded.engine.faults import corrupt

# OpenCASCADE's names of application protocols.
_SCHEMAS = {"203": "AP203", "214": "AP214IS", "242": "AP242DIS"}
_FACES, _BREP = 0, 1  # of IGES: surfaces one by one (5.1), or solids (5.3)


def write(data: bytes, format_: str, type_: str, options: Mapping[str, object], path: Path) -> list[str]:
    """Write a STEP or IGES of one; returns the options that have no effect.

    Raises `Problem` `corrupt-model`."""
    document = _read(data, format_)
    tolerance = float(options.get("tolerance", 0.001))  # type: ignore[arg-type]
    if tolerance > 0:  # in millimetres; zero is what the shapes themselves say
        Interface_Static.SetIVal_s("write.precision.mode", 2)
        Interface_Static.SetRVal_s("write.precision.val", tolerance)
    if type_ == "step":
        schema = _SCHEMAS[str(options.get("applicationProtocol", "214"))]
        Interface_Static.SetCVal_s("write.step.schema", schema)
        step = STEPCAFControl_Writer()
        step.SetColorMode(True)
        step.SetNameMode(True)
        done = step.Transfer(document) and step.Write(str(path)) == IFSelect_RetDone
        ignored: list[str] = []
    else:
        solids = options.get("solidType", "solid") == "solid"
        Interface_Static.SetIVal_s("write.iges.brep.mode", _BREP if solids else _FACES)
        iges = IGESCAFControl_Writer()
        iges.SetColorMode(True)
        iges.SetNameMode(True)
        done = iges.Transfer(document) and iges.Write(str(path))
        ignored = [name for name in ("surfaceType", "sheetType") if name in options]
        if options.get("solidType") == "wireframe":
            ignored.append("solidType")
    if not done or not path.exists():
        raise corrupt(f"OpenCASCADE cannot write it as {type_}")
    return ignored


def _read(data: bytes, format_: str) -> TDocStd_Document:
    document = TDocStd_Document(TCollection_ExtendedString("XmlOcaf"))
    descriptor = os.memfd_create("model")  # the library reads paths, and there need be no file
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        reader = STEPCAFControl_Reader() if format_ == "STEP" else IGESCAFControl_Reader()
        reader.SetColorMode(True)
        reader.SetNameMode(True)
        read = reader.ReadFile(f"/proc/self/fd/{descriptor}") == IFSelect_RetDone
        if not read or not reader.Transfer(document):
            raise corrupt("OpenCASCADE cannot read it")
    finally:
        os.close(descriptor)
    return document
