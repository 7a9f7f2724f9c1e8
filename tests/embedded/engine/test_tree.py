"""The objects of a model: their ids, names, places and properties, and the nodes they stand for."""

from typing import Any

import pytest

from shared.embedded.engine.document import Document
from shared.embedded.engine.tree import nodes_of, objects
from shared.problems import Code, Problem


def car(**changes: Any) -> Document:
    """A body with a door and, of one mesh, two wheels of one name; node 5 is in no scene."""
    document: dict[str, Any] = {
        "scenes": [{"nodes": [3, 0]}],
        "nodes": [
            {"name": "wheel", "mesh": 1},
            {"name": "wheel", "mesh": 1},
            {"name": "door", "mesh": 0, "extras": {"side": "left"}},
            {"name": "body", "children": [2, 1, 4]},
            {},
            {"name": "nowhere", "mesh": 0},
        ],
        "meshes": [
            {"name": "panel", "primitives": [{"material": 1}, {"material": 0}, {"material": 1}]},
            {"primitives": [{}]},
        ],
        "materials": [{"name": "paint"}, {"name": "glass"}],
        **changes,
    }
    return Document(document, b"")


def test_objects_are_numbered_from_the_top_down_in_the_files_order() -> None:
    found = [(one["id"], one["parent"], one["name"]) for one in objects(car(), "car.glb")]
    assert found == [
        (1, None, "car.glb"),
        (2, 1, "body"),
        (3, 2, "door"),
        (4, 2, "wheel"),
        (5, 2, "Object 5"),
        (6, 1, "wheel"),
    ]


def test_external_ids_are_paths_of_names_and_never_the_same() -> None:
    two = car(scenes=[{"nodes": [0, 1]}])
    assert [one["externalId"] for one in objects(two, "car.glb")] == ["", "/wheel", "/wheel#3"]


def test_properties_are_what_the_format_knows() -> None:
    properties = {one["name"]: one["properties"] for one in objects(car(), "car.glb")}
    assert properties["door"] == {
        "Geometry": {"Mesh": "panel", "Parts": 3, "Material": "glass, paint"},
        "Extras": {"side": "left"},
    }
    assert properties["body"] == {}


@pytest.mark.parametrize("name", ["car.glb", "car", "RootNode", ""])
def test_a_root_that_only_stands_for_the_file_is_the_model_itself(name: str) -> None:
    root = {"name": name, "children": [0]}
    document = car(nodes=[{"name": "wheel", "mesh": 1}, root], scenes=[{"nodes": [1]}])
    assert [one["name"] for one in objects(document, "car.glb")] == ["car.glb", "wheel"]
    assert nodes_of(document, "car.glb", [2]) == {0}


def test_a_root_with_a_name_of_its_own_is_an_object() -> None:
    root = {"name": "assembly", "children": [0]}
    document = car(nodes=[{"name": "wheel", "mesh": 1}, root], scenes=[{"nodes": [1]}])
    assert [one["name"] for one in objects(document, "car.glb")] == ["car.glb", "assembly", "wheel"]


@pytest.mark.parametrize(
    ("ids", "nodes"),
    [([1], {0, 1, 2, 3, 4}), ([2], {1, 2, 3, 4}), ([3], {2}), ([4, 6], {0, 1}), ([1, 3], {0, 1, 2, 3, 4})],
)
def test_an_object_is_its_node_with_all_below(ids: list[int], nodes: set[int]) -> None:
    assert nodes_of(car(), "car.glb", ids) == nodes


def test_no_ids_are_no_choice() -> None:
    assert nodes_of(car(), "car.glb", None) is None


@pytest.mark.parametrize("ids", [[0], [7], [2, 99]])
def test_ids_that_the_model_does_not_have_are_named(ids: list[int]) -> None:
    with pytest.raises(Problem) as problem:
        nodes_of(car(), "car.glb", ids)
    assert problem.value.code == Code.INVALID_SETTINGS
    assert str(ids[-1]) in problem.value.message


def test_a_deep_tree_is_read_without_recursion() -> None:
    nodes: list[dict[str, Any]] = [{"children": [index + 1]} for index in range(5000)] + [{}]
    document = car(nodes=nodes, scenes=[{"nodes": [0]}])
    assert objects(document, "deep.glb")[-1]["parent"] == 5000
