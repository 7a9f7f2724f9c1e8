import json
from pathlib import Path

import pytest

from shared.embedded.engine.document import Document, parse_json, split_glb
from shared.problems import Problem
from tests.embedded.engine.shapes import triangle


def test_what_is_written_is_read_back_and_chunks_are_aligned(tmp_path: Path) -> None:
    root, data = triangle(extras={"name": "Grün \u2028 'quoted'"})
    Document(root, data).write_glb(tmp_path / "out.glb")
    written = (tmp_path / "out.glb").read_bytes()
    assert len(written) % 4 == 0 and int.from_bytes(written[8:12], "little") == len(written)
    again, binary = split_glb(written)
    assert again == root
    assert binary is not None and bytes(binary[:42]) == data


def test_bytes_are_added_where_every_component_type_may_start() -> None:
    document = Document({"asset": {"version": "2.0"}}, bytearray(b"abc"))
    view = document.add_view(b"de", target=34962)
    assert bytes(document.view(view)) == b"de"
    assert document.json["bufferViews"] == [{"buffer": 0, "byteOffset": 4, "byteLength": 2, "target": 34962}]


def test_empty_arrays_are_left_out_since_gltf_has_none(tmp_path: Path) -> None:
    Document({"asset": {"version": "2.0"}, "meshes": []}, b"").write_glb(tmp_path / "out.glb")
    root, binary = split_glb((tmp_path / "out.glb").read_bytes())
    assert root == {"asset": {"version": "2.0"}} and binary is None


@pytest.mark.parametrize("text", ["NaN", "[1]", "{", '{"a": -Infinity}', "[" * 100_000, '"\\ud800'])
def test_what_is_not_a_json_object_is_refused(text: str) -> None:
    with pytest.raises(Problem):
        parse_json(text.encode())


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_json(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode()) == {"a": 1}
