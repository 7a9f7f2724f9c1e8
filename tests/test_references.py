"""What models name is found in whole files, in their first bytes, and in damaged ones."""

import json
import mmap
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.references import REFERRING, Folder, Found, Reference, candidates, references


def uris(found: Found) -> list[str]:
    return [reference.uri for reference in found.references]


# --- OBJ ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"mtllib car.mtl", ["car.mtl"]),
        (b"  mtllib\tcar.mtl  ", ["car.mtl"]),
        (b"mtllib my car.mtl", ["my car.mtl"]),
        (b"mtllib a.mtl b.MTL", ["a.mtl", "b.MTL"]),
        (b"mtllib my car.mtl other parts.mtl", ["my car.mtl", "other parts.mtl"]),
        (b'mtllib "my car.mtl"', ["my car.mtl"]),
        (b"mtllib fuze.obj.mtl", ["fuze.obj.mtl"]),
        (b"mtllib materials", ["materials"]),
        (b"mtllib C:\\work\\car.mtl", ["C:\\work\\car.mtl"]),
        ("mtllib Räder.mtl".encode(), ["Räder.mtl"]),
        ("mtllib Räder.mtl".encode("latin-1"), ["Räder.mtl"]),
        (b"\xef\xbb\xbfmtllib car.mtl", ["car.mtl"]),
        (b"# mtllib car.mtl", []),
        (b"mtllib", []),
        (b"mtllibrary car.mtl", []),
        (b"g mtllib car.mtl", []),
    ],
)
def test_an_obj_names_its_material_libraries(line: bytes, names: list[str]) -> None:
    assert uris(references(".OBJ", line)) == names
    assert uris(references(".obj", line + b"\r\nv 0 0 0\r\n")) == names


def test_every_mtllib_line_counts_and_a_repeated_one_once() -> None:
    data = b"mtllib a.mtl\rv 0 0 0\nmtllib b.mtl\n\nmtllib a.mtl\n"
    assert uris(references(".obj", data)) == ["a.mtl", "b.mtl"]


def test_a_name_that_the_read_part_cuts_off_is_not_taken_for_a_whole_one() -> None:
    assert references(".obj", b"mtllib a.mtl\nmtllib parts/whe", whole=False) == Found(
        (Reference("a.mtl"),), complete=False
    )


def test_an_obj_is_searched_on_disk_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "big.obj"
    path.write_bytes(b"v 0 0 0\n" * 100_000 + b"mtllib late.mtl\n")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert uris(references(".obj", data)) == ["late.mtl"]


# --- MTL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("map_Kd wood.png", "wood.png"),
        ("\tmap_Kd\twood.png", "wood.png"),
        ("map_Kd my wood.png", "my wood.png"),
        ("map_Kd -s 1 1 1 -bm 0.2 wood.png", "wood.png"),
        ("map_Kd -s 1 1 2k wood.png", "2k wood.png"),
        ("map_Kd -o 0.5 -t 1 2 wood.png", "wood.png"),
        ("map_Ka -mm 0 1 -clamp on -texres 512 wood.png", "wood.png"),
        ("map_Bump -BM 1.0 rough.png", "rough.png"),
        ("bump rough.png -bm 0.3", "rough.png"),
        ("disp -imfchan l height.exr", "height.exr"),
        ("decal sticker.png", "sticker.png"),
        ("refl -type sphere sky.hdr", "sky.hdr"),
        ("norm normals.png", "normals.png"),
        ("map_Pr rough.png", "rough.png"),
        ("map_Kd .\\textures\\wood.png", ".\\textures\\wood.png"),
        ('map_Kd "my wood.png"', "my wood.png"),
        ("map_Kd -odd.png", "-odd.png"),
    ],
)
def test_an_mtl_names_pictures_behind_any_options(line: str, name: str) -> None:
    assert uris(references(".mtl", f"newmtl a\n{line}\nKd 1 1 1\n".encode())) == [name]


@pytest.mark.parametrize("line", ["map_aat on", "map_Kd", "map_Kd -s 1 1 1", "# map_Kd a.png", "Kd 1 0 0"])
def test_other_lines_of_an_mtl_name_nothing(line: str) -> None:
    assert uris(references(".mtl", line.encode())) == []


def test_an_mtl_that_is_cut_off_loses_its_last_line_only() -> None:
    found = references(".mtl", b"map_Kd a.png\nmap_Ks b.p", whole=False)
    assert uris(found) == ["a.png"]
    assert not found.complete


def test_a_file_made_to_name_very_many_pictures_is_cut_short() -> None:
    found = references(".mtl", b"".join(b"map_Kd %d.png\n" % number for number in range(20_000)))
    assert len(found.references) == 10_000
    assert not found.complete


# --- glTF --------------------------------------------------------------------------------------

