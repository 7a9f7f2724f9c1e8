"""The six examples of the job operation's reference, with a real zip: an OBJ, its MTL and its textures."""

import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web

from samples import make_samples
from tests.embedded.api.derivative import MD, Calls, only
from tests.embedded.models import packed, read_glb

ZIP: dict[str, Any] = {"compressedUrn": True, "rootFilename": "A5.obj"}
STL = {"type": "stl"}
VIEWABLES = [{"type": kind, "views": ["2d", "3d"]} for kind in ("svf", "svf2")]

STARTUP = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d UTC \d{4}")


@pytest.fixture(scope="module")
def a5() -> bytes:
    """The crate as A5.zip; its objects are the tiles, the planks, the stand, the globe and the vase."""
    names = {name: name.removeprefix("crate/") for name in make_samples.crate()}
    names["crate/crate.obj"] = "A5.obj"
    return packed({names[name]: data for name, data in make_samples.crate().items()})


def check_headers(reply: httpx.Response) -> None:
    """The headers that the reference prints."""
    headers = reply.headers
    assert headers["content-type"].replace(" ", "") == "application/json;charset=utf-8"
    assert re.fullmatch(r"[a-z-]+-[\d.]+-local", headers["x-ads-app-identifier"])
    assert STARTUP.fullmatch(headers["x-ads-startup-time"])
    assert re.fullmatch(r"\d+ ms", headers["x-ads-duration"])
    if reply.status_code < 400:
        assert headers["access-control-allow-credentials"] == "true"
        assert headers["access-control-allow-origin"] == "*"
        assert "x-ads-exception-id" not in headers
    else:
        assert "access-control-allow-origin" not in headers
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", headers["x-ads-exception-id"])


async def test_1_a_zip_is_translated_and_3_not_again(calls: Calls, a5: bytes) -> None:
    urn = await calls.upload("A5.zip", a5)
    started = await calls.job(urn, STL, **ZIP)
    check_headers(started)
    assert started.status_code == 200
    assert started.json() == {
        "result": "success",
        "urn": urn,
        "acceptedJobs": {"output": {"formats": [STL]}},
    }
    await calls.work()
    manifest = await calls.manifest(urn)
    assert (manifest["status"], manifest["progress"], manifest["region"]) == ("success", "complete", "US")
    assert manifest["urn"] == urn
    (file,) = only(manifest, "stl")["children"]
    data = await calls.file(urn, file["urn"])
    # 7,472 triangles, as samples/README.md says: a header, a count, and 50 bytes each.
    assert len(data) == 84 + 50 * 7472

    headers = {"x-ads-force": "false", "region": "US"}
    again = await calls.job(urn, STL, headers=headers, **ZIP)
    check_headers(again)
    assert again.status_code == 201
    assert again.json() == {"result": "created", "urn": urn, "acceptedJobs": {"output": {"formats": [STL]}}}
    assert await calls.bundle.take() == []
    assert await calls.manifest(urn) == manifest


async def test_2_a_padded_urn_and_a_region_with_a_manifest_of_its_own(calls: Calls, a5: bytes) -> None:
    urn = await calls.upload("jp_box.zip", a5)
    padded = urn + "=" * (-len(urn) % 4)
    assert padded != urn
    started = await calls.job(padded, STL, headers={"region": "EMEA"}, **ZIP)
    check_headers(started)
    assert (started.status_code, started.json()["urn"]) == (200, urn)
    assert (await calls.http.get(f"{MD}/{urn}/manifest")).status_code == 404
    await calls.work()
    assert (await calls.manifest(padded, region="EMEA"))["region"] == "EMEA"
    europe = await calls.http.get(f"/modelderivative/v2/regions/eu/designdata/{urn}/manifest")
    assert europe.json() == await calls.manifest(urn, region="EMEA")
    # The other region knows nothing of it, so there it is made anew.
    assert (await calls.job(urn, STL, **ZIP)).status_code == 200


async def test_4_parts_are_extracted_by_the_ids_of_the_tree(calls: Calls, a5: bytes) -> None:
    urn = await calls.upload("A5.zip", a5)
    await calls.job(urn, STL, **ZIP)
    await calls.work()
    views = (await calls.http.get(f"{MD}/{urn}/metadata")).json()
    assert views["data"]["type"] == "metadata"
    (view,) = views["data"]["metadata"]
    guid = view["guid"]
    (top,) = (await calls.http.get(f"{MD}/{urn}/metadata/{guid}")).json()["data"]["objects"]
    parts = {one["name"]: one["objectid"] for one in leaves(top)}
    assert len(parts) == 5
    chosen = dict(list(parts.items())[1:4])

    asked = {"type": "obj", "advanced": {"modelGuid": guid, "objectIds": list(chosen.values())}}
    # Neither compressedUrn nor rootFilename, as in the example: the design was translated before.
    started = await calls.job(urn, asked)
    check_headers(started)
    assert started.status_code == 200, started.text
    assert started.json()["acceptedJobs"] == {"output": {"formats": [asked]}}
    await calls.work()
    manifest = await calls.manifest(urn)
    assert manifest["status"] == "success"
    assert only(manifest, "stl")["status"] == "success"
    files = only(manifest, "obj")["children"]
    (main,) = [file for file in files if file["urn"].endswith(".obj")]
    assert (main["modelGuid"], main["objectIds"], main["role"]) == (guid, list(chosen.values()), "OBJ")
    assert any(file["urn"].endswith(".mtl") for file in files)
    data = (await calls.file(urn, main["urn"])).decode()
    names = {line.split(maxsplit=1)[1] for line in data.splitlines() if line.startswith(("o ", "g "))}
    assert names == set(chosen)


