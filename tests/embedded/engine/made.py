"""A small model of every format that the engine reads, written down or made by a library.

Each is a tetrahedron, a box or a few points; the ones that say their unit are not in metres.
"""

import io
import struct
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pye57

from tests.embedded.engine.shapes import ascii_stl, glb, sphere, triangle
from tests.embedded.models import obj, png

DATA = Path(__file__).parent / "data"
POINTS = [(0, 0, 0), (10, 0, 0), (0, 10, 0), (0, 0, 10)]
FACES = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]


def off() -> bytes:
    lines = ["OFF", f"{len(POINTS)} {len(FACES)} 0"]
    lines += [" ".join(map(str, point)) for point in POINTS]
    lines += [f"3 {a} {b} {c}" for a, b, c in FACES]
    return "\n".join(lines).encode()


def ply() -> bytes:
    head = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 4\nproperty list uchar int vertex_indices\nend_header\n"
    body = "".join(f"{x} {y} {z}\n" for x, y, z in POINTS) + "".join(f"3 {a} {b} {c}\n" for a, b, c in FACES)
    return (head + body).encode()


def dae(texture: str = "", unit: str = "0.01") -> bytes:
    """A tetrahedron, z-up, in centimetres, perhaps with a texture."""
    places = " ".join(f"{x} {y} {z}" for x, y, z in POINTS)
    image = f'<image id="i"><init_from>{texture}</init_from></image>' if texture else ""
    color = "<color>1 0 0 1</color>"
    if texture:
        color = '<texture texture="s" texcoord="UV"/>'
    return f"""<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><unit name="u" meter="{unit}"/><up_axis>Z_UP</up_axis></asset>
<library_images>{image}</library_images>
<library_effects><effect id="e"><profile_COMMON>
<newparam sid="f"><surface type="2D"><init_from>i</init_from></surface></newparam>
<newparam sid="s"><sampler2D><source>f</source></sampler2D></newparam>
<technique sid="t"><phong><diffuse>{color}</diffuse></phong></technique></profile_COMMON></effect>
</library_effects>
<library_materials><material id="m" name="skin"><instance_effect url="#e"/></material></library_materials>
<library_geometries><geometry id="g" name="tetra"><mesh>
<source id="p"><float_array id="pa" count="12">{places}</float_array><technique_common>
<accessor source="#pa" count="4" stride="3"><param name="X" type="float"/><param name="Y" type="float"/>
<param name="Z" type="float"/></accessor></technique_common></source>
<source id="u"><float_array id="ua" count="8">0 0 1 0 0 1 1 1</float_array><technique_common>
<accessor source="#ua" count="4" stride="2"><param name="S" type="float"/><param name="T" type="float"/>
</accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<triangles count="4" material="M"><input semantic="VERTEX" source="#v" offset="0"/>
<input semantic="TEXCOORD" source="#u" offset="0" set="0"/><p>{_flat()}</p></triangles>
</mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="w"><node id="n" name="part"><translate>0 0 5</translate>
<instance_geometry url="#g"><bind_material><technique_common>
<instance_material symbol="M" target="#m"><bind_vertex_input semantic="UV" input_semantic="TEXCOORD"
 input_set="0"/></instance_material></technique_common></bind_material></instance_geometry></node>
</visual_scene></library_visual_scenes>
<scene><instance_visual_scene url="#w"/></scene></COLLADA>""".encode()


def _flat() -> str:
    return " ".join(str(corner) for face in FACES for corner in face)


def x3d(texture: str = "") -> bytes:
    places = ", ".join(f"{x} {y} {z}" for x, y, z in POINTS)
    image = f"<ImageTexture url='\"{texture}\"'/>" if texture else ""
    faces = " ".join(f"{a} {b} {c} -1" for a, b, c in FACES)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<X3D profile="Interchange" version="3.0"><Scene><Transform translation="1 0 0" DEF="moved"><Shape>
