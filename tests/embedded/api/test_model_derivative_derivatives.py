"""Manifests, the files they name, and the picture."""

import re
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from shared.embedded.api.model_derivative.designs import Design, Designs
from shared.embedded.api.model_derivative.manifests import DERIVATIVE_URN
from shared.embedded.engine.job import Job, Result
from shared.embedded.requests import Request, Requests
from shared.embedded.seals import encode
from tests.embedded.api.derivative import MD, Calls, only, quoted, urn
from tests.embedded.models import mtl, obj, packed, png

NOBODY = urn("urn:adsk.objects:os.object:modelderivative/nobody.obj")
STL = {"type": "stl"}


@pytest.fixture
async def box(calls: Calls) -> str:
    """A translated design."""
    files = {"box.obj": obj("box.mtl"), "box.mtl": mtl("skin.png"), "skin.png": png()}
    encoded = await calls.upload("box.zip", packed(files))
    picture = {"type": "thumbnail", "advanced": {"width": 200, "height": 100}}
    await calls.job(encoded, STL, {"type": "obj"}, picture, compressedUrn=True, rootFilename="box.obj")
    await calls.work()
    return encoded


def path(encoded: str, derivative: str, call: str = "") -> str:
    return f"{MD}/{encoded}/manifest/{quoted(derivative)}{call}"


async def first(calls: Calls, encoded: str, kind: str) -> str:
    found: str = only(await calls.manifest(encoded), kind)["children"][0]["urn"]
    return found


async def test_a_manifest_has_the_shape_of_the_contract(calls: Calls, box: str) -> None:
    manifest = await calls.manifest(box)
    derivatives = manifest.pop("derivatives")
    assert manifest == {
        "type": "manifest",
        "hasThumbnail": "true",
        "status": "success",
        "progress": "complete",
        "region": "US",
        "urn": box,
        "version": "1.0",
    }
    for one in derivatives:
        assert (one["name"], one["status"], one["progress"]) == ("box.obj", "success", "complete")
        assert one["hasThumbnail"] == ("true" if one["outputType"] == "thumbnail" else "false")
        for child in one["children"]:
            assert child["type"] == "resource"
            assert child["urn"].startswith(f"{DERIVATIVE_URN}{box}/output/")
            assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", child["guid"])
    guids = [child["guid"] for one in derivatives for child in one["children"]]
    assert len(set(guids)) == len(guids) == 5
    roles = {one["outputType"]: {child["role"] for child in one["children"]} for one in derivatives}
    assert roles == {"stl": {"STL"}, "obj": {"OBJ"}, "thumbnail": {"thumbnail"}}
    (picture,) = only({"derivatives": derivatives}, "thumbnail")["children"]
    assert (picture["mime"], picture["resolution"]) == ("image/png", [200, 100])


async def test_a_manifest_of_nothing_is_404_and_of_no_urn_400(calls: Calls) -> None:
    missing = await calls.http.get(f"{MD}/{NOBODY}/manifest")
    assert (missing.status_code, list(missing.json())) == (404, ["diagnostic"])
    assert (await calls.http.get(f"{MD}/nonsense!/manifest")).status_code == 400
    assert (await calls.http.get(f"{MD}/{NOBODY}/manifest", headers={"region": "x"})).status_code == 400


async def test_deleting_a_manifest_deletes_the_files_and_keeps_the_source(calls: Calls, box: str) -> None:
    derivative = await first(calls, box, "stl")
    for _ in range(2):
        deleted = await calls.http.delete(f"{MD}/{box}/manifest")
        assert (deleted.status_code, deleted.json()) == (200, {"result": "success"})
    assert (await calls.http.get(f"{MD}/{box}/manifest")).status_code == 404
    assert (await calls.http.head(path(box, derivative))).status_code == 404
    assert (await calls.http.get(path(box, derivative, "/signedcookies"))).status_code == 404
    container = calls.bundle.settings.embedded_container
    left = [head.name async for head in calls.bundle.storage.list(container)]
    assert {name.partition("/")[0] for name in left} == {"oss"}
    # Nothing is known of what was in the zip, so that it has to be said again; or it has one model.
    assert (await calls.job(box, STL)).status_code == 200


async def test_a_deleted_translation_that_runs_ends_without_an_effect(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj())
    await calls.job(encoded, STL)
    ((key, message),) = await calls.bundle.take()
    assert (await calls.http.delete(f"{MD}/{encoded}/manifest")).status_code == 200
    await calls.bundle.worker(calls.converter).run(key, message)
    assert (await calls.http.get(f"{MD}/{encoded}/manifest")).status_code == 404