async def test_5_ids_that_cannot_be_are_refused_in_the_references_words(calls: Calls, a5: bytes) -> None:
    urn = await calls.upload("A5.zip", a5)
    asked = {
        "type": "obj",
        "advanced": {"modelGuid": "4f981e94-8241-4eaf-b08b-cd337c6b8b1f", "objectIds": [-2]},
    }
    refused = await calls.job(urn, asked)
    check_headers(refused)
    assert refused.status_code == 400
    assert refused.headers["x-ads-troubleshooting"] == "Invalid Request"
    assert refused.json() == {
        "diagnostic": "The values of 'objectIds' should be equal or greater than 0. "
        "You can also set the value as [-1] for getting the whole model."
    }


async def test_6_a_workflow_calls_its_webhook_with_a_signature(calls: Calls, a5: bytes) -> None:
    urn = await calls.upload("A5.zip", a5)
    attribute = {"myfoo": 33, "projectId": "someURN", "myobject": {"nested": True}}
    misc = {"workflow": "my-workflow-id", "workflowAttribute": attribute}
    async with listening() as (address, heard):
        hooks = "/webhooks/v1/systems/derivative/events/extraction.finished/hooks"
        made = await calls.http.post(
            hooks, json={"callbackUrl": f"{address}/hook", "scope": {"workflow": "my-workflow-id"}}
        )
        assert made.status_code == 201, made.text
        await calls.http.post("/webhooks/v1/tokens", json={"token": "a secret of the receiver"})
        started = await calls.job(urn, {"type": "glb"}, misc=misc, **ZIP)
        check_headers(started)
        assert started.status_code == 200, started.text
        assert started.json()["acceptedJobs"] == {"output": {"formats": [{"type": "glb"}]}}
        await calls.work()
    ((headers, body),) = heard
    expected = hmac.new(b"a secret of the receiver", body, hashlib.sha1).hexdigest()
    assert headers["x-adsk-signature"] == f"sha1hash={expected}"
    assert headers["x-adsk-delivery-id"]
    told = json.loads(body)
    assert told["resourceUrn"] == urn
    assert told["hook"]["event"] == "extraction.finished"
    assert told["hook"]["tenant"] == "my-workflow-id"
    assert told["payload"]["EventType"] == "EXTRACTION_FINISHED"
    assert told["payload"]["Payload"]["status"] == "success"
    assert told["payload"]["Payload"]["workflowAttribute"] == attribute
    (file,) = only(await calls.manifest(urn), "glb")["children"]
    assert len(read_glb(await calls.file(urn, file["urn"]))["images"]) == 3


@pytest.mark.parametrize("viewable", VIEWABLES, ids=["svf", "svf2"])
@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({}, {}),
        ({"region": "EMEA"}, {}),
        ({"x-ads-force": "false", "region": "US"}, {}),
        ({}, {"misc": {"workflow": "my-workflow-id", "workflowAttribute": {"myfoo": 33}}}),
    ],
    ids=["1", "2", "3", "6"],
)
async def test_the_examples_as_printed_ask_for_what_is_not_made(
    calls: Calls, viewable: dict[str, Any], headers: dict[str, str], more: dict[str, Any]
) -> None:
    urn = await calls.upload("A5.zip", packed({"A5.obj": b"v 0 0 0\n"}))
    refused = await calls.job(urn, viewable, headers=headers, **more, **ZIP)
    check_headers(refused)
    assert refused.status_code == 406
    assert viewable["type"] in refused.json()["diagnostic"]
    assert "glb" in refused.json()["diagnostic"]
    assert refused.headers["x-ads-troubleshooting"] == "Not Acceptable"
    assert await calls.bundle.take() == []


def leaves(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects with nothing below them."""
    below = tree.get("objects", [])
    return [leaf for one in below for leaf in leaves(one)] if below else [tree]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A receiver of webhooks: its address, and what it heard."""
    heard: list[tuple[dict[str, str], bytes]] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        heard.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", heard
    finally:
        await runner.cleanup()
