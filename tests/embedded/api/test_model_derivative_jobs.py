"""Jobs: the order of refusals, what is made again and what is not, and several jobs of one design."""

import asyncio
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.embedded.api.model_derivative import access, views
from shared.embedded.converter import Converter
from shared.embedded.requests import Requests
from tests.embedded.api.derivative import MD, Calls, calling, only, token, urn
from tests.embedded.models import mtl, obj, packed, png

STL, GLB = {"type": "stl"}, {"type": "glb"}
SVF = {"type": "svf", "views": ["3d"]}
NOBODY = urn("urn:adsk.objects:os.object:modelderivative/nobody.obj")


async def translated(calls: Calls, *formats: dict[str, Any], key: str = "box.obj", **more: Any) -> str:
    """A design that was translated; its URN."""
    encoded = await calls.upload(key, more.pop("data", obj()))
    started = await calls.job(encoded, *(formats or (STL,)), **more)
    assert started.status_code == 200, started.text
    await calls.work()
    return encoded


async def test_an_svf_with_a_wrong_option_is_400_and_with_a_right_one_406(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj())
    wrong = await calls.job(encoded, {**SVF, "advanced": {"materialMode": "shiny"}})
    assert wrong.status_code == 400
    assert "materialMode" in wrong.json()["diagnostic"]
    right = await calls.job(encoded, {**SVF, "advanced": {"materialMode": "basic"}})
    assert right.status_code == 406


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"type": "dwg"}, "glb, gltf, jpg, obj"),
        ({"type": "ifc", "advanced": {"exportSettingName": "x"}}, "glb, gltf, jpg, obj"),
        ({"type": "fbx"}, "glb, gltf, jpg, obj"),
        ({"type": "step", "advanced": {"applicationProtocol": "203"}}, "'step'"),
        ({"type": "iges", "advanced": {"solidType": "solid"}}, "'iges'"),
    ],
)
async def test_what_is_not_made_is_406_and_says_what_is(calls: Calls, wanted: Any, said: str) -> None:
    encoded = await calls.upload("box.obj", obj())
    refused = await calls.job(encoded, wanted)
    assert refused.status_code == 406
    assert said in refused.json()["diagnostic"]


async def test_a_source_that_cannot_be_read_is_406(calls: Calls) -> None:
    encoded = await calls.upload("house.rvt", b"anything")
    refused = await calls.job(encoded, STL)
    assert refused.status_code == 406
    assert "'rvt'" in refused.json()["diagnostic"]
    inside = await calls.upload("A5.zip", packed({"A5.iam": b"x"}))
    refused = await calls.job(inside, STL, compressedUrn=True, rootFilename="A5.iam")
    assert refused.status_code == 406
    assert "'iam'" in refused.json()["diagnostic"]


async def test_one_format_that_is_not_made_refuses_the_whole_job(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj())
    assert (await calls.job(encoded, STL, SVF)).status_code == 406
    assert (await calls.http.get(f"{MD}/{encoded}/manifest")).status_code == 404
    assert await calls.bundle.take() == []


async def test_refusals_come_in_their_order(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"type": "stl", "advanced": {"format": "x"}}
    unknown = await calls.job(NOBODY, bad)
    assert unknown.status_code == 400, "a wrong body comes before an unknown object"
    assert (await calls.job(NOBODY, SVF)).status_code == 404, "an unknown object before an unmakeable type"
    encoded = await calls.upload("box.obj", obj())
    assert (await calls.job(encoded, STL)).status_code == 200
    assert (await calls.job(encoded, SVF)).status_code == 406, "an unmakeable type before a running job"
    assert (await calls.job(encoded, STL)).status_code == 409
    monkeypatch.setitem(access.LIMITS, "job", 0)
    assert (await calls.job(encoded, bad)).status_code == 429, "too many calls before a wrong body"
    few = (await token(calls.http, "data:read")).json()["access_token"]
    async with calls.bundle.client(few) as reader:
        refused = await reader.post(f"{MD}/job", json={})
    assert refused.status_code == 403, "too few scopes before too many calls"
    assert "data:create or data:write" in refused.json()["developerMessage"]
    async with calls.bundle.client("nonsense") as stranger:
        refused = await stranger.post(f"{MD}/job", json={})
    assert (refused.status_code, list(refused.json())) == (401, ["developerMessage"])


