"""Tokens, scopes, the spellings of paths, and the headers and shapes of every reply."""

import base64

import httpx
import pytest
from fastapi import Request

from local.azurite import Azurite
from shared.embedded.api.model_derivative import access
from shared.embedded.api.replies import Refused
from shared.embedded.tokens import Tokens
from tests.embedded.api.derivative import MD, SCOPES, Calls, token
from tests.embedded.bundle import ACCOUNT_ID, ACCOUNT_KEY, start

TOKEN = "/authentication/v2/token"
FORM = {"grant_type": "client_credentials", "scope": "data:read"}


async def test_a_token_is_given_for_the_id_and_key_in_the_header_or_in_the_form(calls: Calls) -> None:
    basic = await token(calls.http, SCOPES)
    assert basic.status_code == 200
    issued = basic.json()
    assert (issued["token_type"], issued["expires_in"]) == ("Bearer", 3600)
    assert basic.headers["cache-control"] == "no-store"
    form = {**FORM, "client_id": ACCOUNT_ID.upper(), "client_secret": ACCOUNT_KEY}
    async with calls.bundle.client("") as anybody:
        del anybody.headers["Authorization"]
        assert (await anybody.post(TOKEN, data=form)).status_code == 200


@pytest.mark.parametrize(
    ("form", "authorization", "status", "word"),
    [
        (FORM, None, 401, "developerMessage"),
        (FORM, "Basic !", 401, "developerMessage"),
        (FORM, "Basic " + base64.b64encode(f"{ACCOUNT_ID}:wrong".encode()).decode(), 401, "developerMessage"),
        (FORM | {"client_id": ACCOUNT_ID, "client_secret": "wrong"}, None, 401, "developerMessage"),
        (FORM | {"grant_type": "authorization_code"}, "right", 400, "diagnostic"),
        ({"scope": "data:read"}, "right", 400, "diagnostic"),
        (FORM | {"scope": "data:read everything"}, "right", 400, "diagnostic"),
    ],
)
async def test_no_token_for_anybody_else(
    calls: Calls, form: dict[str, str], authorization: str | None, status: int, word: str
) -> None:
    if authorization == "right":
        authorization = "Basic " + base64.b64encode(f"{ACCOUNT_ID}:{ACCOUNT_KEY}".encode()).decode()
    headers = {} if authorization is None else {"Authorization": authorization}
    async with calls.bundle.client("") as anybody:
        del anybody.headers["Authorization"]
        refused = await anybody.post(TOKEN, data=form, headers=headers)
    assert (refused.status_code, list(refused.json())) == (status, [word])


async def test_a_token_opens_its_own_api_only(azurite: Azurite) -> None:
    async with start(azurite, embedded_apis="model-derivative,remote-rendering") as bundle:
        async with bundle.client() as remote_rendering:
            refused = await remote_rendering.get(f"{MD}/formats")
            assert refused.status_code == 401
            issued = (await token(remote_rendering)).json()["access_token"]
        async with bundle.client(issued) as derivative:
            assert (await derivative.get(f"{MD}/formats")).status_code == 200
            listed = f"/accounts/{ACCOUNT_ID}/conversions?api-version=2021-01-01"
            assert (await derivative.get(listed)).status_code == 401


async def test_the_api_is_off_unless_the_settings_turn_it_on(azurite: Azurite) -> None:
    async with start(azurite) as bundle, bundle.client() as client:
        assert (await client.post(TOKEN, data=FORM)).status_code == 404