GLTF = {
    "asset": {"version": "2.0"},
    "buffers": [
        {"byteLength": 3, "uri": "my%20car.bin"},
        {"uri": "data:application/octet-stream;base64,AAAA"},
    ],
    "images": [{"uri": "t%C3%A9x.png"}, {"bufferView": 0}, {"uri": "DATA:image/png;base64,AAAA"}],
}


def glb(document: bytes) -> bytes:
    return struct.pack("<5I", 0x46546C67, 2, 20 + len(document), len(document), 0x4E4F534A) + document


@pytest.mark.parametrize("extension", [".gltf", ".glb"])
def test_a_gltf_needs_its_buffers_and_names_its_images(extension: str) -> None:
    data = json.dumps(GLTF).encode()
    found = references(extension, glb(data) if extension == ".glb" else data)
    assert found == Found((Reference("my car.bin", required=True), Reference("téx.png")), complete=True)


def test_a_gltf_that_is_cut_off_tells_what_was_seen_and_that_it_is_incomplete() -> None:
    data = json.dumps(GLTF).encode()
    found = references(".gltf", data[: data.index(b"images") + 12], whole=False)
    assert found == Found((Reference("my car.bin"),), complete=False)


def test_the_first_part_of_a_glb_is_enough_when_it_holds_the_json() -> None:
    data = glb(json.dumps(GLTF).encode())
    assert references(".glb", data + b"\0" * 50, whole=False).complete
    assert not references(".glb", data[:-5], whole=False).complete


def test_the_objects_of_gltf_one_are_read_like_the_arrays_of_two() -> None:
    data = json.dumps({"buffers": {"b": {"uri": "b.bin"}}, "images": {"i": {"uri": "i.png"}}}).encode()
    assert uris(references(".gltf", data)) == ["b.bin", "i.png"]


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b'{"buffers": 3}', b"[" * 100_000, b"\xff\xfe{", b'{"images": [{"uri": 4}, 5]}'],
)
def test_a_damaged_gltf_raises_nothing(data: bytes) -> None:
    assert uris(references(".gltf", data)) == []
    assert uris(references(".glb", glb(data))) == []


@given(data=st.binary(max_size=400), whole=st.booleans())
@pytest.mark.parametrize("extension", sorted(REFERRING))
def test_garbage_raises_nothing(extension: str, data: bytes, whole: bool) -> None:
    references(extension, data, whole=whole)
    references(extension, b"mtllib " + data + b"\nmap_Kd " + data + b"RelativeFilename" + data, whole=whole)


# --- COLLADA -----------------------------------------------------------------------------------

DAE = b"""<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
  <library_images>
    <image id="a"><init_from> ./my%20duck.tga </init_from></image>
    <image id="b"><init_from><ref>file:///C:/x/b&amp;c.png</ref></init_from></image>
  </library_images>
  <library_effects><effect><profile_COMMON><newparam>
    <surface type="2D"><init_from>a</init_from></surface>
  </newparam></profile_COMMON></effect></library_effects>
</COLLADA>"""


def test_a_collada_names_the_files_of_its_images_and_not_their_ids() -> None:
    found = references(".dae", DAE)
    assert found == Found(
        (Reference("./my duck.tga"), Reference("file:///C:/x/b&c.png")),
        complete=True,
    )


def test_a_collada_that_is_cut_off_tells_what_was_seen() -> None:
    found = references(".dae", DAE[: DAE.index(b'<image id="b"') + 30], whole=False)
    assert found == Found((Reference("./my duck.tga"),), complete=False)


def test_entities_that_expand_without_end_are_refused() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    data = f'<!DOCTYPE d [<!ENTITY e0 "xxxxxxxxxx">{entities}]><image><init_from>&e11;</init_from></image>'
    assert references(".dae", data.encode()) == Found((), complete=False)


# --- FBX ---------------------------------------------------------------------------------------


def fbx_node(name: bytes, value: bytes, kind: bytes = b"S") -> bytes:
    return b"\0" * 12 + bytes([len(name)]) + name + kind + struct.pack("<I", len(value)) + value


def test_a_binary_fbx_names_the_pictures_that_it_does_not_hold() -> None:
    data = b"Kaydara FBX Binary  \0\x1a\0" + b"".join(
        [
            fbx_node(b"RelativeFilename", b"..\\maps\\Inside.tga"),
            fbx_node(b"RelativeFilename", b"..\\maps\\outside.tga"),
            fbx_node(b"RelativeFilename", b"C:\\maps\\inside.tga")
            + fbx_node(b"Content", b"\0\1\2" * 900, b"R"),
            fbx_node(b"RelativeFilename", b"..\\maps\\outside.tga") + fbx_node(b"Content", b"", b"R"),
        ]
    )
    assert references(".fbx", data) == Found((Reference("..\\maps\\outside.tga"),), complete=True)
    # Cut off before the contents, the first one would look like one to wait for.
    assert references(".fbx", data[:120], whole=False) == Found((), complete=False)


