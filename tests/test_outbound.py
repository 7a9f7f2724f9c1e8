"""Addresses that a request brings lead to public hosts, or nowhere."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from shared.outbound import Outbound, TooMuch
from shared.problems import Problem
from shared.settings import Settings

SECRET = "sig=a-secret"


def outbound(
    *addresses: str,
    handler: Callable[[httpx.Request], httpx.Response] | None = None,
    **settings: Any,
) -> Outbound:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    chosen = Settings(
        **{
            "model_storage": "UseDevelopmentStorage=true",
            "embedded_account_id": "30ea64bd-100f-4bf0-adc9-29fa45d4880c",
            "embedded_account_key": "a key that only the tests know",
            "website_hostname": "own.example",
            **settings,
        }
    )
    transport = httpx.MockTransport(handler) if handler else None
    return Outbound(chosen, resolve=resolve if addresses else None, transport=transport)


async def fetched(guard: Outbound, url: str, *, most: int = 1000) -> tuple[int, bytes, str]:
    """The status, the bytes and the last address of a file."""
    async with guard.fetch(url, most=most) as reply:
        return reply.status, b"".join([chunk async for chunk in reply.chunks]), reply.url


@asynccontextmanager
async def listening(reply: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on this machine that notes what it is sent; its address."""
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(65536))
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://127.0.0.1/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "example.com",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com\\@10.0.0.1/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://exämple.com/",
        "https://example.com/" + "x" * 2048,
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/metadata/instance",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::127.0.0.1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[ff02::1]/",
    ],
)
async def test_an_address_that_is_harmful_by_itself_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(Problem) as refused:
        outbound().check(url)
    assert url not in refused.value.message
    with pytest.raises(Problem):
        await outbound().post(url, {})
    with pytest.raises(Problem) as unfetched:
        await fetched(outbound(), url)
    assert url not in unfetched.value.message


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00::1"],
)
async def test_a_name_that_leads_to_an_inner_address_is_refused(address: str) -> None:
    with pytest.raises(Problem):
        await outbound(address).post("https://innocent.example/", {})
    with pytest.raises(Problem):
        await fetched(outbound(address), "https://innocent.example/")


async def test_one_inner_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(Problem):
        await outbound("93.184.215.14", "10.0.0.1").post("https://innocent.example/", {})


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1"])
async def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    with pytest.raises((Problem, OSError)):
        await outbound().post(f"https://{host}/", {})
    with pytest.raises((Problem, OSError)):
        await fetched(outbound(), f"https://{host}/")


async def test_a_public_host_is_called_at_the_address_that_was_checked() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    guard = outbound("93.184.215.14", handler=handler)
    guard.check("https://innocent.example/a?b=c")
    assert await guard.post("https://innocent.example/a?b=c", {"id": "1"}) == 204
    (request,) = seen
    assert str(request.url) == "https://93.184.215.14/a?b=c"
    assert request.headers["host"] == "innocent.example"
    assert request.extensions["sni_hostname"] == "innocent.example"
    assert request.content == b'{"id":"1"}'


async def test_bytes_are_sent_as_they_are_with_the_callers_headers_and_never_to_another_host() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    body = b'{ "signed": "exactly so" }'
    headers = {"x-signature": "s", "Host": "elsewhere.example"}
    guard = outbound("93.184.215.14", handler=handler)
    assert await guard.post("https://innocent.example/", body, headers=headers) == 204
    (request,) = seen
    assert request.content == body
    assert request.headers["x-signature"] == "s"
    assert request.headers.get_list("host") == ["innocent.example"]
    assert request.headers["content-type"] == "application/json"


async def test_a_host_is_resolved_once() -> None:
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    guard = outbound("93.184.215.14", handler=lambda request: httpx.Response(200))
    guard._resolve = resolve
    assert await guard.post("https://rebinding.example/", {}) == 200
    assert len(answers) == 1


async def test_a_redirect_is_not_followed() -> None:
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request.url)
        return httpx.Response(302, headers={"Location": "https://10.0.0.1/"})

    assert await outbound("93.184.215.14", handler=handler).post("https://innocent.example/", {}) == 302
    assert len(calls) == 1


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "93.184.215.14":
            raise httpx.ConnectError("unreachable")
        return httpx.Response(200)

    guard = outbound("93.184.215.14", "93.184.215.15", handler=handler)
    assert await guard.post("https://innocent.example/", {}) == 200


async def test_a_failure_tells_no_part_of_the_address() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError(f"reading {request.url}")

    with pytest.raises(OSError, match="ReadError") as failed:
        await outbound("93.184.215.14", handler=handler).post(f"https://innocent.example/?{SECRET}", {})
    assert SECRET not in str(failed.value)
    assert failed.value.__suppress_context__


async def test_a_host_that_the_settings_name_may_have_an_inner_address() -> None:
    guard = outbound("10.0.0.1", handler=lambda _: httpx.Response(200), callback_hosts="inner.example")
    guard.check("https://inner.example/")
    assert await guard.post("https://inner.example/", {}) == 200
    with pytest.raises(Problem):
        guard.check("http://inner.example/")


