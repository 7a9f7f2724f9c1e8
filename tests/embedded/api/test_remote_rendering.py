"""The Remote Rendering API as its contract has it, call by call."""

import base64
import json
import re
from typing import Any

import httpx
import pytest

from local.azurite import ACCOUNT
from shared.embedded.requests import Error, State
from tests.embedded.bundle import ACCOUNT_ID, ACCOUNT_KEY, OTHER_ACCOUNT_ID, Bundle

V1 = f"/v1/accounts/{ACCOUNT_ID}/conversions"
SAS = f"{V1}/createWithSharedAccessSignature"
LINKED = f"{V1}/create"
V2021 = f"/accounts/{ACCOUNT_ID}/conversions"
VERSION = {"api-version": "2021-01-01"}
CREATED = ".NET date", re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6,7}Z")


def body_2021(bundle: Bundle, model: str = "box.obj") -> dict[str, Any]:
    root = bundle.settings.embedded_blob_url.format(account=ACCOUNT)
    return {
        "settings": {
            "inputLocation": {
                "storageContainerUri": f"{root}/{bundle.models}",
                "storageContainerReadListSas": bundle.sas(bundle.models, "rl"),
                "blobPrefix": "Input",
                "relativeInputAssetPath": model,
            },
            "outputLocation": {
                "storageContainerUri": f"{root}/{bundle.converted}",
                "storageContainerWriteSas": bundle.sas(bundle.converted, "w"),
                "blobPrefix": "Output",
            },
        }
    }


async def end(bundle: Bundle, key: str, error: Error | None = None) -> None:
    """Ends a request as a worker does."""
    held = await bundle.requests.claim(key, "message")
    assert held is not None
    state = State.SUCCEEDED if error is None else State.FAILED
    result = {"outputs": [{"path": "box.glb"}], "warnings": [], "statistics": {"triangles": 12}}
    await bundle.requests.finish(held, state, error=error, result=result)


# --- v1 ----------------------------------------------------------------------------------------


async def test_v1_with_sas_accepts_and_says_created(bundle: Bundle) -> None:
    async with bundle.client() as client:
        started = await client.post(SAS, json=bundle.v1_body("box.obj"))
        assert started.status_code == 200
        assert list(started.json()) == ["conversionId"]
        polled = await client.get(f"{V1}/{started.json()['conversionId']}")
        assert (polled.status_code, polled.json()) == (200, {"status": "Created"})
    key = f"remote-rendering/{started.json()['conversionId']}"
    assert await bundle.messages() == [key]
    request = (await bundle.record(key)).request
    assert (request.model, [output.name for output in request.outputs]) == ("box.obj", ["box.arrAsset"])