async def test_a_translation_that_is_deleted_while_it_writes_leaves_nothing(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj())
    await calls.job(encoded, STL)
    ((key, message),) = await calls.bundle.take()
    converted: list[Result] = []

    class Late:
        async def convert(self, job: Job) -> Result:
            converted.append(await calls.converter.convert(job))
            assert (await calls.http.delete(f"{MD}/{encoded}/manifest")).status_code == 200
            return converted[0]

    await calls.bundle.worker(Late()).run(key, message)
    assert converted[0].error is None
    container = calls.bundle.settings.embedded_container
    left = [head.name async for head in calls.bundle.storage.list(container)]
    assert {name.partition("/")[0] for name in left} == {"oss"}


async def test_a_job_that_starts_while_a_manifest_is_deleted_keeps_its_files(
    calls: Calls, box: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear = Designs.clear

    async def slow(self: Designs, design: Design) -> None:
        await clear(self, design)
        again = await calls.job(box, STL, compressedUrn=True, rootFilename="box.obj")
        assert again.status_code == 200
        await calls.work()

    with monkeypatch.context() as patch:
        patch.setattr(Designs, "clear", slow)
        assert (await calls.http.delete(f"{MD}/{box}/manifest")).status_code == 200
    assert len(await calls.file(box, await first(calls, box, "stl"))) == 84 + 4 * 50


async def test_a_files_head_tells_its_size(calls: Calls, box: str) -> None:
    head = await calls.http.head(path(box, await first(calls, box, "stl")))
    assert (head.status_code, head.headers["content-length"]) == (200, str(84 + 4 * 50))


async def test_a_file_that_may_still_come_is_202(calls: Calls) -> None:
    encoded = await calls.upload("box.obj", obj())
    await calls.job(encoded, STL)
    ((key, _),) = await calls.bundle.take()
    later = f"{DERIVATIVE_URN}{encoded}/output/{key.rpartition('/')[2]}/box.stl"
    assert (await calls.http.head(path(encoded, later))).status_code == 202
    assert (await calls.http.get(path(encoded, later, "/signedcookies"))).status_code == 202
    assert (await calls.http.get(path(encoded, later))).status_code == 202


@pytest.mark.parametrize(
    "derivative",
    [
        "urn:adsk.viewing:fs.file:{other}/output/{id}/box.stl",
        "urn:adsk.viewing:fs.file:{urn}/output/{id}/other.stl",
        "urn:adsk.viewing:fs.file:{urn}/output/{id}/../design.json",
        "urn:adsk.viewing:fs.file:{urn}/output/00000000000000000000000000000000/box.stl",
        "{urn}/output/{id}/box.stl",
        "x",
    ],
)
async def test_another_file_is_404(calls: Calls, box: str, derivative: str) -> None:
    identity = (await first(calls, box, "stl")).split("/")[-2]
    named = derivative.format(urn=box, other=NOBODY, id=identity)
    for call in ("", "/signedcookies"):
        refused = await calls.http.get(path(box, named, call))
        assert (refused.status_code, list(refused.json())) == (404, ["diagnostic"])


async def test_a_file_of_another_design_or_region_is_404(calls: Calls, box: str) -> None:
    other = await calls.upload("other.obj", obj())
    await calls.job(other, STL)
    identity = (await first(calls, box, "stl")).split("/")[-2]
    lent = path(other, f"{DERIVATIVE_URN}{other}/output/{identity}/box.stl")
    own = path(box, f"{DERIVATIVE_URN}{box}/output/{identity}/box.stl")
    for address, region, status in ((lent, "US", 404), (own, "EMEA", 404), (own, "US", 302)):
        assert (await calls.http.get(address, headers={"region": region})).status_code == status


async def test_a_file_whose_request_was_not_handed_in_is_handed_in_by_whoever_asks_for_it(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = await calls.upload("box.obj", obj())
    lost: list[str] = []

    async def killed(self: Requests, request: Request) -> None:
        lost.append(request.id)
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(Requests, "accept", killed)
        assert (await calls.job(encoded, STL)).status_code == 500
    later = path(encoded, f"{DERIVATIVE_URN}{encoded}/output/{lost[0]}/box.stl")
    assert (await calls.http.get(later)).status_code == 202
    await calls.work()
    assert (await calls.http.get(later)).status_code == 302


async def test_a_file_itself_is_a_redirect_to_a_short_sas(calls: Calls, box: str) -> None:
    found = await calls.http.get(path(box, await first(calls, box, "stl")))
    assert found.status_code == 302
    query = parse_qs(urlsplit(found.headers["location"]).query)
    assert (query["sp"], query["sr"]) == (["r"], ["b"])
    async with httpx.AsyncClient() as storage:
        assert len((await storage.get(found.headers["location"])).content) == 84 + 4 * 50


async def signed(calls: Calls, box: str, **query: Any) -> httpx.Response:
    derivative = await first(calls, box, "stl")
    return await calls.http.get(path(box, derivative, "/signedcookies"), params=query)


async def test_signed_cookies_are_three_in_their_order(calls: Calls, box: str) -> None:
    reply = await signed(calls, box)
    assert set(reply.json()) == {"etag", "size", "url", "content-type", "expiration"}
    assert len(str(reply.json()["expiration"])) == 13
    assert abs(reply.json()["expiration"] / 1000 - time.time() - 360 * 60) < 120
    assert "sig=" not in reply.text
    cookies = reply.headers.get_list("set-cookie")
    names = [cookie.partition("=")[0] for cookie in cookies]
    assert names == ["CloudFront-Policy", "CloudFront-Key-Pair-Id", "CloudFront-Signature"]
    assert all(cookie.endswith("; Path=/; HttpOnly") for cookie in cookies)


async def test_a_download_needs_its_cookies_or_the_same_in_the_query(calls: Calls, box: str) -> None:
    reply = await signed(calls, box)
    url = reply.json()["url"]
    pairs = [cookie.partition(";")[0].partition("=") for cookie in reply.headers.get_list("set-cookie")]
    values = {name.removeprefix("CloudFront-"): value for name, _, value in pairs}
    async with httpx.AsyncClient(transport=calls.http._transport) as anybody:
        assert (await anybody.get(url, params=values)).status_code == 302
        for missing in values:
            rest = {name: value for name, value in values.items() if name != missing}
            refused = await anybody.get(url, params=rest)
            assert (refused.status_code, list(refused.json())) == (403, ["developerMessage"])
        assert (await anybody.get(url)).status_code == 403
        assert (await anybody.get(url + "x", params=values)).status_code == 403
        forged = encode({"path": urlsplit(url).path[5:], "expires": 1e15, "disposition": None})
        assert (await anybody.get(url, params=values | {"Policy": forged})).status_code == 403


async def test_a_download_ends_with_its_minutes(
    calls: Calls, box: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = await signed(calls, box, **{"minutes-expiration": 5})
    cookies = "; ".join(one.partition(";")[0] for one in reply.headers.get_list("set-cookie"))
    now = time.time()
    for seconds, status in ((240, 302), (301, 403)):
        monkeypatch.setattr(time, "time", lambda late=seconds: now + late)
        found = await calls.http.get(reply.json()["url"], headers={"Cookie": cookies})
        assert found.status_code == status


async def test_the_disposition_reaches_the_download(calls: Calls, box: str) -> None:
    wanted = 'attachment; filename="a box.stl"'
    reply = await signed(calls, box, **{"response-content-disposition": wanted})
    cookies = "; ".join(one.partition(";")[0] for one in reply.headers.get_list("set-cookie"))
    found = await calls.http.get(reply.json()["url"], headers={"Cookie": cookies})
    async with httpx.AsyncClient() as storage:
        downloaded = await storage.get(found.headers["location"])
    assert downloaded.headers["content-disposition"] == wanted


@pytest.mark.parametrize(
    "query",
    [
        {"minutes-expiration": 361},
        {"minutes-expiration": 0},
        {"minutes-expiration": "x"},
        {"response-content-disposition": "inline"},
        {"response-content-disposition": "attachment\r\nX: y"},
    ],
)
async def test_signed_cookies_with_a_wrong_query_are_400(calls: Calls, box: str, query: Any) -> None:
    assert (await signed(calls, box, **query)).status_code == 400


@pytest.fixture
async def pictured(calls: Calls) -> str:
    """A design with two pictures."""
    encoded = await calls.upload("box.obj", obj())
    await calls.job(encoded, *({"type": "thumbnail", "advanced": {"width": side}} for side in (100, 400)))
    await calls.work()
    return encoded


@pytest.mark.parametrize(
    ("query", "side"),
    [({}, 100), ({"width": 100}, 100), ({"height": 400}, 400), ({"width": 400, "height": 400}, 400)],
)
async def test_a_thumbnail_is_the_nearest_one(
    calls: Calls, pictured: str, query: dict[str, int], side: int
) -> None:
    found = await calls.http.get(f"{MD}/{pictured}/thumbnail", params=query)
    assert found.headers["content-type"] == "image/png"
    assert int.from_bytes(found.content[16:20], "big") == side
    assert found.headers["x-ads-size"] == f"[{side},{side}]"
    assert found.headers["x-ads-name"] == f"box.{side}x{side}.png"
    assert (found.headers["x-ads-role"], found.headers["x-ads-job-status"]) == ("rendered", "success")


async def test_a_thumbnail_of_another_size_is_400_and_of_none_404(calls: Calls, pictured: str) -> None:
    assert (await calls.http.get(f"{MD}/{pictured}/thumbnail", params={"width": 300})).status_code == 400
    encoded = await calls.upload("plain.obj", obj())
    assert (await calls.http.get(f"{MD}/{encoded}/thumbnail")).status_code == 404
    await calls.job(encoded, STL)
    assert (await calls.http.get(f"{MD}/{encoded}/thumbnail")).status_code == 404