async def test_a_token_without_scopes_reads_the_formats_and_nothing_else(calls: Calls) -> None:
    few = (await token(calls.http, "")).json()["access_token"]
    async with calls.bundle.client(few) as client:
        assert (await client.get(f"{MD}/formats")).status_code == 200
        assert (await client.get(f"{MD}/x/manifest")).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{MD}/dXJu/manifest"),
        ("DELETE", f"{MD}/dXJu/manifest"),
        ("HEAD", f"{MD}/dXJu/manifest/urn%3Ax"),
        ("GET", f"{MD}/dXJu/manifest/urn%3Ax"),
        ("GET", f"{MD}/dXJu/manifest/urn%3Ax/signedcookies"),
        ("GET", f"{MD}/dXJu/thumbnail"),
        ("POST", f"{MD}/dXJu/references"),
        ("GET", f"{MD}/dXJu/metadata"),
        ("GET", f"{MD}/dXJu/metadata/guid"),
        ("GET", f"{MD}/dXJu/metadata/guid/properties"),
        ("POST", f"{MD}/dXJu/metadata/guid/properties:query"),
        ("POST", "/webhooks/v1/systems/derivative/events/extraction.finished/hooks"),
        ("GET", "/webhooks/v1/hooks"),
        ("POST", "/webhooks/v1/tokens"),
    ],
)
async def test_every_call_needs_a_token_with_a_scope(calls: Calls, method: str, path: str) -> None:
    few = (await token(calls.http, "bucket:read")).json()["access_token"]
    async with calls.bundle.client(few) as client:
        assert (await client.request(method, path)).status_code == 403
        assert (await client.request(method, path, headers={"Authorization": "x"})).status_code == 401


async def test_leading_slashes_are_one(calls: Calls) -> None:
    found = await calls.http.get("http://service.test//modelderivative/v2/designdata/formats")
    assert found.status_code == 200


async def test_the_path_of_europe_does_not_heed_the_header(calls: Calls) -> None:
    # Not translated anywhere; the answer says where it looked.
    path = "/modelderivative/v2/regions/eu/designdata/dXJuOng/manifest"
    for header in ("region", "x-ads-region"):
        refused = await calls.http.get(path, headers={header: "US"})
        assert refused.status_code == 404
        assert "EMEA" in refused.json()["diagnostic"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/modelderivative/v2/nothing", 404),
        ("PUT", "/modelderivative/v2/designdata/job", 405),
        ("GET", "/oss/v2/nothing", 404),
        ("GET", "/webhooks/v1/nothing", 404),
    ],
)
async def test_an_error_never_has_the_frameworks_shape(
    calls: Calls, method: str, path: str, status: int
) -> None:
    refused = await calls.http.request(method, path)
    assert refused.status_code == status
    assert "diagnostic" in refused.json()
    check_error(refused)


async def test_a_bug_of_ours_has_the_apis_shape_too(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*anything: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(access.Access, "admit", broken)
    refused = await calls.http.get(f"{MD}/formats")
    assert (refused.status_code, list(refused.json())) == (500, ["diagnostic"])
    check_error(refused)


def check_error(refused: httpx.Response) -> None:
    for header in ("x-ads-app-identifier", "x-ads-startup-time", "x-ads-duration"):
        assert refused.headers[header]
    assert refused.headers["x-ads-exception-id"]
    assert refused.headers["x-ads-troubleshooting"]
    assert "access-control-allow-origin" not in refused.headers


async def test_the_formats_say_what_is_made_of_what(calls: Calls) -> None:
    found = await calls.http.get(f"{MD}/formats")
    formats = found.json()["formats"]
    assert {"obj", "stl", "step", "glb", "zip"} <= set(formats["stl"])
    assert "svf2" not in formats
    since = {"If-Modified-Since": found.headers["last-modified"]}
    unchanged = await calls.http.get(f"{MD}/formats", headers=since)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    for date in ("Thu, 01 Jan 1970 00:00:00 GMT", "yesterday"):
        again = await calls.http.get(f"{MD}/formats", headers={"If-Modified-Since": date})
        assert again.json() == found.json()


async def test_a_limit_ends_with_its_minute(calls: Calls) -> None:
    time = [0.0]
    tokens = Tokens(calls.bundle.settings, calls.bundle.storage.now)
    counting = access.Access(tokens, lambda: time[0])
    request = Request({"type": "http", "path": "/webhooks/v1/hooks"})
    for _ in range(access.LIMITS["new-hooks"]):
        counting.count(request, "new-hooks")
    for time[0], wait in ((0.0, "60"), (59.5, "1")):
        with pytest.raises(Refused) as refused:
            counting.count(request, "new-hooks")
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": wait})
    counting.count(request, "job")
    time[0] = 60.0
    counting.count(request, "new-hooks")
