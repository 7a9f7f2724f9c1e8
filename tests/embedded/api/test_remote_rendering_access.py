"""Who may call the Remote Rendering API, and what every reply of it has."""

import base64
import json
import re

import httpx
import pytest

from tests.embedded.api.rendering import LINKED, SAS, V1, V2021, VERSION, body_2021
from tests.embedded.bundle import ACCOUNT_ID, ACCOUNT_KEY, OTHER_ACCOUNT_ID, Bundle

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