@pytest.mark.parametrize("scope", ["data:read data:write", "data:read data:create"])
async def test_either_right_to_write_opens_the_job(calls: Calls, scope: str) -> None:
    encoded = await calls.upload("box.obj", obj())
    issued = (await token(calls.http, scope)).json()["access_token"]
    async with calls.bundle.client(issued) as client:
        body = {"input": {"urn": encoded}, "output": {"formats": [STL]}}
        assert (await client.post(f"{MD}/job", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"region": "MOON"}, "region"),
        ({"x-ads-force": "yes"}, "x-ads-force"),
        ({"x-ads-derivative-format": "oldest"}, "x-ads-derivative-format"),
        ({"Content-Type": "text/plain"}, "Content-Type"),
    ],
)
async def test_a_header_with_a_wrong_value_is_400(calls: Calls, headers: dict[str, str], said: str) -> None:
    encoded = await calls.upload("box.obj", obj())
    refused = await calls.job(encoded, STL, headers=headers)
    assert refused.status_code == 400
    assert said in refused.json()["diagnostic"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"input": NaN}', b"\xff"])
async def test_a_body_that_is_no_json_object_is_400(calls: Calls, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    refused = await calls.http.post(f"{MD}/job", content=content, headers=headers)
    assert (refused.status_code, list(refused.json())) == (400, ["diagnostic"])


@pytest.mark.parametrize("value", ["latest", "fallback"])
async def test_both_derivative_formats_are_taken(calls: Calls, value: str) -> None:
    encoded = await calls.upload("box.obj", obj())
    assert (await calls.job(encoded, STL, headers={"x-ads-derivative-format": value})).status_code == 200


async def test_the_reply_says_back_the_request_and_adds_nothing(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj())
    output = {"destination": {"region": "us"}, "formats": [{"type": "stl", "advanced": {"format": "ascii"}}]}
    body = {"input": {"urn": encoded}, "output": output}
    started = await calls.http.post(f"{MD}/job", json=body)
    assert started.json()["acceptedJobs"] == {"output": output}


async def test_a_second_job_extends_the_manifest_and_makes_only_what_is_missing(calls: Calls) -> None:
    encoded = await translated(calls, STL)
    before = only(await calls.manifest(encoded), "stl")
    started = await calls.job(encoded, {"type": "stl", "advanced": {"format": "binary"}}, GLB)
    assert started.status_code == 200
    ((key, message),) = await calls.bundle.take()
    assert [output.type for output in (await calls.bundle.record(key)).request.outputs] == ["glb"]
    running = await calls.manifest(encoded)
    assert (running["status"], only(running, "stl")) == ("inprogress", before)
    await calls.bundle.worker(calls.converter).run(key, message)
    after = await calls.manifest(encoded)
    assert (after["status"], only(after, "stl")) == ("success", before)
    assert only(after, "glb")["status"] == "success"
    assert (await calls.job(encoded, GLB, STL)).status_code == 201


async def test_a_second_job_reads_the_source_as_the_first_one_said(calls: Calls) -> None:
    # A zip whose name does not tell it.
    data = packed({"box.obj": obj()})
    encoded = await translated(calls, key="parts", data=data, compressedUrn=True, rootFilename="box.obj")
    assert (await calls.job(encoded, GLB)).status_code == 200
    await calls.work()
    manifest = await calls.manifest(encoded)
    assert (manifest["status"], len(manifest["derivatives"])) == ("success", 2)


async def test_other_options_are_another_derivative(calls: Calls) -> None:
    encoded = await translated(calls, STL)
    ascii_ = {"type": "stl", "advanced": {"format": "ascii"}}
    assert (await calls.job(encoded, ascii_)).status_code == 200
    await calls.work()
    files = [
        await calls.file(encoded, child["urn"])
        for one in (await calls.manifest(encoded))["derivatives"]
        for child in one["children"]
    ]
    assert [data.startswith(b"solid") for data in files] == [False, True]


async def test_several_of_one_type_in_one_job_are_all_made(calls: Calls) -> None:
    pictures = [{"type": "thumbnail", "advanced": {"width": side}} for side in (100, 200, 400)]
    wanted: list[dict[str, Any]] = [STL, {"type": "stl", "advanced": {"format": "ascii"}}, *pictures, STL]
    encoded = await translated(calls, *wanted)
    made = (await calls.manifest(encoded))["derivatives"]
    assert sorted(one["outputType"] for one in made) == ["stl", "stl", "thumbnail", "thumbnail", "thumbnail"]
    sides = [
        child["resolution"] for one in made if one["outputType"] == "thumbnail" for child in one["children"]
    ]
    assert sides == [[100, 100], [200, 200], [400, 400]]


async def test_force_deletes_what_there_was_and_makes_it_again(calls: Calls) -> None:
    encoded = await translated(calls, STL, GLB)
    before = await calls.manifest(encoded)
    old = only(before, "stl")["children"][0]["urn"]
    forced = await calls.job(encoded, STL, headers={"x-ads-force": "true"})
    assert (forced.status_code, forced.json()["result"]) == (200, "success")
    assert [one["outputType"] for one in (await calls.manifest(encoded))["derivatives"]] == ["stl"]
    again = await calls.job(encoded, STL, headers={"x-ads-force": "true"})
    assert again.status_code == 409, "a running job is not thrown away"
    await calls.work()
    made = only(await calls.manifest(encoded), "stl")["children"][0]["urn"]
    assert made != old
    assert len(await calls.file(encoded, made)) == 84 + 4 * 50
    gone = await calls.http.get(f"{MD}/{encoded}/manifest/{old}")
    assert gone.status_code == 404


async def test_a_failed_derivative_is_tried_again_on_request(calls: Calls) -> None:
    encoded = await translated(calls, STL, data=b"no model at all")
    failed = await calls.manifest(encoded)
    assert (failed["status"], failed["progress"]) == ("failed", "complete")
    (message,) = only(failed, "stl")["messages"]
    assert (message["type"], message["code"]) == ("error", "corrupt-model")
    await calls.upload("box.obj", obj())
    assert (await calls.job(encoded, STL)).status_code == 200
    await calls.work()
    mended = await calls.manifest(encoded)
    assert mended["status"] == "success"
    assert len(mended["derivatives"]) == 1


async def test_a_job_whose_request_was_not_handed_in_is_handed_in_by_whoever_asks(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = await calls.upload("box.obj", obj())

    async def killed(self: Requests, request: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(Requests, "accept", killed)
        assert (await calls.job(encoded, STL)).status_code == 500
    assert await calls.bundle.take() == []
    assert (await calls.manifest(encoded))["status"] == "pending"
    await calls.work()
    assert (await calls.manifest(encoded))["status"] == "success"


async def test_the_same_job_twice_at_once_is_one_translation(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj())
    replies = await asyncio.gather(*(calls.job(encoded, STL) for _ in range(5)))
    assert sorted(reply.status_code for reply in replies) == [200, 409, 409, 409, 409]
    assert len(await calls.bundle.take()) == 1
    assert len((await calls.manifest(encoded))["derivatives"]) == 1


async def test_extraction_takes_ids_of_the_tree_only(calls: Calls) -> None:
    encoded = await translated(calls)
    guid = views.view_guid(encoded)
    absent = {"type": "obj", "advanced": {"modelGuid": guid, "objectIds": [1, 99]}}
    assert (await calls.job(encoded, absent, GLB)).status_code == 200
    await calls.work()
    manifest = await calls.manifest(encoded)
    failed = only(manifest, "obj")
    assert (manifest["status"], failed["status"], failed["progress"]) == ("failed", "failed", "complete")
    assert "99" in failed["messages"][0]["message"]
    assert only(manifest, "glb")["status"] == "success", "the other format of the job does not suffer"


async def test_minus_one_extracts_everything(calls: Calls) -> None:
    encoded = await translated(calls)
    guid = views.view_guid(encoded).upper()
    asked = {
        "type": "obj",
        "advanced": {"modelGuid": guid, "objectIds": [-1], "exportFileStructure": "multiple"},
    }
    assert (await calls.job(encoded, asked)).status_code == 200
    await calls.work()
    made = only(await calls.manifest(encoded), "obj")
    (main,) = [child for child in made["children"] if child["urn"].endswith(".obj")]
    data = await calls.file(encoded, main["urn"])
    assert sum(line.startswith(b"f ") for line in data.splitlines()) == 4
    assert [message["type"] for message in made["messages"]] == ["warning"]
    assert "'exportFileStructure' is ignored" in made["messages"][0]["message"]


@pytest.mark.parametrize("translate", [False, True])
async def test_a_guid_that_is_no_3d_view_is_400(calls: Calls, translate: bool) -> None:
    encoded = await translated(calls) if translate else await calls.upload("box.obj", obj())
    guid = "4f981e94-8241-4eaf-b08b-cd337c6b8b1f" if translate else views.view_guid(encoded)
    asked = {"type": "obj", "advanced": {"modelGuid": guid, "objectIds": [2]}}
    refused = await calls.job(encoded, asked)
    assert refused.status_code == 400
    assert "modelGuid" in refused.json()["diagnostic"]


async def test_what_is_ignored_is_a_warning_in_the_manifest(calls: Calls) -> None:
    encoded = await translated(calls, STL, misc={"workflowAttribute": {"a": 1}})
    (message,) = only(await calls.manifest(encoded), "stl")["messages"]
    assert message["type"] == "warning"
    assert "workflowAttribute" in message["message"]


async def test_companions_are_brought_where_the_references_place_them(calls: Calls) -> None:
    encoded = await calls.upload("id-1/box.obj", obj("box.mtl"))
    await calls.upload("id-1/box.mtl", mtl("textures/skin.png"))
    await calls.upload("id-1/skin.png", png())
    files = [
        {
            "urn": f"urn:adsk.objects:os.object:modelderivative/id-1/{name}",
            "relativePath": place,
            "filename": name,
        }
        for name, place in (("box.mtl", "box.mtl"), ("skin.png", "./textures/skin.png"))
    ]
    body = {"urn": encoded, "region": "US", "filename": "box.obj", "references": files}
    said = await calls.http.post(f"{MD}/{encoded}/references", json=body)
    assert (said.status_code, said.json()) == (200, {"result": "success", "urn": encoded})
    started = await calls.job(encoded, {"type": "obj"}, checkReferences=True)
    assert started.status_code == 200, started.text
    await calls.work()
    children = only(await calls.manifest(encoded), "obj")["children"]
    assert sorted(child["urn"].rpartition(".")[2] for child in children) == ["mtl", "obj", "png"]
    # What is extracted has the same texture, although the job does not speak of references.
    whole = {"modelGuid": views.view_guid(encoded), "objectIds": [-1]}
    assert (await calls.job(encoded, {"type": "obj", "advanced": whole})).status_code == 200
    await calls.work()
    extracted = (await calls.manifest(encoded))["derivatives"][1]["children"]
    assert sorted(child["urn"].rpartition(".")[2] for child in extracted) == ["mtl", "obj", "png"]


async def test_a_reference_to_nothing_is_404_when_the_job_needs_it(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj("box.mtl"))
    reference = {"urn": "urn:adsk.objects:os.object:modelderivative/gone.mtl", "relativePath": "box.mtl"}
    said = await calls.http.post(f"{MD}/{encoded}/references", json={"references": [reference]})
    assert said.status_code == 200
    refused = await calls.job(encoded, STL, checkReferences=True)
    assert refused.status_code == 404
    assert "box.mtl" in refused.json()["diagnostic"]
    assert (await calls.job(encoded, STL)).status_code == 200


@pytest.mark.parametrize(
    "references",
    [None, {}, ["x"], [{"urn": "urn:x"}], [{"urn": "?", "relativePath": "a"}],
     [{"urn": "urn:x", "relativePath": "../a"}], [{"urn": "urn:x", "relativePath": "/etc/passwd"}]],
)  # fmt: skip
async def test_references_of_another_shape_are_400(calls: Calls, references: object) -> None:
    refused = await calls.http.post(f"{MD}/{NOBODY}/references", json={"references": references})
    assert (refused.status_code, list(refused.json())) == (400, ["diagnostic"])


async def test_too_many_jobs_are_told_how_long_to_wait(azurite: Azurite, converter: Converter) -> None:
    async with calling(azurite, converter) as calls:
        replies: list[httpx.Response] = [await calls.job(NOBODY, STL) for _ in range(501)]
    assert [reply.status_code for reply in replies[:500]] == [404] * 500
    refused = replies[500]
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json() == {"developerMessage": "Quota limit exceeded."}
    assert refused.headers["x-ads-troubleshooting"] == "Quota Limit Exceeded"