<Appearance><Material diffuseColor="1 0 0"/>{image}</Appearance>
<IndexedFaceSet coordIndex="{faces}"><Coordinate point="{places}"/></IndexedFaceSet>
</Shape></Transform></Scene></X3D>""".encode()


def dxf(unit: int | None = 4) -> bytes:
    """3DFACEs; the unit is that of $INSUNITS, 4 for millimetres."""
    rows: list[tuple[int, Any]] = [(0, "SECTION"), (2, "HEADER")]
    if unit is not None:
        rows += [(9, "$INSUNITS"), (70, unit)]
    rows += [(0, "ENDSEC"), (0, "SECTION"), (2, "ENTITIES")]
    for face in FACES:
        rows += [(0, "3DFACE"), (8, "layer")]
        for index, corner in enumerate((*face, face[2])):
            rows += [(10 * (axis + 1) + index, float(POINTS[corner][axis])) for axis in range(3)]
    rows += [(0, "ENDSEC"), (0, "EOF")]
    return "".join(f"{code:3}\n{value}\n" for code, value in rows).encode()


def _chunk(number: int, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack("<HI", number, 6 + len(body)) + body


def threeds(texture: str = "") -> bytes:
    places = struct.pack("<H", 4) + b"".join(struct.pack("<3f", *point) for point in POINTS)
    faces = struct.pack("<H", 4) + b"".join(struct.pack("<4H", *face, 7) for face in FACES)
    used = _chunk(0x4130, b"skin\0", struct.pack("<5H", 4, 0, 1, 2, 3))
    texcoords = _chunk(0x4140, struct.pack("<H8f", 4, 0, 0, 1, 0, 0, 1, 1, 1))
    mesh = _chunk(0x4100, _chunk(0x4110, places), texcoords, _chunk(0x4120, faces, used))
    image = _chunk(0xA200, _chunk(0xA300, texture.encode() + b"\0")) if texture else b""
    red = _chunk(0xA020, _chunk(0x0011, bytes((255, 0, 0))))
    material = _chunk(0xAFFF, _chunk(0xA000, b"skin\0"), red, image)
    return _chunk(0x4D4D, _chunk(0x3D3D, material, _chunk(0x4000, b"tetra\0", mesh)))


#: Of an FBX: a node's name, its values, its children.
_Fbx = tuple[str, list[Any], list[Any]]


def fbx(texture: bytes = b"", named: str = "") -> bytes:
    """A tetrahedron in centimetres, binary, perhaps with a picture, inside or by its name."""
    mesh, node, skin, image, video = (np.int64(2**40 + number) for number in range(5))
    corners = [corner for a, b, c in FACES for corner in (a, b, ~c)]
    centimetres = [_property("UnitScaleFactor", "double", 1.0)]
    uvs: list[_Fbx] = [("UV", [[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]], []), ("UVIndex", [[0, 1, 2] * 4], [])]
    uvs += [("MappingInformationType", ["ByPolygonVertex"], [])]
    uvs += [("ReferenceInformationType", ["IndexToDirect"], [])]
    skins: list[_Fbx] = [("MappingInformationType", ["AllSame"], []), ("Materials", [[0]], [])]
    skins += [("ReferenceInformationType", ["IndexToDirect"], [])]
    layers: list[_Fbx] = [
        ("LayerElement", [], [("Type", [type_], []), ("TypedIndex", [0], [])])
        for type_ in ("LayerElementUV", "LayerElementMaterial")
    ]
    geometry: list[_Fbx] = [("Vertices", [np.array(POINTS, np.float64).ravel().tolist()], [])]
    geometry += [("PolygonVertexIndex", [corners], []), ("LayerElementUV", [0], uvs)]
    geometry += [("LayerElementMaterial", [0], skins), ("Layer", [0], layers)]
    objects: list[_Fbx] = [
        ("Geometry", [mesh, "tetra\0\1Geometry", "Mesh"], geometry),
        (
            "Model",
            [node, "tetra\0\1Model", "Mesh"],
            [("Properties70", [], [_property("Lcl Translation", "Lcl Translation", 0.0, 0.0, 5.0)])],
        ),
        (
            "Material",
            [skin, "skin\0\1Material", ""],
            [("Properties70", [], [_property("DiffuseColor", "Color", 1.0, 0.0, 0.0)])],
        ),
    ]
    ties: list[list[Any]] = [["OO", node, np.int64(0)], ["OO", mesh, node], ["OO", skin, node]]
    if texture or named:
        paths: list[_Fbx] = [(key, [named or "picture.png"], []) for key in ("RelativeFilename", "FileName")]
        content = [*paths, ("Content", [texture], [])]
        objects += [("Video", [video, "picture\0\1Video", "Clip"], content)]
        objects += [("Texture", [image, "picture\0\1Texture", ""], paths)]
        ties += [["OO", video, image], ["OP", image, skin, "DiffuseColor"]]
    out = b"Kaydara FBX Binary  \0\x1a\0" + struct.pack("<I", 7400)
    tops: list[_Fbx] = [
        ("FBXHeaderExtension", [], [("FBXVersion", [7400], [])]),
        ("GlobalSettings", [], [("Properties70", [], centimetres)]),
        ("Objects", [], objects),
        ("Connections", [], [("C", tie, []) for tie in ties]),
    ]
    for top in tops:
        out += _fbx_node(len(out), *top)
    return out + bytes(13)


def _property(name: str, type_: str, *values: float) -> _Fbx:
    return ("P", [name, type_, "", "", *values], [])


def _fbx_node(at: int, name: str, values: list[Any], children: list[_Fbx]) -> bytes:
    """A node that starts at byte ``at`` of its file, which is what its end is counted from."""
    written = [_fbx_value(value) for value in values]
    head = struct.pack("<2IB", len(written), sum(map(len, written)), len(name)) + name.encode()
    body = head + b"".join(written)
    for child in children:
        body += _fbx_node(at + 4 + len(body), *child)
    body += bytes(13 if children else 0)
    return struct.pack("<I", at + 4 + len(body)) + body


def _fbx_value(value: Any) -> bytes:
    if isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        return (b"S" if isinstance(value, str) else b"R") + struct.pack("<I", len(data)) + data
    if isinstance(value, list):
        kind = "d" if isinstance(value[0], float) else "i"
        body = struct.pack(f"<{len(value)}{kind}", *value)
        return kind.encode() + struct.pack("<3I", len(value), 0, len(body)) + body
    if isinstance(value, float):
        return b"D" + struct.pack("<d", value)
    return b"L" + struct.pack("<q", value) if isinstance(value, np.int64) else b"I" + struct.pack("<i", value)


_3MF = "http://schemas.microsoft.com/3dmanufacturing"
_RELATIONSHIP = "http://schemas.openxmlformats.org/package/2006/relationships"


def threemf_mesh(attributes: str = "") -> str:
    places = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in POINTS)
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"{attributes}/>' for a, b, c in FACES)
    return f"<mesh><vertices>{places}</vertices><triangles>{faces}</triangles></mesh>"


def threemf_model(resources: str, build: str, unit: str = "millimeter", head: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{head}<model unit="{unit}" xmlns="{_3MF}/core/2015/02" '
        f'xmlns:m="{_3MF}/material/2015/02" xmlns:p="{_3MF}/production/2015/06">'
        f"<resources>{resources}</resources><build>{build}</build></model>"
    ).encode()


def threemf(model: bytes | None = None, **files: bytes) -> bytes:
    """A package; names of further files have __ where paths have a slash, and _dot_ for a dot."""
    if model is None:
        model = threemf_model(
            f'<object id="1" name="tetra">{threemf_mesh()}</object>', '<item objectid="1"/>'
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        target = '<Relationship Target="/3D/3dmodel.model" Id="a" Type="' + f'{_3MF}/2013/01/3dmodel"/>'
        package.writestr("_rels/.rels", f'<Relationships xmlns="{_RELATIONSHIP}">{target}</Relationships>')
        package.writestr("3D/3dmodel.model", model)
        for name, data in files.items():
            package.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return out.getvalue()


def ifc() -> bytes:
    """A wall on a storey, and a space that must not be drawn; millimetres."""
    rows = [
        "IFCPROJECT('0YvctVUKr0kugbFTf53O9L',$,'Project',$,$,$,$,(#5),#3)",
        "IFCSIUNIT(*,.LENGTHUNIT.,.MILLI.,.METRE.)",
        "IFCUNITASSIGNMENT((#2))",
        "IFCCARTESIANPOINT((0.,0.,0.))",
        "IFCGEOMETRICREPRESENTATIONCONTEXT($,'Model',3,1.E-5,#6,$)",
        "IFCAXIS2PLACEMENT3D(#4,$,$)",
        "IFCLOCALPLACEMENT($,#6)",
        "IFCBUILDINGSTOREY('1YvctVUKr0kugbFTf53O9L',$,'Ground',$,$,#7,$,$,.ELEMENT.,0.)",
        "IFCRELAGGREGATES('2YvctVUKr0kugbFTf53O9L',$,$,$,#1,(#8))",
        "IFCCARTESIANPOINT((0.,0.))",
        "IFCAXIS2PLACEMENT2D(#10,$)",
        "IFCRECTANGLEPROFILEDEF(.AREA.,$,#11,4000.,200.)",
        "IFCDIRECTION((0.,0.,1.))",
        "IFCEXTRUDEDAREASOLID(#12,#6,#13,3000.)",
        "IFCSHAPEREPRESENTATION(#5,'Body','SweptSolid',(#14))",
        "IFCPRODUCTDEFINITIONSHAPE($,$,(#15))",
        "IFCWALL('3YvctVUKr0kugbFTf53O9L',$,'Front wall',$,$,#7,#16,$,$)",
        "IFCSPACE('3ZvctVUKr0kugbFTf53O9L',$,'Room',$,$,#7,#16,$,.ELEMENT.,.INTERNAL.,$)",
        "IFCRELCONTAINEDINSPATIALSTRUCTURE('3XvctVUKr0kugbFTf53O9L',$,$,$,(#17),#8)",
        "IFCPROPERTYSINGLEVALUE('FireRating',$,IFCLABEL('F90'),$)",
        "IFCPROPERTYSET('3WvctVUKr0kugbFTf53O9L',$,'Pset_WallCommon',$,(#20))",
        "IFCRELDEFINESBYPROPERTIES('3VvctVUKr0kugbFTf53O9L',$,$,$,(#17),#21)",
    ]
    body = "\n".join(f"#{number}={row};" for number, row in enumerate(rows, 1))
    return (
        "ISO-10303-21;\nHEADER;\nFILE_DESCRIPTION((''),'2;1');\nFILE_NAME('','',(''),(''),'','','');\n"
        f"FILE_SCHEMA(('IFC4'));\nENDSEC;\nDATA;\n{body}\nENDSEC;\nEND-ISO-10303-21;\n"
    ).encode()


def usda(texture: str = "", head: str = 'upAxis = "Z"\n    metersPerUnit = 0.01') -> bytes:
    """A tetrahedron, z-up, in centimetres, perhaps with a texture."""
    shader = """def Shader "Surface" { uniform token info:id = "UsdPreviewSurface"
 color3f inputs:diffuseColor = (1, 0, 0)
 token outputs:surface }"""
    if texture:
        shader = f"""def Shader "Surface" {{ uniform token info:id = "UsdPreviewSurface"
 color3f inputs:diffuseColor.connect = </Model/Skin/Picture.outputs:rgb>
 token outputs:surface }}