async def test_v1_linked_storage_is_accepted_when_the_settings_link_it(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    del body["input"]["containerReadListSas"], body["output"]["containerWriteSas"]
    async with bundle.client() as client:
        started = await client.post(LINKED, json=body)
    record = await bundle.record(f"remote-rendering/{started.json()['conversionId']}")
    assert record.request.source.linked
    assert record.request.target.linked


@pytest.mark.parametrize("container", ["another", "embedded", "in-flight"])
async def test_v1_storage_that_is_not_linked_is_400_with_an_error_string(
    bundle: Bundle, container: str
) -> None:
    body = bundle.v1_body("box.obj")
    body["output"]["blobContainerName"] = bundle.converted.replace("converted", container)
    async with bundle.client() as client:
        refused = await client.post(LINKED, json=body)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("Unable to start conversion: ")
    assert list(refused.json()) == ["error"]


async def test_v1_sas_does_not_open_the_bundles_own_state(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    body["output"]["blobContainerName"] = bundle.settings.in_flight_container
    async with bundle.client() as client:
        assert (await client.post(SAS, json=body)).status_code == 400


async def test_v1_property_names_compare_case_insensitively(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    body["Input"] = {name.upper(): value for name, value in body.pop("input").items()}
    body["output"]["storageAccountName"] = body["output"].pop("storageAccountname")
    async with bundle.client() as client:
        assert (await client.post(SAS, json=body)).status_code == 200


async def test_v1_unknown_keys_are_tolerated(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj", sceneGraph={"anything": 1})
    body["input"]["more"] = None
    async with bundle.client() as client:
        assert (await client.post(SAS, json=body)).status_code == 200


async def test_v1_takes_a_sas_with_or_without_its_question_mark(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    body["input"]["containerReadListSas"] = "?" + body["input"]["containerReadListSas"]
    async with bundle.client() as client:
        started = await client.post(SAS, json=body)
    record = await bundle.record(f"remote-rendering/{started.json()['conversionId']}")
    assert record.request.source.sas is not None
    assert not record.request.source.sas.startswith("?")


@pytest.mark.parametrize(
    ("section", "name", "value", "said"),
    [
        ("input", "containerReadListSas", "https://a.blob.core.windows.net/c?sig=x", "not the full URI"),
        ("input", "containerReadListSas", "no signature", "containerReadListSas is not a shared access"),
        ("output", "containerWriteSas", None, "output.containerWriteSas is missing"),
        ("output", "containerWriteSas", 7, "output.containerWriteSas is not a string"),
        ("output", "outputAssetFileName", "box.glb", ".arrAsset"),
        ("output", "outputAssetFileName", "../box.arrAsset", ".arrAsset"),
        ("input", "storageAccountname", "acct.blob.core.windows.net", "3 to 24"),
        ("input", "storageAccountname", "acct@evil/x", "3 to 24"),
        ("input", "blobContainerName", "a/../b", "container"),
        ("input", "blobContainerName", "", "input.blobContainerName is missing"),
        ("input", "folderPath", "../in-flight", "'..'"),
        ("output", "folderPath", "../in-flight", "'..'"),
        ("output", "folderPath", "a/./b", "'.'"),
        ("output", "folderPath", "a\nb", "control character"),
        ("output", "folderPath", "x" * 1020, "longer than 1024"),
        ("input", "inputAssetPath", "", "input.inputAssetPath is missing"),
        ("input", "inputAssetPath", "..\\box.obj", "'..'"),
        ("input", "inputAssetPath", "box.txt", ".glb"),
    ],
)
async def test_v1_refuses_in_words(bundle: Bundle, section: str, name: str, value: object, said: str) -> None:
    body = bundle.v1_body("box.obj")
    body[section][name] = value
    async with bundle.client() as client:
        refused = await client.post(SAS, json=body)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("Unable to start conversion: ")
    assert said in refused.json()["error"]
    assert await bundle.messages() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
async def test_v1_refuses_a_body_that_is_no_json_object(bundle: Bundle, content: bytes) -> None:
    async with bundle.client() as client:
        refused = await client.post(SAS, content=content)
    assert refused.status_code == 400
    assert isinstance(refused.json()["error"], str)


async def test_v1_formats_become_one_file_each(bundle: Bundle) -> None:
    formats = [{"type": "glb"}, {"type": "thumbnail", "advanced": {"width": 400, "height": 400}}]
    async with bundle.client() as client:
        started = await client.post(SAS, json=bundle.v1_body("a/box.obj", formats=formats))
    record = await bundle.record(f"remote-rendering/{started.json()['conversionId']}")
    assert [output.name for output in record.request.outputs] == ["box.glb", "box.400x400.png"]


@pytest.mark.parametrize(
    ("formats", "said"),
    [
        ([], "formats"),
        ("glb", "formats"),
        ([{"type": 1}], "formats[0]"),
        ([{"type": "dwg"}], "'dwg'"),
        ([{"type": "glb", "extra": 1}], "formats[0].extra"),
        ([{"type": "thumbnail", "advanced": {"width": 1}}], "advanced.width"),
        ([{"type": "glb"}, {"type": "glb"}], "'box.glb'"),
        ([{"type": "\ud800"}], "ud800"),
    ],
)
async def test_v1_refuses_formats_that_cannot_be_made(bundle: Bundle, formats: object, said: str) -> None:
    async with bundle.client() as client:
        content = json.dumps(bundle.v1_body("box.obj", formats=formats))
        refused = await client.post(SAS, content=content)
    assert refused.status_code == 400
    assert said in refused.json()["error"]


@pytest.mark.parametrize(
    "callback", ["http://example.com/x", "https://10.0.0.1/", "ftp://example.com", "https://u@example.com/"]
)
async def test_v1_refuses_a_callback_to_nowhere_public(bundle: Bundle, callback: str) -> None:
    async with bundle.client() as client:
        refused = await client.post(SAS, json=bundle.v1_body("box.obj", callback=callback))
    assert refused.status_code == 400
    assert "callback" in refused.json()["error"]


async def test_the_same_idempotency_key_is_the_same_conversion_with_the_newest_sas(bundle: Bundle) -> None:
    key = {"Idempotency-Key": "one"}
    async with bundle.client() as client:
        first = await client.post(SAS, json=bundle.v1_body("box.obj"), headers=key)
        again = bundle.v1_body("box.obj")
        again["input"]["containerReadListSas"] = bundle.sas(bundle.models, "rl", hours=2)
        second = await client.post(SAS, json=again, headers=key)
        other = await client.post(SAS, json=bundle.v1_body("ball.obj"), headers=key)
        another = await client.post(SAS, json=bundle.v1_body("box.obj"), headers={"Idempotency-Key": "two"})
    assert second.json() == first.json() != another.json()
    assert first.headers["Idempotency-Key"] == "one"
    assert other.status_code == 409
    assert other.json()["error"].startswith("Unable to start conversion: ")
    record = await bundle.record(f"remote-rendering/{first.json()['conversionId']}")
    assert record.request.source.sas == again["input"]["containerReadListSas"]


async def test_v1_success_names_the_asset_and_its_files(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    body["output"] |= {"folderPath": "out", "outputAssetFileName": "other.arrAsset"}
    async with bundle.client() as client:
        conversion = (await client.post(SAS, json=body)).json()["conversionId"]
        await end(bundle, f"remote-rendering/{conversion}")
        polled = (await client.get(f"{V1}/{conversion}")).json()
    assert polled["status"] == "Success"
    assert polled["convertedAsset"] == {
        "storageAccountName": ACCOUNT,
        "blobContainerName": bundle.converted,
        "assetFilePath": "out/other.arrAsset",
    }
    assert polled["result"]["statistics"] == {"triangles": 12}
    assert "error" not in polled


async def test_v1_failure_has_a_message(bundle: Bundle) -> None:
    async with bundle.client() as client:
        conversion = (await client.post(SAS, json=bundle.v1_body("box.obj"))).json()["conversionId"]
        await end(bundle, f"remote-rendering/{conversion}", Error(code="empty", message="It is empty."))
        polled = (await client.get(f"{V1}/{conversion}")).json()
    assert polled["status"] == "Failure"
    assert polled["error"] == {"code": "empty", "message": "It is empty."}


async def test_v1_unknown_conversion_is_404(bundle: Bundle) -> None:
    async with bundle.client() as client:
        for unknown in ("nobody", "..", "a%20b", "x" * 300):
            missing = await client.get(f"{V1}/{unknown}")
            assert missing.status_code == 404
            assert isinstance(missing.json()["error"], str)


# --- 2021-01-01 --------------------------------------------------------------------------------


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


# --- Who is asking -----------------------------------------------------------------------------

PATHS = [("POST", SAS), ("POST", LINKED), ("GET", f"{V1}/x"), ("PUT", f"{V2021}/x"), ("GET", V2021)]


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_a_call_without_a_token_of_ours_is_401(bundle: Bundle, method: str, path: str) -> None:
    good = bundle.token()
    _, payload, _ = good.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for token in ("", "x", f"{ACCOUNT_ID}:{ACCOUNT_KEY}", good + "x", f"{unsigned}.{payload}.", "é"):
        async with bundle.client() as client:
            headers = {b"Authorization": f"Bearer {token}".encode()}
            refused = await client.request(method, path, headers=headers)
        assert (refused.status_code, refused.content) == (401, b"")
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    async with bundle.client() as client:
        del client.headers["Authorization"]
        assert (await client.request(method, path)).status_code == 401
        basic = {"Authorization": f"Basic {good}"}
        assert (await client.request(method, path, headers=basic)).status_code == 401


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_another_accounts_id_is_403(bundle: Bundle, method: str, path: str) -> None:
    async with bundle.client() as client:
        refused = await client.request(method, path.replace(ACCOUNT_ID, OTHER_ACCOUNT_ID))
    assert refused.status_code == 403
    assert isinstance(refused.json()["error"], str if path.startswith("/v1") else dict)


async def test_an_account_id_compares_case_insensitively(bundle: Bundle) -> None:
    async with bundle.client() as client:
        assert (await client.get(V2021.replace(ACCOUNT_ID, ACCOUNT_ID.upper()), params=VERSION)).is_success


@pytest.mark.parametrize("path", ["/Accounts/{}/token", "/accounts/{}/token", "/ACCOUNTS/{}/Token"])
async def test_the_token_service_gives_a_token_that_opens_the_api(bundle: Bundle, path: str) -> None:
    async with bundle.client(f"{ACCOUNT_ID}:{ACCOUNT_KEY}") as client:
        given = await client.get(path.format(ACCOUNT_ID), params={"api-version": "2019-02-28-preview"})
    assert given.status_code == 200
    assert given.headers["cache-control"] == "no-store, no-cache"
    assert given.headers["pragma"] == "no-cache"
    token = given.json()["AccessToken"]
    payload = json.loads(base64.b64decode(token.split(".")[1] + "==="))
    assert 86_000 < payload["exp"] - bundle.storage.now().timestamp() <= 86_400
    async with bundle.client(token) as client:
        assert (await client.get(V2021, params=VERSION)).json() == {"conversions": [], "@nextLink": None}


@pytest.mark.parametrize(
    "credentials",
    [f"{ACCOUNT_ID}:wrong", f"{OTHER_ACCOUNT_ID}:{ACCOUNT_KEY}", ACCOUNT_KEY, "", f"{ACCOUNT_ID}:"],
)
async def test_the_token_service_answers_a_wrong_key_with_401_and_no_body(
    bundle: Bundle, credentials: str
) -> None:
    async with bundle.client(credentials) as client:
        refused = await client.get(f"/Accounts/{ACCOUNT_ID}/token")
    assert (refused.status_code, refused.content) == (401, b"")
    assert "www-authenticate" not in refused.headers


async def test_the_token_service_knows_one_account(bundle: Bundle) -> None:
    async with bundle.client(f"{ACCOUNT_ID}:{ACCOUNT_KEY}") as client:
        assert (await client.get(f"/Accounts/{OTHER_ACCOUNT_ID}/token")).status_code == 403


async def test_paths_compare_case_insensitively_and_ids_do_not(bundle: Bundle) -> None:
    async with bundle.client() as client:
        loud = SAS.replace(ACCOUNT_ID, "{}").upper().format(ACCOUNT_ID)
        assert (await client.post(loud, json=bundle.v1_body("box.obj"))).status_code == 200
        conversions = f"/Accounts/{ACCOUNT_ID}/Conversions"
        for identity in ("Create", "create", "CreateMore", "Token"):
            made = await client.put(f"{conversions}/{identity}", params=VERSION, json=body_2021(bundle))
            assert (made.status_code, made.json()["id"]) == (201, identity)


# --- Every reply -------------------------------------------------------------------------------


def check_headers(reply: httpx.Response) -> None:
    assert re.fullmatch(r"[A-Za-z0-9+/]{22}\.0", reply.headers["MS-CV"])
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_every_reply_has_ms_cv_and_none_has_the_frameworks_shape(bundle: Bundle) -> None:
    async with bundle.client() as client:
        replies = [
            await client.get(f"/Accounts/{ACCOUNT_ID}/token"),
            await client.get("/nowhere"),
            await client.get("/v1/nowhere"),
            await client.delete(f"{V1}/x"),
            await client.delete(f"{V2021}/x"),
            await client.get(V2021),
            await client.get(V2021, params=VERSION),
            await client.post(SAS, content=b"{"),
            await client.get(f"{V1}/unknown"),
            await client.get("/docs"),
            await client.get("/openapi.json"),
        ]
    for reply in replies:
        check_headers(reply)
        assert "detail" not in reply.text
    assert [reply.status_code for reply in replies] == [401, 404, 404, 405, 405, 400, 200, 400, 404, 404, 404]
    assert replies[3].headers["allow"]
    assert len({reply.headers["MS-CV"] for reply in replies}) == len(replies)


async def test_a_bug_is_a_500_in_the_apis_shape_that_tells_nothing(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("https://account/container?sig=secret")

    monkeypatch.setattr(bundle.requests, "status", fail)
    async with bundle.client() as client:
        v1, v2021 = await client.get(f"{V1}/x"), await client.get(f"{V2021}/x", params=VERSION)
    assert (v1.status_code, v2021.status_code) == (500, 500)
    assert isinstance(v1.json()["error"], str)
    assert v2021.json()["error"]["code"] == "InternalServerError"
    check_headers(v1)
    assert "secret" not in caplog.text + v1.text + v2021.text


async def test_no_reply_shows_a_sas(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    async with bundle.client() as client:
        conversion = (await client.post(SAS, json=body)).json()["conversionId"]
        shown = (await client.get(f"{V1}/{conversion}")).text
        shown += (await client.get(f"{V2021}/{conversion}", params=VERSION)).text
        shown += (await client.get(V2021, params=VERSION)).text
    assert "sig=" not in shown
