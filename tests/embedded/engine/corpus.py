"""Hostile and damaged files of every format, made from good ones."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator

from tests.embedded.engine import made
from tests.embedded.engine.shapes import ascii_stl, sphere
from tests.embedded.models import png


def damaged() -> Iterator[tuple[str, bytes]]:
    """Garbage, the first half, the first bytes, and flipped bits of a model of every format."""
    for name, data in made.every_model().items():
        extension = name.rpartition(".")[2]
        yield f"garbage.{extension}", bytes(random.Random(extension).randbytes(4000))
        yield f"zeros.{extension}", bytes(4000)
        yield f"half.{extension}", data[: len(data) // 2]
        yield f"start.{extension}", data[: min(len(data) // 4, 100)]
        yield f"twice.{extension}", data + data
        for number in range(3):
            yield f"flipped{number}.{extension}", flipped(data, random.Random(f"{name}{number}"))
    for number in range(10):
        scan = unsealed(made.every_model()["a.e57"])
        yield f"sealed{number}.e57", resealed(flipped(scan, random.Random(f"sealed {number}")))


def unsealed(data: bytes) -> bytes:
    """What the pages of an E57 hold, without their check sums."""
    return b"".join(data[at : at + 1020] for at in range(0, len(data), 1024))


def resealed(content: bytes) -> bytes:
    """An E57 of that content with right check sums, so that what is wrong with it is not seen at once."""
    pages = [content[at : at + 1020].ljust(1020, b" ") for at in range(0, len(content), 1020)]
    return b"".join(page + _crc32c(page).to_bytes(4, "big") for page in pages)


def _e57(*changes: tuple[bytes, bytes]) -> bytes:
    """The E57 with texts of its XML changed, and its header's lengths to match."""
    content = unsealed(made.every_model()["a.e57"])
    start, length = struct.unpack_from("<2Q", content, 24)
    xml = content[start : start + length]
    for old, new in changes:
        assert old in xml
        xml = xml.replace(old, new, 1)
    pages = -(-(start + len(xml)) // 1020)
    header = content[:16] + struct.pack("<3Q", pages * 1024, start, len(xml))
    return resealed(header + content[40:start] + xml)


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ 0x82F63B78 * (byte & 1)
    return byte


_CRC = [_crc_of(byte) for byte in range(256)]


def flipped(data: bytes, chance: random.Random) -> bytes:
    """The data with up to 20 bytes changed."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 20)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def enormous() -> Iterator[tuple[str, bytes]]:
    """Headers that say 4 billion, and texts that name vertices there are none of."""
    yield "many.off", b"OFF\n4000000000 4000000000 0\n0 0 0\n"
    las = bytearray(made.las())
    las[107:111] = (4_000_000_000).to_bytes(4, "little")
    yield "many.las", bytes(las)
    las = bytearray(made.las())
    las[100:104] = (4_000_000_000).to_bytes(4, "little")
    yield "records.las", bytes(las)
    laz = bytearray(made.las(compressed=True))
    laz[107:111] = (4_000_000_000).to_bytes(4, "little")
    yield "many.laz", bytes(laz)
    threeds = made.threeds()
    places = struct.pack("<H", 4) + struct.pack("<3f", 0, 0, 0)
    yield "many.3ds", threeds.replace(places, struct.pack("<H", 65535) + places[2:])
    yield "far.3ds", threeds.replace(struct.pack("<4H", 0, 2, 1, 7), struct.pack("<4H", 60000, 2, 1, 7))
    yield "far.off", made.off().replace(b"3 0 2 1", b"3 4000000000 2 1")
    yield "negative.off", made.off().replace(b"3 0 2 1", b"3 -5 2 1")
    yield "polygon.off", made.off().replace(b"3 0 2 1", b"3000000000 0 2 1")
    yield "far.dae", made.dae().replace(b"<p>0 2 1", b"<p>4000000000 2 1")
    yield "negative.dae", made.dae().replace(b"<p>0 2 1", b"<p>-7 2 1")
    yield "count.dae", made.dae().replace(b'count="12"', b'count="4000000000"')
    yield "stride.dae", made.dae().replace(b'stride="3"', b'stride="4000000000"')
    yield "far.x3d", made.x3d().replace(b"0 2 1 -1", b"4000000000 2 1 -1")
    yield "negative.x3d", made.x3d().replace(b"0 2 1 -1", b"-9 2 1 -1")
    yield "far.ply", made.ply().replace(b"3 0 2 1", b"3 4000000000 2 1")
    yield "far.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4000000000\nf 1 2 -4000000000\n"
    yield "long line.obj", b"v 0 0 0\n" * 3 + b"f" + b" 1 2 3" * 2_000_000
    yield (
        "many groups.obj",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
        + b"".join(b"g %d\nusemtl %d\nf 1 2 3\n" % (number, number) for number in range(500)),
    )
    yield (
        "many normals.obj",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
        + b"vn 0 0 1\n" * 2_000
        + b"".join(b"f 1//%d 2//%d 3//1\n" % (number, number) for number in range(1, 2_001)),
    )
    yield "continued.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3" + b" \\\n" * 200_000
    yield "crossed polygon.obj", b"".join(
        b"v %d %d 0\n" % (number * 7919 % 2003, number * 104729 % 1999) for number in range(2000)
    ) + b"f " + b" ".join(b"%d" % number for number in range(1, 2001))  # fmt: skip
    yield "huge numbers.obj", b"v 1e400 0 0\nv 1e39 0 0\nv nan inf 1\nf 1 2 3\n"
    yield (
        "far.usda",
        made.usda().replace(b"faceVertexIndices = [0, 2, 1", b"faceVertexIndices = [2000000000, 2, 1"),
    )
    yield (
        "negative.usda",
        made.usda().replace(b"faceVertexIndices = [0, 2, 1", b"faceVertexIndices = [-7, 2, 1"),
    )
    yield "counts.usda", made.usda().replace(b"faceVertexCounts = [3", b"faceVertexCounts = [2000000000")
    fbx, twelve = made.fbx(), struct.pack("<I", 12)
    corners = struct.pack("<3i", 0, 2, ~1)
    yield "far.fbx", fbx.replace(corners, struct.pack("<3i", 0, 2_000_000_000, ~1), 1)
    yield "negative.fbx", fbx.replace(corners, struct.pack("<3i", -5, -5, -5), 1)
    yield "many.fbx", fbx.replace(b"i" + twelve, b"i" + b"\xff\xff\xff\xff", 1)
    # The array says that it is packed, and unpacks to more than there is memory for.
    packed = zlib.compress(bytes(50_000_000), 9)
    start = fbx.index(b"d" + twelve) + 1
    bomb = struct.pack("<3I", 500_000_000, 1, len(packed)) + packed
    yield "bomb.fbx", fbx[:start] + bomb + fbx[start + 12 :]
    yield "end.fbx", fbx[:27] + b"\xff\xff\xff\x7f" + fbx[31:]
    yield "own.fbx", fbx[:27] + struct.pack("<I", 27) + fbx[31:]
    yield "many.e57", _e57((b'recordCount="4"', b'recordCount="4000000000000000000"'))
    yield "billions.e57", _e57((b'recordCount="4"', b'recordCount="4000000000"'))
    yield "far.e57", _e57((b'fileOffset="48"', b'fileOffset="999999999999999"'))
    yield "own xml.e57", _e57((b'fileOffset="48"', b'fileOffset="160"'))
    yield "nan.e57", _e57((b'<w type="Float">1<', b'<w type="Float">nan<'))
    yield "no range.e57", _e57((b'minimum="0" maximum="255"', b'minimum="255" maximum="0"'))
    yield "far.3mf", _with_mesh(made.threemf_mesh().replace('v1="0"', 'v1="99999999999999999999"'))
    yield "nan.3mf", _with_mesh(made.threemf_mesh().replace('x="10"', 'x="nan"'))
    yield "nan.xyz", b"nan nan nan\ninf 0 0\n"
    yield "nan.stl", ascii_stl({"a": sphere(3)}).replace(b"vertex 0.0", b"vertex nan")


def _with_mesh(mesh: str) -> bytes:
    return made.threemf(made.threemf_model(f'<object id="1">{mesh}</object>', '<item objectid="1"/>'))


_LAUGHS = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + level, b"&%c;" % (97 + level) * 20) for level in range(10)
) + b"]>"  # fmt: skip
_OUTSIDE = b'<!DOCTYPE x [<!ENTITY k SYSTEM "file:///etc/passwd">]>'


def nested() -> Iterator[tuple[str, bytes]]:
    """Entities, depth, cycles, packages that lie. (Of a bomb there is a test beside the 3MF reader.)"""
    for name, data, root in (("dae", made.dae(), b"<COLLADA"), ("x3d", made.x3d(), b"<X3D")):
        yield f"laughs.{name}", data.replace(root, _LAUGHS + root).replace(b'name="tetra"', b'name="&k;"')
        yield f"entity.{name}", data.replace(root, _OUTSIDE + root).replace(b'name="tetra"', b'name="&k;"')
    deep = 100_000
    dae = made.dae().replace(b'<node id="n"', b"<node>" * deep + b'<node id="n"')
    yield "deep.dae", dae.replace(b"</node>", b"</node>" * (deep + 1))
    x3d = made.x3d().replace(b"<Transform t", b"<Transform>" * deep + b"<Transform t")
    yield "deep.x3d", x3d.replace(b"</Transform>", b"</Transform>" * (deep + 1))
    usda = made.usda()
    start = usda.index(b'def Xform "Model"')
    levels = 100_000
    yield "deep.usda", usda[:start] + b'def Xform "a" {\n' * levels + usda[start:] + b"}\n" * levels
    yield "parentheses.stp", (made.DATA / "box.stp").read_bytes().replace(b"CLOSED_SHELL(", b"(" * deep)
    yield "parentheses.ifc", made.ifc().replace(b"IFCWALL(", b"IFCWALL(" + b"(" * deep)
    cycle = made.ifc().replace(b"IFCEXTRUDEDAREASOLID(#12,#6", b"IFCBOOLEANRESULT(.UNION.,#14,#14),#6")
    yield "cycle.ifc", cycle
    yield "placement.ifc", made.ifc().replace(b"IFCLOCALPLACEMENT($", b"IFCLOCALPLACEMENT(#7")
    parts = b"IFCRELAGGREGATES('2YvctVUKr0kugbFTf53O9L',$,$,$,#8,(#8))"
    yield (
        "own part.ifc",
        made.ifc().replace(b"IFCRELAGGREGATES('2YvctVUKr0kugbFTf53O9L',$,$,$,#1,(#8))", parts),
    )
    yield "instance.dae", made.dae().replace(b"<translate>", b'<instance_node url="#n"/><translate>')
    for extension in ("3mf", "usdz"):
        yield f"encrypted.{extension}", _encrypted(made.every_model()[f"a.{extension}"])
        yield f"size.{extension}", _lying(made.every_model()[f"a.{extension}"])
    yield "zip.3mf", made.threemf(made.threemf())
    first, top = b"<![CDATA[first]]>", b"<e57Root"
    yield "laughs.e57", _e57((top, _LAUGHS + top), (first, b"&k;"))
    yield "entity.e57", _e57((top, _OUTSIDE + top), (first, b"&k;"))
    inner = b'<a type="Structure">' * deep + b"</a>" * deep
    yield "deep.e57", _e57((b'<coordinateMetadata type="String"/>', inner))
    yield "nothing.3mf", _zip({})
    yield "nothing.usdz", _zip({})
    yield "other.usdz", _zip({"readme.txt": b"hello"})
    yield "relationship.3mf", made.threemf().replace(b"3dmodel.model", b"3dmodel.xxxxx", 1)
    yield "picture.3mf", _with_picture(png(side=4)[:50])


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in files.items():
            package.writestr(name, data)
    return out.getvalue()


def _encrypted(data: bytes) -> bytes:
    """Every entry marked as encrypted."""
    changed = bytearray(data)
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = changed.find(magic)
        while at >= 0:
            changed[at + flags] |= 1
            at = changed.find(magic, at + 4)
    return bytes(changed)


def _lying(data: bytes) -> bytes:
    """Every entry's size four billion."""
    changed = bytearray(data)
    for magic, size in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = changed.find(magic)
        while at >= 0:
            changed[at + size : at + size + 4] = b"\xff\xff\xff\xfe"
            at = changed.find(magic, at + 4)
    return bytes(changed)


def _with_picture(picture: bytes) -> bytes:
    group = '<m:texture2d id="2" path="/3D/Textures/a.png" contenttype="image/png"/>'
    group += '<m:texture2dgroup id="7" texid="2"><m:tex2coord u="0" v="0"/></m:texture2dgroup>'
    mesh = made.threemf_mesh(' pid="7" p1="0" p2="5" p3="99999"')
    model = made.threemf_model(f'{group}<object id="1">{mesh}</object>', '<item objectid="1"/>')
    return made.threemf(model, **{"3D__Textures__a_dot_png": picture})


def corpus() -> dict[str, bytes]:
    """All of it, by file name."""
    return dict([*damaged(), *enormous(), *nested()])