async def test_the_bundles_own_address_needs_no_look() -> None:
    guard = outbound("10.0.0.1", handler=lambda _: httpx.Response(200))
    assert await guard.post("https://own.example/callbacks/1", {}) == 200
    with pytest.raises(Problem):
        await guard.post("https://own.example:8443/callbacks/1", {})


async def test_http_to_this_machine_is_for_local_development_only() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as (url, received):
        assert await outbound(local=True).post(f"{url}/called", {"id": "1"}) == 200
        assert b"POST /called" in received[0]
        with pytest.raises(Problem):
            await outbound().post(url, {})
    with pytest.raises(Problem):
        outbound(local=True).check("http://example.com/")


async def test_a_reply_without_end_is_not_read() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n") as (url, _):
        assert await outbound(local=True).post(url, {}) == 200


async def test_a_host_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.outbound._SECONDS", 0.1)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(OSError, match=r"in time|Timeout"):
            await outbound(local=True).post(url, {})


async def test_a_name_that_does_not_exist_is_told_as_such() -> None:
    with pytest.raises(OSError):
        await outbound().post("https://nowhere.invalid/", {})


# --- Files -------------------------------------------------------------------------------------


async def test_a_file_is_fetched_from_the_address_that_was_checked() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"a file")

    guard = outbound("93.184.215.14", handler=handler)
    status, content, url = await fetched(guard, "https://innocent.example/a?b=c")
    assert (status, content, url) == (200, b"a file", "https://innocent.example/a?b=c")
    (request,) = seen
    assert str(request.url) == "https://93.184.215.14/a?b=c"
    assert request.headers["host"] == "innocent.example"
    assert request.extensions["sni_hostname"] == "innocent.example"


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1/",
        "https://10.0.0.1/x",
        "https://169.254.169.254/metadata/instance",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "http://innocent.example/",
        "//10.0.0.1/x",
        "file:///etc/passwd",
        "https://inner.example/",
    ],
)
async def test_every_redirect_of_a_file_is_checked(location: str) -> None:
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request.url)
        return httpx.Response(302, headers={"Location": location})

    guard = outbound("93.184.215.14", handler=handler)

    async def resolve(host: str, port: int) -> list[str]:
        known = {"innocent.example": "93.184.215.14", "inner.example": "10.0.0.1"}
        return [known.get(host, host)]

    guard._resolve = resolve
    with pytest.raises(Problem):
        await fetched(guard, "https://innocent.example/")
    assert len(calls) == 1


async def test_redirects_are_followed_so_far() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        count = int(request.url.path[1:])
        if count == 0:
            return httpx.Response(200, content=b"there")
        return httpx.Response(307, headers={"Location": f"/{count - 1}"})

    guard = outbound("93.184.215.14", handler=handler)
    assert await fetched(guard, "https://innocent.example/5") == (
        200,
        b"there",
        "https://innocent.example/0",
    )
    with pytest.raises(OSError, match="again and again"):
        await fetched(guard, "https://innocent.example/6")


async def test_a_name_that_changes_its_address_is_checked_at_each_redirect() -> None:
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    redirect = httpx.Response(302, headers={"Location": "https://rebinding.example/2"})
    guard = outbound("93.184.215.14", handler=lambda _: redirect)
    guard._resolve = resolve
    with pytest.raises(Problem):
        await fetched(guard, "https://rebinding.example/1")


@pytest.mark.parametrize("is_stated", [True, False])
async def test_a_file_has_no_more_bytes_than_are_allowed(is_stated: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 10

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"x" * 1001 if is_stated else pieces())

    with pytest.raises(TooMuch):
        await fetched(outbound("93.184.215.14", handler=handler), "https://a.example/", most=999)


async def test_a_file_that_breaks_off_tells_no_part_of_the_address() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as (url, _):
        with pytest.raises(OSError, match="broke off") as failed:
            await fetched(outbound(local=True), f"{url}/?{SECRET}")
    assert SECRET not in str(failed.value)


async def test_storage_that_the_service_uses_may_be_behind_a_private_endpoint() -> None:
    guard = outbound("10.0.0.1", handler=lambda _: httpx.Response(200, content=b"blob"))
    blob = "https://models.blob.core.windows.net/c/a.stl"
    assert (await fetched(guard, f"{blob}?sv=1&sig=x"))[1] == b"blob"
    for other in (
        blob,  # without a right of its own
        "https://models.blob.core.windows.net.evil.example/c/a.stl?sig=x",
        "https://evil.example/?x=https://models.blob.core.windows.net/c/a.stl?sig=x",
        "https://models.blob.core.windows.net:8443/c/a.stl?sig=x",
    ):
        with pytest.raises(Problem):
            await fetched(guard, other)
    with pytest.raises(Problem):
        await guard.post(f"{blob}?sv=1&sig=x", {})


async def test_a_file_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.outbound._FETCH_SECONDS", 0.1)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(OSError, match="in time"):
            await fetched(outbound(local=True), url)