def test_a_text_fbx_names_the_pictures_that_it_does_not_hold() -> None:
    data = b"""; FBX 7.5.0 project file
        Video: 1 { RelativeFilename: "maps\\inside.png"
            Content: ,
            "iVBORw0KGgo=" }
        Video: 2 { RelativeFilename: "maps\\out side.png"
            Content: "" }
        Video: 3 { RelativeFilename: "" }"""
    assert uris(references(".fbx", data)) == ["maps\\out side.png"]


def test_an_x3d_names_each_address_of_a_picture() -> None:
    data = b"""<X3D><ImageTexture DEF='a' url='"wood.png" "http://x/wood.png"'/><Inline url="part.x3d"/>
    <ImageTexture url="&quot;stone.png&quot;"/><ImageTexture url="plain.png"/></X3D>"""
    assert uris(references(".x3d", data)) == ["wood.png", "http://x/wood.png", "stone.png", "plain.png"]


def test_a_3ds_names_its_pictures() -> None:
    name = b"WOOD.TGA\0"
    chunk = b"\x00\xa3" + (6 + len(name)).to_bytes(4, "little") + name
    noise = b"\x00\xa3\x04\x00\x00\x00\x00\xa3"
    assert uris(references(".3ds", b"MM" + noise + bytes(8) + chunk + noise)) == ["WOOD.TGA"]


def test_a_usd_layer_of_text_names_its_pictures_and_not_its_layers() -> None:
    data = b"#usda 1.0\n( subLayers = [@base.usda@] )\nasset a = @./tex/wood.png@\nasset b = @@@o@dd.png@@@"
    data = data.replace(b"o@dd", b"odd")
    assert uris(references(".usda", data)) == ["./tex/wood.png", "odd.png"]
    assert uris(references(".usd", b"PXR-USDC" + data)) == []


@pytest.mark.parametrize("extension", [".stl", ".step", ".ply", ".3mf", ""])
def test_formats_without_references_are_complete(extension: str) -> None:
    assert references(extension, b"mtllib a.mtl", whole=False) == Found((), complete=True)


# --- Where a reference leads -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "base", "expected"),
    [
        ("wood.png", "", "wood.png"),
        ("WOOD.PNG", "", "wood.png"),
        ("./textures/../wood.png", "", "wood.png"),
        (".\\Textures\\stone.png", "", "textures/stone.png"),
        ("stone.png", "textures", "textures/stone.png"),
        ("../wood.png", "textures", "wood.png"),
        ("wood.png", "textures", "wood.png"),
        ("textures/stone.png", "materials", "textures/stone.png"),
        ("C:\\Users\\me\\car\\textures\\stone.png", "", "textures/stone.png"),
        ("/home/me/wood.png", "", "wood.png"),
        ("file:///C:/me/my wood.png", "", "my wood.png"),
        ("//server/share/wood.png", "", "wood.png"),
        ("../../elsewhere/wood.png", "", "wood.png"),
        ("my%20wood.png", "", "my wood.png"),
        ("odd name.png", "", "odd%20name.png"),
        ("Ra\u0308der.png", "", "R\u00e4der.png"),
        ("stone.png", "", None),
        ("https://example.com/wood.png", "", None),
        ("wood.png/", "", "wood.png"),
        ("..", "", None),
        ("", "", None),
        ("wood.png\n", "", None),
    ],
)
def test_a_reference_is_found_in_its_folder_or_not_at_all(uri: str, base: str, expected: str | None) -> None:
    folder = Folder(
        ["wood.png", "textures/stone.png", "my wood.png", "odd%20name.png", "R\u00e4der.png", "other/x.png"]
    )
    assert folder.resolve(uri, base) == expected


def test_the_longest_suffix_wins() -> None:
    folder = Folder(["c.png", "b/c.png", "a/b/c.png"])
    assert folder.resolve("/x/a/b/c.png") == "a/b/c.png"
    assert folder.resolve("/x/b/c.png") == "b/c.png"
    assert folder.resolve("/x/y/c.png") == "c.png"


def test_the_exact_spelling_wins_over_another_case() -> None:
    folder = Folder(["Wood.png", "wood.png", "WOOD.png"])
    assert folder.resolve("wood.png") == "wood.png"
    assert folder.resolve("wOOD.png") == "WOOD.png"


NAMES = st.text(st.sampled_from("ab./\\:%2eé \n"), max_size=30)


@given(uri=NAMES, base=st.sampled_from(["", "a", "a/b"]))
def test_no_candidate_leaves_the_folder(uri: str, base: str) -> None:
    for name in candidates(uri, base):
        assert not name.startswith("/")
        assert not {"", ".", ".."} & set(name.split("/"))
        assert "\\" not in name
        assert len(name) <= 1024


@given(uri=NAMES, names=st.lists(NAMES))
def test_what_is_found_is_in_the_listing(uri: str, names: list[str]) -> None:
    assert Folder(names).resolve(uri) in [*names, None]


def test_a_hostile_path_costs_little() -> None:
    assert len(list(candidates("a/" * 511 + "b"))) <= 65
    assert list(candidates("a/" * 100_000)) == []
