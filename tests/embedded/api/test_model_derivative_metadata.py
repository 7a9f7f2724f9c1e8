"""Views, the object tree, properties, and queries for them."""

from typing import Any

import pytest

from shared.embedded.api.model_derivative import metadata, views
from shared.embedded.api.model_derivative.queries import Query
from shared.problems import Problem
from tests.embedded.api.derivative import MD, Calls, urn
from tests.embedded.models import obj

OBJECTS: list[dict[str, Any]] = [
    {"id": 1, "parent": None, "name": "car", "externalId": "", "properties": {}},
    {"id": 2, "parent": 1, "name": "body", "externalId": "/body", "properties": {"Geometry": {"Parts": 2}}},
    {
        "id": 3,
        "parent": 2,
        "name": "door",
        "externalId": "/body/door",
        "properties": {"Extras": {"Kind": "a b"}},
    },
    {"id": 4, "parent": 1, "name": "wheel", "externalId": "/wheel", "properties": {"Geometry": {"Parts": 5}}},
]


@pytest.fixture
async def box(calls: Calls) -> str:
    """The metadata path of a design that was translated."""
    encoded = await calls.upload("box.obj", b"o box\n" + obj())
    await calls.job(encoded, {"type": "stl"})
    await calls.work()
    return f"{MD}/{encoded}/metadata"


async def guid_of(calls: Calls, path: str) -> str:
    found: str = (await calls.http.get(path)).json()["data"]["metadata"][0]["guid"]
    return found


async def test_metadata_of_a_design_that_was_not_translated_is_404(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj())
    guid = views.view_guid(encoded)
    for path in ("", f"/{guid}", f"/{guid}/properties"):
        missing = await calls.http.get(f"{MD}/{encoded}/metadata{path}")
        assert (missing.status_code, list(missing.json())) == (404, ["diagnostic"])
    assert (await calls.http.get(f"{MD}/{urn('urn:x')}/metadata")).status_code == 404


async def test_metadata_is_202_while_it_is_extracted(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj())
    await calls.job(encoded, {"type": "stl"})
    guid = views.view_guid(encoded)
    for path in ("", f"/{guid}", f"/{guid}/properties"):
        waiting = await calls.http.get(f"{MD}/{encoded}/metadata{path}")
        assert (waiting.status_code, waiting.json()) == (202, {"result": "success"})