def Shader "Picture" {{ uniform token info:id = "UsdUVTexture"
 asset inputs:file = @{texture}@
 float2 inputs:st.connect = </Model/Skin/Reader.outputs:result>
 float3 outputs:rgb }}
def Shader "Reader" {{ uniform token info:id = "UsdPrimvarReader_float2"
 string inputs:varname = "st"
 float2 outputs:result }}"""
    counts, corners = ", ".join("3" for _ in FACES), _flat().replace(" ", ", ")
    return f"""#usda 1.0
(
    defaultPrim = "Model"
    {head}
)
def Xform "Model" {{
 double3 xformOp:translate = (0, 0, 5)
 uniform token[] xformOpOrder = ["xformOp:translate"]
 def Mesh "Tetra" (prepend apiSchemas = ["MaterialBindingAPI"]) {{
  int[] faceVertexCounts = [{counts}]
  int[] faceVertexIndices = [{corners}]
  point3f[] points = [{", ".join(map(str, POINTS))}]
  texCoord2f[] primvars:st = [(0, 0), (1, 0), (0, 1), (1, 1)] (
   interpolation = "vertex"
  )
  uniform token subdivisionScheme = "none"
  rel material:binding = </Model/Skin>
 }}
 def Material "Skin" {{
  token outputs:surface.connect = </Model/Skin/Surface.outputs:surface>
  {shader}
 }}
}}
""".encode()


def usdz(layer: bytes, **files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        package.writestr("model.usda", layer)
        for name, data in files.items():
            package.writestr(name.replace("_dot_", "."), data)
    return out.getvalue()


def las(places: Any = POINTS, *, compressed: bool = False, colors: Any = None, feet: bool = False) -> bytes:
    """Points, z-up, perhaps with 16-bit colours (n, 3), perhaps in international feet."""
    header = laspy.LasHeader(point_format=2 if colors is not None else 1, version="1.2")
    header.scales = np.array([0.001] * 3)
    header.offsets = np.floor(np.min(np.asarray(places, np.float64), axis=0))
    if feet:
        keys = struct.pack("<8H", 1, 1, 0, 1, 3076, 0, 1, 9002)
        header.vlrs.append(laspy.VLR("LASF_Projection", 34735, "", keys))
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = np.asarray(places, np.float64).T
    if colors is not None:
        cloud.red, cloud.green, cloud.blue = np.asarray(colors, np.uint16).T
    out = io.BytesIO()
    cloud.write(out, do_compress=compressed, laz_backend=laspy.LazBackend.Lazrs if compressed else None)
    return out.getvalue()


def e57(folder: Path, places: Any = POINTS, colors: Any = None, shift: Any = (0, 0, 0)) -> bytes:
    """One scan at a pose; the library writes files only, so it needs a folder."""
    data = dict(
        zip(("cartesianX", "cartesianY", "cartesianZ"), np.asarray(places, np.float64).T, strict=True)
    )
    if colors is not None:
        names = ("colorRed", "colorGreen", "colorBlue")
        data |= dict(zip(names, np.asarray(colors, np.uint8).T, strict=True))
    path = folder / "made.e57"
    file = pye57.E57(str(path), mode="w")
    file.write_scan_raw(data, name="first", translation=np.array(shift, np.float64))
    file.close()
    content = path.read_bytes()
    path.unlink()
    return content


def xyz() -> bytes:
    return b"# x y z r g b\n0 0 0 255 0 0\n10 0 0 0 255 0\n0 10 0 0 0 255\n0 0 10 255 255 255\n"


@cache
def every_model() -> dict[str, bytes]:
    """A valid model of every format, by file name."""
    return {
        "a.3ds": threeds(),
        "a.3mf": threemf(),
        "a.dae": dae(),
        "a.dxf": dxf(),
        "a.e57": (DATA / "points.e57").read_bytes(),
        "a.fbx": fbx(png(side=2)),
        "a.glb": glb(*triangle()),
        "a.ifc": ifc(),
        "a.igs": (DATA / "box.igs").read_bytes(),
        "a.las": las(),
        "a.laz": las(compressed=True),
        "a.obj": obj(),
        "a.off": off(),
        "a.ply": ply(),
        "a.stl": ascii_stl({"a": sphere(3)}),
        "a.stp": (DATA / "box.stp").read_bytes(),
        "a.usda": usda(),
        "a.usdz": usdz(usda()),
        "a.x3d": x3d(),
        "a.xyz": xyz(),
    }
