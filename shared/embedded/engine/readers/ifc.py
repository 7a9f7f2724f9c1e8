"""IFC by ifclite-geom: metres, y-up, in the tree of its storeys, with GlobalId, type and property sets."""

import re
from collections.abc import Mapping
from typing import Any

import ifclite_geom
import numpy as np

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.readers.clouds import centred
from shared.embedded.engine.scene import Imported, Material, Mesh, Node, Primitive, Scene, linear, upright

#: Volumes that stand for air: drawn, they would hide the building.
_UNSEEN = frozenset({"IfcSpace", "IfcOpeningElement", "IfcOpeningStandardCase", "IfcVirtualElement"})
# What holds what: of an aggregate the whole comes before its parts, of a storey the elements first.
_AGGREGATES = re.compile(rb"IFCREL(?:AGGREGATES|NESTS)\s*\([^;]*?,\s*#(\d+)\s*,\s*\(([^)]*)\)\s*\)\s*;")
_CONTAINED = re.compile(rb"IFCRELCONTAINEDINSPATIALSTRUCTURE\s*\([^;]*?\(([#\d,\s]*)\)\s*,\s*#(\d+)\s*\)\s*;")
_REFERENCE = re.compile(rb"#(\d+)")
_DEEPEST = 100
_UNITS = {0.001: "mm", 0.01: "cm", 1.0: "m", 0.0254: "in", 0.3048: "ft"}


def read(data: bytes) -> tuple[Imported, str]:
    """The scene and the file's unit of length. Raises `Problem` `corrupt-model`, also for a file without
    geometry, which is what the library makes of a damaged one."""
    if b"ISO-10303-21" not in data[:1024]:
        raise corrupt("it does not start as an IFC file does, with ISO-10303-21")
    try:
        elements: Mapping[int, Any] = ifclite_geom.geometry_data_buffers(data)["elements"]
        entities: Mapping[str, Any] = ifclite_geom.entity_data(data)
    except (ValueError, RuntimeError) as error:
        raise corrupt(f"its IFC cannot be read ({error})") from error
    known: Mapping[int, Any] = entities["entities"]
    scale = float(entities["length_unit_scale"])
    drawn = {one: element for one, element in elements.items() if element["ifc_type"] not in _UNSEEN}
    meshes = {one: mesh for one, element in drawn.items() if (mesh := _mesh(element)) is not None}
    if not meshes:
        raise corrupt("the IFC has no geometry, or is damaged")
    middle = centred([positions for positions, _ in meshes.values()])
    scene = Scene()
    nodes: dict[int, Node] = {}
    materials: dict[tuple[float, ...], int] = {}
    for one, (positions, indices) in meshes.items():
        element = drawn[one]
        name = element["name"] or element["ifc_type"]
        material = _material(scene, materials, element["color"])
        nodes[one] = Node(name, mesh=len(scene.meshes), extras=_extras(element, known.get(one)))
        primitive = Primitive((positions - middle).astype(np.float32), indices, material=material)
        scene.meshes.append(Mesh(name, [primitive]))
    matrix = upright(1.0)
    matrix[:3, 3] = matrix[:3, :3] @ middle
    root = Node("", matrix, children=_tree(nodes, known, _parents(data)))
    scene.roots = [root]
    return Imported(scene, []), _UNITS.get(round(scale, 6), f"{scale:g} m")


def _mesh(element: Mapping[str, Any]) -> tuple[Any, Any] | None:
    positions = np.frombuffer(element["vertices"], "<f8").reshape(-1, 3)
    indices = np.frombuffer(element["faces"], "<u4")
    return (positions, indices) if len(positions) and len(indices) else None


def _material(scene: Scene, made: dict[tuple[float, ...], int], color: list[float]) -> int:
    key = tuple(round(float(value), 4) for value in color)
    if key not in made:
        made[key] = len(scene.materials)
        red, green, blue = (float(value) for value in linear(np.clip(np.array(key[:3]), 0, 1)))
        alpha = min(max(key[3], 0.0), 1.0)
        scene.materials.append(Material("", (red, green, blue, alpha), blend=alpha < 1))
    return made[key]


def _extras(element: Mapping[str, Any], entity: Mapping[str, Any] | None) -> dict[str, object]:
    """What the file says of an element; names that are used twice in a set count once."""
    extras: dict[str, object] = {"ifcType": element["ifc_type"], "GlobalId": element["global_id"]}
    if entity is None:
        return extras
    for key in ("description", "object_type"):
        if entity[key]:
            extras[key] = entity[key]
    if entity["attributes"]:
        extras["attributes"] = {one["name"]: one["value"] for one in entity["attributes"]}
    sets = {
        **{one["name"]: {each["name"]: each["value"] for each in one["properties"]}
           for one in entity["property_sets"]},
        **{one["name"]: {each["name"]: each["value"] for each in one["quantities"]}
           for one in entity["quantity_sets"]},
    }  # fmt: skip
    if sets:
        extras["propertySets"] = sets
    return extras


def _parents(data: bytes) -> dict[int, int]:
    """The entity that each is a part of, or contained in."""
    parents: dict[int, int] = {}
    data = data.upper()  # a search that ignores case looks at every letter
    for found in _CONTAINED.finditer(data):
        for part in _REFERENCE.findall(found[1]):
            parents.setdefault(int(part), int(found[2]))
    for found in _AGGREGATES.finditer(data):
        for part in _REFERENCE.findall(found[2]):
            parents.setdefault(int(part), int(found[1]))
    return parents


def _tree(nodes: dict[int, Node], known: Mapping[int, Any], parents: dict[int, int]) -> list[Node]:
    """The nodes, each below what holds it; returns those at the top."""
    placed = dict(nodes)
    top: list[Node] = []
    for one in nodes:
        child, seen = one, {one}
        for _ in range(_DEEPEST):
            parent = parents.get(child)
            if parent is None or parent in seen or parent not in known:
                top.append(placed[child])
                break
            seen.add(parent)
            if parent in placed:
                placed[parent].children.append(placed[child])
                if parent not in nodes:
                    break
                break
            entity = known[parent]
            holder = Node(entity["name"] or entity["ifc_type"], extras=_extras(entity, entity))
            placed[parent] = holder
            holder.children.append(placed[child])
            child = parent
        else:
            top.append(placed[child])
    return top