async def test_metadata_of_a_failed_translation_is_404(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", b"nothing")
    await calls.job(encoded, {"type": "stl"})
    await calls.work()
    missing = await calls.http.get(f"{MD}/{encoded}/metadata")
    assert missing.status_code == 404
    assert "manifest" in missing.json()["diagnostic"]


async def test_there_is_one_view_of_everything(calls: Calls, box: str) -> None:
    found = (await calls.http.get(box)).json()
    guid = views.view_guid(box.split("/")[-2])
    view = {"name": "box.obj", "role": "3d", "guid": guid}
    assert found == {"data": {"type": "metadata", "metadata": [view]}}
    assert (await calls.http.get(f"{box}/00000000-0000-0000-0000-000000000000")).status_code == 404


async def test_the_tree_holds_the_models_own_names(calls: Calls, box: str) -> None:
    guid = await guid_of(calls, box)
    data = (await calls.http.get(f"{box}/{guid}")).json()["data"]
    assert data["type"] == "objects"
    (top,) = data["objects"]
    assert (top["objectid"], top["name"]) == (1, "box.obj")
    assert "box" in {one["name"] for one in top["objects"]}
    alone = (await calls.http.get(f"{box}/{guid}", params={"objectid": 2})).json()["data"]["objects"]
    assert alone[0]["objectid"] == 2
    flat = (await calls.http.get(f"{box}/{guid}", params={"level": 0})).json()["data"]["objects"]
    assert flat == [{"objectid": 1, "name": "box.obj"}]
    for query in ({"objectid": 99}, {"objectid": "x"}, {"forceget": "maybe"}):
        assert (await calls.http.get(f"{box}/{guid}", params=query)).status_code in (400, 404)


async def test_properties_are_those_of_all_objects_or_of_one(calls: Calls, box: str) -> None:
    path = f"{box}/{await guid_of(calls, box)}/properties"
    data = (await calls.http.get(path)).json()["data"]
    assert data["type"] == "properties"
    named = {one["name"]: one for one in data["collection"]}
    assert set(named["box"]) == {"objectid", "name", "externalId", "properties"}
    one = (await calls.http.get(path, params={"objectid": named["box"]["objectid"]})).json()["data"]
    assert one["collection"] == [named["box"]]
    assert (await calls.http.get(path, params={"objectid": 99})).status_code == 404


async def test_what_is_too_large_has_to_be_forced(
    calls: Calls, box: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guid = await guid_of(calls, box)
    monkeypatch.setattr(metadata, "_LARGEST", 10)
    for path in (f"{box}/{guid}", f"{box}/{guid}/properties"):
        refused = await calls.http.get(path)
        assert refused.status_code == 413
        assert "'forceget'" in refused.json()["diagnostic"]
        assert int(refused.headers["x-ads-size"]) > 10
        assert (await calls.http.get(path, params={"forceget": "true"})).status_code == 200


async def test_a_query_finds_and_cuts(calls: Calls, box: str) -> None:
    path = f"{box}/{await guid_of(calls, box)}/properties:query"
    body = {"query": {"$prefix": ["name", "bo"]}, "fields": ["name"], "pagination": {"limit": 1}}
    found = (await calls.http.post(path, json=body)).json()
    assert found["pagination"]["totalResults"] >= 2
    assert found["data"]["collection"] == [{"objectid": 1, "name": "box.obj"}]
    assert (await calls.http.post(path, json={"query": {"$near": ["name", 1]}})).status_code == 400


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (None, [1, 2, 3, 4]),
        ({"$in": ["objectid", 2, 4]}, [2, 4]),
        ({"$in": ["name", "door", "wheel"]}, [3, 4]),
        ({"$eq": ["name", "door"]}, [3]),
        ({"$eq": ["objectid", True]}, []),
        ({"$prefix": ["externalId", "/body"]}, [2, 3]),
        ({"$between": ["properties.Geometry.Parts", 3, 5]}, [4]),
        ({"$le": ["properties.Geometry.Parts", 2]}, [2]),
        ({"$ge": ["properties.Geometry.Parts", 2]}, [2, 4]),
        ({"$ge": ["name", 2]}, []),
        ({"$contains": ["properties.Extras.Kind", "A", "b"]}, [3]),
        ({"$contains": ["properties.Extras.Kind", "c"]}, []),
    ],
)
def test_queries_by_each_operator(query: Any, ids: list[int]) -> None:
    checked = Query.check({} if query is None else {"query": query})
    found = [one for one in map(metadata.described, OBJECTS) if checked.finds(one)]
    assert [one["objectid"] for one in found] == ids


def test_fields_are_cut_by_their_paths() -> None:
    checked = Query.check({"fields": ["name", "properties.Extras.*", "properties.Nothing"]})
    assert checked.cut(metadata.described(OBJECTS[2])) == {
        "objectid": 3,
        "name": "door",
        "properties": {"Extras": {"Kind": "a b"}},
    }


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"more": 1},
        {"query": []},
        {"query": {"$in": ["name"]}},
        {"query": {"$in": [1, 2]}},
        {"query": {"$between": ["name", 1]}},
        {"query": {"$eq": ["name", 1], "$in": ["name", 1]}},
        {"fields": "name"},
        {"payload": "html"},
        {"pagination": {"limit": 1001}},
        {"pagination": {"offset": -1}},
        {"pagination": {"page": 1}},
    ],
)
def test_a_query_of_another_shape_is_refused(body: object) -> None:
    with pytest.raises(Problem):
        Query.check(body)


def test_a_tree_is_cut_by_its_top_and_its_depth() -> None:
    assert metadata.nested(OBJECTS, None, None) == [
        {
            "objectid": 1,
            "name": "car",
            "objects": [
                {"objectid": 2, "name": "body", "objects": [{"objectid": 3, "name": "door"}]},
                {"objectid": 4, "name": "wheel"},
            ],
        }
    ]
    below = {"objectid": 2, "name": "body"}
    assert metadata.nested(OBJECTS, 2, 0) == [below]
    assert metadata.nested(OBJECTS, 1, 1)[0]["objects"] == [below, {"objectid": 4, "name": "wheel"}]
