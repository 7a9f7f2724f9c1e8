import struct
from typing import Any

import numpy as np
import pytest

from shared.embedded.engine.decode import Part, parts
from shared.embedded.engine.document import Document
from shared.problems import Problem
from tests.embedded.engine.shapes import triangle


def _parts(document: dict[str, Any], data: bytes) -> list[Part]:
    return list(parts(Document(document, data)))


def _with_mode(mode: int, indices: list[int]) -> Part:
    document, data = triangle()
    points = struct.pack("<15f", 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 2, 1, 0)
    data = points + struct.pack(f"<{len(indices)}H", *indices)
    document["accessors"][0]["count"] = 5
    document["accessors"][1]["count"] = len(indices)
    document["bufferViews"] = [
        {"buffer": 0, "byteLength": 60},
        {"buffer": 0, "byteOffset": 60, "byteLength": 2 * len(indices)},
    ]
    document["meshes"][0]["primitives"][0]["mode"] = mode
    (part,) = _parts(document, data)
    return part


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        (0, "points", [[0], [1], [2], [3]]),
        (1, "lines", [[0, 1], [2, 3]]),
        (2, "lines", [[0, 1], [1, 2], [2, 3], [3, 0]]),
        (3, "lines", [[0, 1], [1, 2], [2, 3]]),
        (4, "triangles", [[0, 1, 2]]),
        (5, "triangles", [[0, 1, 2], [2, 1, 3]]),
        (6, "triangles", [[1, 2, 0], [2, 3, 0]]),
    ],
)
def test_every_mode_becomes_separate_elements(mode: int, kind: str, expected: list[list[int]]) -> None:
    part = _with_mode(mode, [0, 1, 2, 3])
    assert part.kind == kind
    assert part.indices.tolist() == expected


def test_nodes_place_turn_and_scale_their_children() -> None:
    half = np.sqrt(0.5)
    nodes = [
        {"children": [1], "translation": [10, 0, 0], "rotation": [0, 0, half, half]},
        {"mesh": 0, "scale": [2, 3, 1]},
    ]
    document, data = triangle(nodes=nodes)
    (part,) = _parts(document, data)
    assert part.positions == pytest.approx(np.array([[10, 0, 0], [10, 2, 0], [7, 0, 0]]), abs=1e-6)


def test_only_the_default_scene_is_seen() -> None:
    nodes = [{"mesh": 0}, {"mesh": 0, "translation": [5, 0, 0]}]
    document, data = triangle(nodes=nodes, scenes=[{"nodes": [0]}, {"nodes": [1]}], scene=1)
    (part,) = _parts(document, data)
    assert part.positions[0, 0] == 5


def test_sparse_values_replace_and_default_morph_weights_count() -> None:
    document, data = triangle()
    extra = struct.pack("<H2x3f", 1, 9, 9, 9) + struct.pack("<9f", *([0, 0, 4] * 3))
    document["bufferViews"] += [
        {"buffer": 0, "byteOffset": 44, "byteLength": 2},
        {"buffer": 0, "byteOffset": 48, "byteLength": 12},
        {"buffer": 0, "byteOffset": 60, "byteLength": 36},
    ]
    document["accessors"][0]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": 2, "componentType": 5123},
        "values": {"bufferView": 3},
    }
    document["accessors"].append({"bufferView": 4, "componentType": 5126, "count": 3, "type": "VEC3"})
    document["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": 2}]
    document["meshes"][0]["weights"] = [0.5]
    (part,) = _parts(document, data + bytes(2) + extra)
    assert part.positions.tolist() == [[0, 0, 2], [9, 9, 11], [0, 1, 2]]


def test_a_skin_moves_vertices_by_its_joints_and_not_by_its_node() -> None:
    document, data = triangle(
        nodes=[{"mesh": 0, "skin": 0, "translation": [99, 0, 0]}, {"translation": [0, 0, 7]}],
        scenes=[{"nodes": [0, 1]}],
        skins=[{"joints": [1]}],
    )
    extra = bytes(12) + struct.pack("<12f", *([1, 0, 0, 0] * 3))
    document["bufferViews"] += [
        {"buffer": 0, "byteOffset": 44, "byteLength": 12},
        {"buffer": 0, "byteOffset": 56, "byteLength": 48},
    ]
    document["accessors"] += [
        {"bufferView": 2, "componentType": 5121, "count": 3, "type": "VEC4"},
        {"bufferView": 3, "componentType": 5126, "count": 3, "type": "VEC4"},
    ]
    document["meshes"][0]["primitives"][0]["attributes"] |= {"JOINTS_0": 2, "WEIGHTS_0": 3}
    (part,) = _parts(document, data + bytes(2) + extra)
    assert part.positions.tolist() == [[0, 0, 7], [1, 0, 7], [0, 1, 7]]


def test_normalized_integers_are_fractions() -> None:
    document, data = triangle()
    document["bufferViews"].append({"buffer": 0, "byteOffset": 44, "byteLength": 12})
    document["accessors"].append(
        {"bufferView": 2, "componentType": 5121, "count": 3, "type": "VEC4", "normalized": True}
    )
    document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = 2
    (part,) = _parts(document, data + bytes(2) + bytes([255, 0, 51, 255] * 3))
    assert part.colors is not None
    assert part.colors[0] == pytest.approx([1, 0, 0.2, 1])


def test_an_index_beyond_the_vertices_is_refused() -> None:
    with pytest.raises(Problem, match="number 9"):
        _with_mode(4, [0, 1, 9])
