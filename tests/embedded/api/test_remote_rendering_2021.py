"""The Remote Rendering API's version 2021-01-01 as its contract has it, call by call."""

import re
from typing import Any

import pytest

from local.azurite import ACCOUNT
from shared.embedded.requests import Error, State
from tests.embedded.api.rendering import SAS, V2021, VERSION, body_2021, end
from tests.embedded.bundle import Bundle

CREATED = ".NET date", re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6,7}Z")


async def test_put_is_201_then_200_then_409(bundle: Bundle) -> None:
    async with bundle.client() as client:
        first = await client.put(f"{V2021}/C-1_x", params=VERSION, json=body_2021(bundle))
        again = await client.put(f"{V2021}/C-1_x", params=VERSION, json=body_2021(bundle))
        other = await client.put(f"{V2021}/C-1_x", params=VERSION, json=body_2021(bundle, "b.obj"))
        case = await client.put(f"{V2021}/c-1_X", params=VERSION, json=body_2021(bundle, "b.obj"))
    assert [reply.status_code for reply in (first, again, other, case)] == [201, 200, 409, 201]
    assert again.json() == first.json()
    assert other.json()["error"]["code"] == "Conflict"


async def test_the_conversion_object_is_the_recorded_one(bundle: Bundle) -> None:
    root = bundle.settings.embedded_blob_url.format(account=ACCOUNT)
    async with bundle.client() as client:
        created = await client.put(f"{V2021}/c1", params=VERSION, json=body_2021(bundle))
    conversion = created.json()
    assert CREATED[1].fullmatch(conversion.pop("creationTime"))
    assert conversion == {
        "id": "c1",
        "settings": {
            "inputLocation": {
                "storageContainerUri": f"{root}/{bundle.models}",
                "blobPrefix": "Input/",
                "relativeInputAssetPath": "box.obj",
            },
            "outputLocation": {
                "storageContainerUri": f"{root}/{bundle.converted}",
                "blobPrefix": "Output/",
                "outputAssetFilename": "box.arrAsset",
            },
        },
        "error": None,
        "status": "NotStarted",
    }
    assert created.headers["api-supported-versions"] == "2021-01-01-preview, 2021-01-01"
    assert created.headers["content-type"] == "application/json; charset=utf-8"
    assert "cache-control" not in created.headers


async def test_get_follows_the_conversion_to_its_output(bundle: Bundle) -> None:
    async with bundle.client() as client:
        await client.put(f"{V2021}/c1", params=VERSION, json=body_2021(bundle))
        held = await bundle.requests.claim("remote-rendering/c1", "message")
        assert held is not None
        running = await client.get(f"{V2021}/c1", params=VERSION)
        assert running.json()["status"] == "Running"
        assert "output" not in running.json()
        assert running.headers["cache-control"] == "no-store, no-cache"
        result: dict[str, Any] = {"outputs": [], "warnings": [], "statistics": {}}
        await bundle.requests.finish(held, State.SUCCEEDED, result=result)
        ended = (await client.get(f"{V2021}/c1", params={"api-version": "2021-01-01-preview"})).json()
    root = bundle.settings.embedded_blob_url.format(account=ACCOUNT)
    assert ended["status"] == "Succeeded"
    assert ended["error"] is None
    assert ended["output"] == {"outputAssetUri": f"{root}/{bundle.converted}/Output/box.arrAsset"}


async def test_a_failed_conversion_says_why_and_has_no_output(bundle: Bundle) -> None:
    async with bundle.client() as client:
        await client.put(f"{V2021}/c1", params=VERSION, json=body_2021(bundle))
        await end(bundle, "remote-rendering/c1", Error(code="empty", message="It is empty."))
        failed = (await client.get(f"{V2021}/c1", params=VERSION)).json()
    assert failed["status"] == "Failed"
    assert failed["error"]["code"] == "ConversionProcessFailed"
    assert failed["error"]["message"] == "It is empty."
    assert "output" not in failed


