"""What a glTF document must keep to before its bytes are handed on or used: bounds, trees, numbers."""

from typing import Any

import numpy as np

from shared.embedded.engine.document import (
    COMPONENT_SIZES,
    DRACO,
    MESHOPT,
    WIDTHS,
    Document,
    Json,
)
from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.scene import MAX_DEPTH

#: Elements of an accessor that has no bytes behind it (they are all zero, and cost nothing to claim).
_MAX_EMPTY = 10_000_000


def check_document(document: Document) -> None:
    """Raises `Problem` `corrupt-model`, or a plain lookup or type error where the JSON is malformed."""
    for index, view in enumerate(document.items("bufferViews")):
        _check_view(document, index, view)
    for index, accessor in enumerate(document.items("accessors")):
        _check_accessor(document, index, accessor)
    _check_references(document)
    _check_tree(document)


def _number(value: Any, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{value!r} where a whole number of {least} or more must be")
    return value


def _check_view(document: Document, index: int, view: Json) -> None:
    buffers = document.items("buffers")
    compressed = view.get("extensions", {}).get(MESHOPT)
    for part in (view, compressed):
        if part is None:
            continue
        buffer = _number(part["buffer"])
        available = len(document.data) if buffer == 0 else buffers[buffer]["byteLength"]
        if _number(part.get("byteOffset", 0)) + _number(part["byteLength"], 1) > available:
            raise corrupt(f"buffer view {index} reaches beyond its buffer")
    stride = _number(view.get("byteStride", 4))
    if not 4 <= stride <= 252:
        raise corrupt(f"buffer view {index} has a stride of {stride}")


def _check_accessor(document: Document, index: int, accessor: Json) -> None:
    count = _number(accessor["count"], 1)
    size = COMPONENT_SIZES[accessor["componentType"]] * WIDTHS[accessor["type"]]
    if "bufferView" in accessor:
        view = document.items("bufferViews")[_number(accessor["bufferView"])]
        stride = view.get("byteStride", size)
        needed = _number(accessor.get("byteOffset", 0)) + (count - 1) * stride + size
        if needed > view["byteLength"]:
            raise corrupt(
                f"accessor {index} says {count} elements and reaches beyond its buffer view "
                f"({needed} bytes of {view['byteLength']})"
            )
    elif count > _MAX_EMPTY:
        raise corrupt(f"accessor {index} says {count} elements and has no bytes")
    sparse = accessor.get("sparse")
    if sparse is not None:
        some = _number(sparse["count"], 1)
        if some > count:
            raise corrupt(f"accessor {index} replaces more elements than it has")
        places, values = sparse["indices"], sparse["values"]
        for part, width in ((places, COMPONENT_SIZES[places["componentType"]]), (values, size)):
            view = document.items("bufferViews")[_number(part["bufferView"])]
            if _number(part.get("byteOffset", 0)) + some * width > view["byteLength"]:
                raise corrupt(f"the sparse part of accessor {index} reaches beyond its buffer view")


def _check_references(document: Document) -> None:
    def within(what: str, key: str, index: Any) -> None:
        if _number(index) >= len(document.items(key)):
            raise corrupt(
                f"{what} refers to number {index} of {key}, and there are {len(document.items(key))}"
            )

    for mesh in document.items("meshes"):
        for primitive in mesh["primitives"]:
            counts = set()
            named = list(primitive["attributes"].values())
            for target in primitive.get("targets", []):
                named += target.values()
            for accessor in named:
                within("a mesh", "accessors", accessor)
                counts.add(document.items("accessors")[accessor]["count"])
            if len(counts) > 1:
                raise corrupt("the attributes of a mesh differ in their number of vertices")
            if "indices" in primitive:
                within("a mesh", "accessors", primitive["indices"])
            if "material" in primitive:
                within("a mesh", "materials", primitive["material"])
            draco = primitive.get("extensions", {}).get(DRACO)
            if draco is not None:
                within("a mesh", "bufferViews", draco["bufferView"])
    for texture in document.items("textures"):
        if "source" in texture:
            within("a texture", "images", texture["source"])
        if "sampler" in texture:
            within("a texture", "samplers", texture["sampler"])
    for image in document.items("images"):
        if "bufferView" in image:
            within("an image", "bufferViews", image["bufferView"])
        elif not isinstance(image["uri"], str):
            raise ValueError("an image's uri is not text")
    for skin in document.items("skins"):
        for joint in skin["joints"]:
            within("a skin", "nodes", joint)
        if "inverseBindMatrices" in skin:
            within("a skin", "accessors", skin["inverseBindMatrices"])
    for node in document.items("nodes"):
        for key, array in (("mesh", "meshes"), ("skin", "skins"), ("camera", "cameras")):
            if key in node:
                within("a node", array, node[key])
        for key, length in (("matrix", 16), ("translation", 3), ("rotation", 4), ("scale", 3)):
            if key in node and not (len(node[key]) == length and np.isfinite(node[key]).all()):
                raise corrupt(f"a node's {key} is not {length} numbers")
    for scene in document.items("scenes"):
        for node_index in scene.get("nodes", []):
            within("a scene", "nodes", node_index)
    if "scene" in document.json:
        within("the document", "scenes", document.json["scene"])


def _check_tree(document: Document) -> None:
    """Nodes form trees: no cycle, one parent each, and no deeper than the engine follows."""
    nodes = document.items("nodes")
    parents = [0] * len(nodes)
    for node in nodes:
        for child in node.get("children", []):
            if _number(child) >= len(nodes):
                raise corrupt(f"a node's child is number {child}, and there are {len(nodes)} nodes")
            parents[child] += 1
            if parents[child] > 1:
                raise corrupt(f"node {child} is the child of two nodes")
    level = [index for index, count in enumerate(parents) if count == 0]
    seen = 0
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise corrupt(f"its nodes are nested more than {MAX_DEPTH} deep")
        seen += len(level)
        level = [child for index in level for child in nodes[index].get("children", [])]
    if seen != len(nodes):
        raise corrupt("its nodes form a cycle")
    for scene in document.items("scenes"):
        if any(parents[index] for index in scene.get("nodes", [])):
            raise corrupt("a scene's root is the child of another node")
