"""Every way a service can fail to answer is a fault that says what to do, and tells no secret."""

import gzip
import logging
import socket
import traceback
from typing import Any

import httpx
import pytest

from shared.clients import transport
from shared.clients.remote_rendering import RemoteRendering
from shared.problems import Code, ServiceFault
from tests.clients.orders import (
    ACCOUNT,
    CONVERSION,
    CV,
    KEY,
    ORDER,
    READ_SAS,
    SAS_CREATE,
    SIGNATURE,
    WRITE_SAS,
    fault_of,
    jwt,
)
from tests.clients.service import Answer, Service, answer

# --- Faults ------------------------------------------------------------------------------------

TRUNCATED = answer(200, {"conversionId": CONVERSION})[:-10]


@pytest.mark.parametrize(
    ("said", "code", "transient", "words"),
    [
        (
            answer(400, {"error": "Unable to start conversion: no access."}, MS_CV=CV),
            Code.SERVICE_REFUSED,
            False,
            "Unable to start conversion: no access.",
        ),
        (
            answer(400, {"error": {"code": "BadRequest", "message": "No."}}, MS_CV=CV),
            Code.SERVICE_REFUSED,
            False,
            "BadRequest: No.",
        ),
        (answer(409, MS_CV=CV), Code.SERVICE_REFUSED, False, "409"),
        (answer(403, {"error": "Not yours"}, MS_CV=CV), Code.SERVICE_UNAUTHORIZED, False, "Not yours"),
        (
            answer(404, b"<html>nothing here</html>", MS_CV=CV),
            Code.SERVICE_NOT_FOUND,
            False,
            "REMOTE_RENDERING_ENDPOINT",
        ),
        (answer(408, MS_CV=CV), Code.SERVICE_UNAVAILABLE, True, "408"),
        (answer(429, MS_CV=CV), Code.SERVICE_THROTTLED, True, "429"),
        (answer(500, {"error": "Out of order"}, MS_CV=CV), Code.SERVICE_UNAVAILABLE, True, "Out of order"),
        (answer(502, b"<html>Bad gateway</html>", MS_CV=CV), Code.SERVICE_UNAVAILABLE, True, "502"),
        (answer(302, Location="https://x/?sig=abc", MS_CV=CV), Code.SERVICE_BAD_REPLY, False, "redirect"),
        (answer(200, b"<html>Sign in</html>", MS_CV=CV), Code.SERVICE_BAD_REPLY, True, "not JSON"),
        (answer(200, b"[]", MS_CV=CV), Code.SERVICE_BAD_REPLY, True, "no object"),
        (answer(200, b"[" * 100_000, MS_CV=CV), Code.SERVICE_BAD_REPLY, True, "not JSON"),
        (answer(200, {}, MS_CV=CV), Code.SERVICE_BAD_REPLY, True, "conversionId"),
        (answer(200, {"conversionId": "../x"}, MS_CV=CV), Code.SERVICE_BAD_REPLY, True, "conversionId"),
        (TRUNCATED, Code.SERVICE_BAD_REPLY, True, "broke off"),
        (
            answer(200, gzip.compress(b"{}" * 99)[:-9], Content_Encoding="gzip", MS_CV=CV),
            Code.SERVICE_BAD_REPLY,
            True,
            "not JSON",
        ),
        (answer(200, b"nonsense", Content_Encoding="gzip"), Code.SERVICE_BAD_REPLY, True, "broke off"),
        (answer(200, b"[" + b"1," * 3_000_000 + b"1]"), Code.SERVICE_BAD_REPLY, True, "more than"),
        (b"", Code.SERVICE_BAD_REPLY, True, "broke off"),
        (b"\x15\x03\x01\x00\x02\x02", Code.SERVICE_BAD_REPLY, True, "broke off"),
    ],
)
async def test_each_way_to_fail_a_start_is_a_fault_of_its_own(
    service: Service, client: RemoteRendering, said: Answer, code: Code, transient: bool, words: str
) -> None:
    service.says[SAS_CREATE] = [said]
    fault = await fault_of(client.start(ORDER))
    assert (fault.code, fault.transient) == (code, transient)
    assert words in fault.message
    assert fault.trace_id == (CV if said and b"MS-CV" in said else None)