async def test_list_is_oldest_first_in_pages_and_includes_v1(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.embedded.api.remote_rendering._PAGE", 2)
    async with bundle.client() as client:
        first = (await client.post(SAS, json=bundle.v1_body("box.obj"))).json()["conversionId"]
        for name in ("z", "a", "m"):
            await client.put(f"{V2021}/{name}", params=VERSION, json=body_2021(bundle))
        page = (await client.get(V2021, params=VERSION)).json()
        seen = [conversion["id"] for conversion in page["conversions"]]
        link = page["@nextLink"]
        assert link.startswith("http://service.test/")
        assert "api-version=2021-01-01" in link
        last = (await client.get(link)).json()
    seen += [conversion["id"] for conversion in last["conversions"]]
    assert seen == [first, "z", "a", "m"]
    assert last["@nextLink"] is None


async def test_list_refuses_a_token_of_somebody_else(bundle: Bundle) -> None:
    async with bundle.client() as client:
        for token in ("x", "bnVsbA", "W10", "%00"):
            refused = await client.get(f"{V2021}?api-version=2021-01-01&skiptoken={token}")
            assert refused.status_code == 400
            assert refused.json()["error"]["code"] == "BadRequest"


@pytest.mark.parametrize("identity", ["a%20b", "a%2Fb", "a/b", "", "x" * 257, "ü"])
async def test_an_id_outside_the_charset_is_400(bundle: Bundle, identity: str) -> None:
    async with bundle.client() as client:
        refused = await client.put(f"{V2021}/{identity}", params=VERSION, json=body_2021(bundle))
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "BadRequest"


async def test_an_id_of_256_characters_is_served(bundle: Bundle) -> None:
    async with bundle.client() as client:
        created = await client.put(f"{V2021}/{'x' * 256}", params=VERSION, json=body_2021(bundle))
    assert created.status_code == 201


@pytest.mark.parametrize(("query", "code"), [("", "ApiVersionUnspecified"), ("?api-version=1", "Unsupp")])
async def test_a_missing_or_unknown_api_version_is_400(bundle: Bundle, query: str, code: str) -> None:
    async with bundle.client() as client:
        for method, path in (("PUT", f"{V2021}/c"), ("GET", f"{V2021}/c"), ("GET", V2021)):
            refused = await client.request(method, path + query)
            assert refused.status_code == 400
            assert refused.json()["error"]["code"].startswith(code)


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/models",
        "http://127.0.0.1:1/devstoreaccount1/models",
        "{root}.evil.example/models",
        "{root}/models?comp=list",
        "{root}/models/deeper",
        "{root}@evil.example/models",
        "{root}/../in-flight",
        "{root}",
        "",
    ],
)
async def test_any_other_storage_host_is_refused(bundle: Bundle, uri: str) -> None:
    body = body_2021(bundle)
    root = bundle.settings.embedded_blob_url.format(account=ACCOUNT)
    body["settings"]["inputLocation"]["storageContainerUri"] = uri.format(root=root)
    async with bundle.client() as client:
        refused = await client.put(f"{V2021}/c1", params=VERSION, json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "BadRequest"


async def test_storage_that_is_not_linked_is_403_by_its_recorded_code(bundle: Bundle) -> None:
    body = body_2021(bundle)
    location = body["settings"]["inputLocation"]
    del location["storageContainerReadListSas"]
    location["storageContainerUri"] = location["storageContainerUri"].replace("models", "others")
    async with bundle.client() as client:
        refused = await client.put(f"{V2021}/c1", params=VERSION, json=body)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "DelegatedResourceAccessError"


async def test_an_unknown_conversion_is_404_without_a_body(bundle: Bundle) -> None:
    async with bundle.client() as client:
        missing = await client.get(f"{V2021}/nobody", params=VERSION)
    assert (missing.status_code, missing.content) == (404, b"")
