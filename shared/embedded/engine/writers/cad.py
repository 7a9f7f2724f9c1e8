"""STEP and IGES from STEP and IGES, by OpenCASCADE itself: surfaces stay exact, names and colours stay.

Needs the packages of requirements-cad.txt."""

import os
from collections.abc import Mapping
from pathlib import Path

from OCP.BRep import BRep_Builder
from OCP.collections import IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher, Sequence_TDF_Label
from OCP.IFSelect import IFSelect_RetDone
from OCP.IGESCAFControl import IGESCAFControl_Reader, IGESCAFControl_Writer
from OCP.IGESControl import IGESControl_Controller
from OCP.Interface import Interface_Static
from OCP.STEPCAFControl import STEPCAFControl_Reader, STEPCAFControl_Writer
from OCP.STEPControl import STEPControl_Controller
from OCP.TCollection import TCollection_ExtendedString
from OCP.TDocStd import TDocStd_Document
from OCP.TopAbs import TopAbs_ShapeEnum
from OCP.TopExp import TopExp, TopExp_Explorer
from OCP.TopoDS import TopoDS_Compound, TopoDS_Shape
from OCP.XCAFDoc import XCAFDoc_DocumentTool

from shared.embedded.engine.faults import corrupt

# OpenCASCADE's names of application protocols.
_SCHEMAS = {"203": "AP203", "214": "AP214IS", "242": "AP242DIS"}
_FACES, _BREP = 0, 1  # of IGES: surfaces that are trimmed, one by one (5.1), or solids and shells (5.3)


def write(data: bytes, format_: str, type_: str, options: Mapping[str, object], path: Path) -> list[str]:
    """Write a STEP or IGES of one; returns the options that have no effect.

    Raises `Problem` `corrupt-model`."""
    # Without these, a parameter that is set before the first reader or writer is lost.
    STEPControl_Controller.Init_s()
    IGESControl_Controller.Init_s()
    document = _read(data, format_)
    tolerance = float(options.get("tolerance", 0.001))  # type: ignore[arg-type]
    if tolerance > 0:  # in millimetres; zero is what the shapes themselves say
        Interface_Static.SetIVal_s("write.precision.mode", 2)
        Interface_Static.SetRVal_s("write.precision.val", tolerance)
    ignored: list[str] = []
    if type_ == "step":
        schema = _SCHEMAS[str(options.get("applicationProtocol", "214"))]
        Interface_Static.SetCVal_s("write.step.schema", schema)
        step = STEPCAFControl_Writer()
        step.SetColorMode(True)
        step.SetNameMode(True)
        done = step.Transfer(document) and step.Write(str(path)) == IFSelect_RetDone
    else:
        document, mode, ignored = _as_asked(document, options)
        Interface_Static.SetIVal_s("write.iges.brep.mode", mode)
        iges = IGESCAFControl_Writer()
        iges.SetColorMode(True)
        iges.SetNameMode(True)
        done = iges.Transfer(document) and iges.Write(str(path))
    if not done or not path.exists():
        raise corrupt(f"OpenCASCADE cannot write it as {type_}")
    return ignored


def _as_asked(
    document: TDocStd_Document, options: Mapping[str, object]
) -> tuple[TDocStd_Document, int, list[str]]:
    """The document to write as IGES, the mode to write it in, and the options that have no effect.

    OpenCASCADE writes all bodies in one mode, which solids decide where there are any, and surfaces as
    trimmed ones: those that are bounded it cannot write."""
    shapes = _shapes(document)
    solids = any(TopExp_Explorer(one, TopAbs_ShapeEnum.TopAbs_SOLID).More() for one in shapes)
    sheets = any(
        TopExp_Explorer(one, TopAbs_ShapeEnum.TopAbs_FACE, TopAbs_ShapeEnum.TopAbs_SOLID).More()
        for one in shapes
    )
    wanted = str(options.get("solidType", "solid") if solids else options.get("sheetType", "surface"))
    surfaces = wanted == "surface"
    ignored = [] if solids else [name for name in ("solidType",) if name in options]
    if "sheetType" in options and (solids or not sheets) and options["sheetType"] != wanted:
        ignored.append("sheetType")
    if surfaces and options.get("surfaceType") == "wireframe":
        wanted = "wireframe"
    elif "surfaceType" in options and not (surfaces and options["surfaceType"] == "trimmed"):
        ignored.append("surfaceType")
    if wanted == "wireframe":
        return _edges(shapes), _FACES, ignored
    return document, _FACES if surfaces else _BREP, ignored


def _shapes(document: TDocStd_Document) -> list[TopoDS_Shape]:
    tool = XCAFDoc_DocumentTool.ShapeTool_s(document.Main())
    labels = Sequence_TDF_Label()
    tool.GetFreeShapes(labels)
    return [tool.GetShape_s(label) for label in labels]


def _edges(shapes: list[TopoDS_Shape]) -> TDocStd_Document:
    """A document of the shapes' edges, each once; their names and colours are those of bodies, and go."""
    document = TDocStd_Document(TCollection_ExtendedString("XmlOcaf"))
    tool = XCAFDoc_DocumentTool.ShapeTool_s(document.Main())
    builder = BRep_Builder()
    for shape in shapes:
        compound = TopoDS_Compound()
        builder.MakeCompound(compound)
        edges = IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher()  # two faces share an edge
        TopExp.MapShapes_s(shape, TopAbs_ShapeEnum.TopAbs_EDGE, edges)
        for index in range(edges.Extent()):
            builder.Add(compound, edges.FindKey(index + 1))
        tool.AddShape(compound, False)
    return document


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