async def test_a_conversion_that_the_service_lost_is_not_a_wrong_address(
    service: Service, client: RemoteRendering
) -> None:
    service.says[CONVERSION] = [answer(404)]
    fault = await fault_of(client.poll(CONVERSION))
    assert (fault.code, fault.transient) == (Code.SERVICE_LOST_CONVERSION, False)


@pytest.mark.parametrize("body", [{}, {"status": 3}, {"status": ""}, {"status": "x" * 500}])
async def test_a_poll_without_a_status_is_a_bad_reply(
    service: Service, client: RemoteRendering, body: Any
) -> None:
    service.says[CONVERSION] = [answer(200, body)]
    fault = await fault_of(client.poll(CONVERSION))
    assert (fault.code, fault.transient) == (Code.SERVICE_BAD_REPLY, True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("999999", 3600),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
async def test_retry_after_is_seconds_or_a_date_by_the_services_clock(
    service: Service, client: RemoteRendering, header: str, seconds: float | None
) -> None:
    service.says[CONVERSION] = [answer(429, Retry_After=header, Date="Sun, 22 Nov 2026 12:00:00 GMT")]
    fault = await fault_of(client.poll(CONVERSION))
    assert fault.transient
    assert fault.retry_after == seconds


@pytest.mark.parametrize(
    ("whole", "silence"), [(0.2, None), (None, 0.2)], ids=["the call takes too long", "nothing comes"]
)
async def test_a_service_that_never_answers_is_given_up(
    service: Service,
    client: RemoteRendering,
    monkeypatch: pytest.MonkeyPatch,
    whole: float | None,
    silence: float | None,
) -> None:
    monkeypatch.setattr(transport, "_CALL_SECONDS", whole)
    monkeypatch.setattr(transport, "_TIMEOUT", httpx.Timeout(silence))
    service.says[SAS_CREATE] = [None]
    fault = await fault_of(client.start(ORDER))
    assert (fault.code, fault.transient) == (Code.SERVICE_UNAVAILABLE, True)
    assert "in time" in fault.message


async def test_a_service_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = RemoteRendering(url, ACCOUNT, account_key=KEY)
    fault = await fault_of(client.start(ORDER))
    assert (fault.code, fault.transient) == (Code.SERVICE_UNAVAILABLE, True)
    await client.close()


async def test_no_secret_is_in_a_fault_a_repr_or_a_log(
    service: Service, client: RemoteRendering, caplog: pytest.LogCaptureFixture
) -> None:
    token = jwt()
    service.says["token"] = [answer(200, {"AccessToken": token})]
    told: list[str] = [repr(ORDER)]

    def echo(asked: Any) -> bytes:
        # A server that repeats all it was told, and more, in its error.
        said = f"{asked.raw.decode()} {asked.headers} https://x.blob.core.windows.net/c?{READ_SAS}"
        return answer(400, {"error": said})

    caplog.set_level(logging.DEBUG)
    for said in (echo, TRUNCATED, answer(403, {"error": f"Bearer {token}"})):
        service.says[SAS_CREATE] = [said]
        with pytest.raises(ServiceFault) as caught:
            await client.start(ORDER)
        told += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
    service.says[CONVERSION] = [answer(200, {"status": "Failure", "error": f"https://x/y?{WRITE_SAS}"})]
    told += [repr(await client.poll(CONVERSION)), caplog.text]

    decoded = SIGNATURE.replace("%2B", "+").replace("%3D", "=")
    for secret in (SIGNATURE, decoded, token, token.split(".")[1], KEY):
        assert secret not in "\n".join(told)
    assert "https://x.blob.core.windows.net/c?…" in "\n".join(told)
