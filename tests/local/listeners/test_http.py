"""HTTP triggers through the genuine runtime."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.local.conftest import Tiny


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(tiny: Tiny) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=tiny.host.endpoints.functions, timeout=30) as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_arrives_with_query_headers_and_body(
    client: httpx.AsyncClient, method: str
) -> None:
    answer = await client.request(method, "/a/b?x=1&y=%2F", headers={"X-Probe": "p"}, content=b"body")
    assert answer.status_code == 207
    given = answer.json()
    assert (given["method"], given["path"]) == (method, "a/b")
    assert given["query"] == {"x": "1", "y": "/"}
    assert (given["header"], given["body"]) == ("p", "body")


async def test_head_answers_headers_only(client: httpx.AsyncClient) -> None:
    answer = await client.head("/a")
    assert answer.status_code == 207
    assert answer.content == b""
    assert answer.headers["content-length"] == "263"


async def test_an_encoded_path_reaches_the_app_as_it_was_sent(client: httpx.AsyncClient) -> None:
    given = (await client.get("/v1/a%2Fb%20c%3A%25")).json()
    assert given["url"].endswith("/v1/a%2Fb%20c%3A%25")
    assert given["path"] == "v1/a/b c:%"


async def test_every_cookie_is_written_back_in_order(client: httpx.AsyncClient) -> None:
    answer = await client.get("/a")
    assert answer.headers.get_list("set-cookie") == [
        "first=1; HttpOnly; Path=/",
        "second=1; HttpOnly; Path=/",
    ]
    assert answer.headers["ms-cv"] == "abc.0"
    assert answer.headers["content-type"] == "application/json"


async def test_a_function_that_raises_answers_500_without_a_word(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fail")
    assert (answer.status_code, answer.content) == (500, b"")


async def test_a_killed_worker_answers_502_and_the_next_request_finds_a_new_one(
    client: httpx.AsyncClient,
) -> None:
    before = (await client.get("/a")).json()["pid"]
    assert (await client.get("/die")).status_code == 502
    assert (await client.get("/a")).json()["pid"] != before
