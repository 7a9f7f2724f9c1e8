"""The objects of a model, with ids to name them by: what there is to look at, and to take out alone.

Object 1 is the model; the nodes of its default scene follow, parents before children, in the order of
the file. So the ids of one version of a model are always the same. A root node that only stands for the
whole file, as some readers make one, is object 1 itself.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from shared.embedded.engine.decode import roots
from shared.embedded.engine.document import Document, Json
from shared.problems import Code, Problem

ROOT = 1


def objects(document: Document, name: str) -> list[dict[str, Any]]:
    """The objects, parents first: `id`, `parent` (None for the first, which is called ``name``), `name`,
    `externalId` (the path of names from the top, stable between conversions), and `properties` by group."""
    found: list[dict[str, Any]] = [
        {"id": ROOT, "parent": None, "name": name, "externalId": "", "properties": {}}
    ]
    paths: dict[int, str] = {ROOT: ""}
    taken: set[str] = set()
    for identity, parent, index in _walk(document, name):
        node = document.items("nodes")[index]
        called = node.get("name") or f"Object {identity}"
        path = f"{paths[parent]}/{called}"
        if path in taken:
            path = f"{path}#{identity}"
        taken.add(path)
        paths[identity] = path
        found.append(
            {
                "id": identity,
                "parent": parent,
                "name": called,
                "externalId": path,
                "properties": _properties(document, node),
            }
        )
    return found


def nodes_of(document: Document, name: str, ids: object) -> set[int] | None:
    """The nodes that the objects ``ids`` are made of, with all that is below them; None for all nodes.

    Raises `Problem` `invalid-settings` for ids that the model does not have."""
    if ids is None:
        return None
    assert isinstance(ids, list | tuple)
    wanted = set(ids)
    chosen: set[int] = {ROOT} & wanted
    nodes: set[int] = set()
    known = {ROOT}
    for identity, parent, index in _walk(document, name):
        known.add(identity)
        if identity in wanted or parent in chosen:
            chosen.add(identity)
            nodes.add(index)
    if missing := sorted(wanted - known):
        named = ", ".join(map(str, missing[:20]))
        raise Problem(
            Code.INVALID_SETTINGS,
            f"The model has no objects with these ids: {named}. Its object tree lists those there are.",
        )
    return nodes


def _walk(document: Document, name: str) -> Iterator[tuple[int, int, int]]:
    """Every node of the default scene as (object id, parent's object id, node index), parents first."""
    identity = ROOT
    stack = [(index, ROOT) for index in reversed(_tops(document, name))]
    while stack:
        index, parent = stack.pop()
        identity += 1
        yield identity, parent, index
        children = document.items("nodes")[index].get("children", [])
        stack += [(child, identity) for child in reversed(children)]


def _tops(document: Document, name: str) -> list[int]:
    tops = roots(document)
    if len(tops) == 1:
        root = document.items("nodes")[tops[0]]
        called = root.get("name", "")
        if "mesh" not in root and called in ("", "RootNode", name, PurePosixPath(name).stem):
            children: list[int] = root.get("children", [])
            return children
    return tops


def _properties(document: Document, node: Json) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    if "mesh" in node:
        mesh = document.items("meshes")[node["mesh"]]
        used = {one["material"]: None for one in mesh["primitives"] if "material" in one}
        materials = [document.items("materials")[index].get("name") for index in used]
        groups["Geometry"] = {"Mesh": mesh.get("name", ""), "Parts": len(mesh["primitives"])}
        if names := ", ".join(filter(None, materials)):
            groups["Geometry"]["Material"] = names
    extras = node.get("extras")
    if isinstance(extras, dict) and extras:
        groups["Extras"] = dict(extras)
    return groups
