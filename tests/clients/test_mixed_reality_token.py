"""Tokens are fetched when they have to be, and only then."""

import time
from email.utils import formatdate
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from shared.clients import Status
from shared.clients.remote_rendering import RemoteRendering
from shared.problems import Code
from tests.clients.orders import ACCOUNT, CONVERSION, CV, KEY, ORDER, SAS_CREATE, fault_of, jwt
from tests.clients.service import Service, answer


async def test_one_token_is_fetched_with_the_account_key_for_many_calls(
    service: Service, client: RemoteRendering
) -> None:
    token = jwt(n="one")
    service.says["token"] = [answer(200, {"AccessToken": token})]
    for _ in range(3):
        await client.start(ORDER)
    (asked,) = service.asked_for("token")
    assert asked.path == f"/Accounts/{ACCOUNT}/token"
    assert asked.headers["authorization"] == f"Bearer {ACCOUNT}:{KEY}"
    assert [asked.headers["authorization"] for asked in service.asked_for(SAS_CREATE)] == [
        f"Bearer {token}"
    ] * 3


async def test_a_token_is_fetched_anew_shortly_before_it_expires(service: Service) -> None:
    now = 0.0
    service.says["token"] = [answer(200, {"AccessToken": jwt(3600)})]
    client = RemoteRendering(service.url, ACCOUNT, account_key=KEY, clock=lambda: now)
    await client.start(ORDER)
    now = 3600 - 310
    await client.start(ORDER)
    assert len(service.asked_for("token")) == 1
    now = 3600 - 290
    await client.start(ORDER)
    assert len(service.asked_for("token")) == 2
    await client.close()


async def test_the_life_of_a_token_is_counted_by_the_servers_clock(service: Service) -> None:
    now = 0.0
    # The server's clock is two hours behind ours; its token lives for an hour.
    server = time.time() - 7200
    token = jwt(-3600)
    service.says["token"] = [answer(200, {"AccessToken": token}, Date=formatdate(server, usegmt=True))]
    client = RemoteRendering(service.url, ACCOUNT, account_key=KEY, clock=lambda: now)
    await client.start(ORDER)
    now = 3000
    await client.start(ORDER)
    assert len(service.asked_for("token")) == 1
    await client.close()


async def test_a_refused_token_is_replaced_once(service: Service, client: RemoteRendering) -> None:
    old, new = jwt(n="old"), jwt(n="new")
    service.says["token"] = [answer(200, {"AccessToken": old}), answer(200, {"AccessToken": new})]
    service.says[CONVERSION] = [answer(401), answer(200, {"status": "Running"})]
    assert (await client.poll(CONVERSION)).status is Status.INPROGRESS
    asked = service.asked_for(CONVERSION)
    assert [one.headers["authorization"] for one in asked] == [f"Bearer {old}", f"Bearer {new}"]

    service.says[CONVERSION] = [answer(401, MS_CV=CV)]
    fault = await fault_of(client.poll(CONVERSION))
    assert (fault.code, fault.transient, fault.trace_id) == (Code.SERVICE_UNAUTHORIZED, False, CV)
    assert len(service.asked_for(CONVERSION)) == 4


async def test_a_static_token_is_used_as_it_is(service: Service) -> None:
    client = RemoteRendering(service.url, ACCOUNT, token="opaque")
    service.says[CONVERSION] = [answer(401)]
    assert (await fault_of(client.poll(CONVERSION))).code is Code.SERVICE_UNAUTHORIZED
    await client.close()
    (asked,) = service.asked
    assert asked.headers["authorization"] == "Bearer opaque"


class Identity:
    """A credential as azure-identity makes them."""

    def __init__(self, outcome: str | Exception) -> None:
        self.outcome = outcome
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return AccessToken(self.outcome, int(time.time()) + 3600)

    async def close(self) -> None: ...

    async def __aenter__(self) -> "Identity":
        return self

    async def __aexit__(self, *_: object) -> None: ...


async def test_an_identitys_token_is_exchanged_for_the_services(service: Service) -> None:
    identity = Identity("entra-token")
    client = RemoteRendering(service.url, ACCOUNT, credential=identity)
    await client.start(ORDER)
    await client.close()
    assert identity.scopes == ["https://sts.mixedreality.azure.com//.default"]
    assert service.asked_for("token")[0].headers["authorization"] == "Bearer entra-token"


@pytest.mark.parametrize(
    ("error", "code", "transient"),
    [
        (ClientAuthenticationError("no such identity"), Code.SERVICE_UNAUTHORIZED, False),
        (ServiceRequestError("no route"), Code.SERVICE_UNAVAILABLE, True),
    ],
)
async def test_an_identity_without_a_token_is_a_fault(
    service: Service, error: Exception, code: Code, transient: bool
) -> None:
    client = RemoteRendering(service.url, ACCOUNT, credential=Identity(error))
    fault = await fault_of(client.start(ORDER))
    assert (fault.code, fault.transient) == (code, transient)
    await client.close()


@pytest.mark.parametrize(
    ("said", "code", "transient"),
    [
        (answer(401), Code.SERVICE_UNAUTHORIZED, False),
        (answer(404), Code.SERVICE_NOT_FOUND, False),
        (answer(503), Code.SERVICE_UNAVAILABLE, True),
        (answer(200, {"accessToken": "x"}), Code.SERVICE_BAD_REPLY, True),
        (answer(200, {"AccessToken": "a b"}), Code.SERVICE_BAD_REPLY, True),
        (answer(200, b"<html>"), Code.SERVICE_BAD_REPLY, True),
    ],
)
async def test_a_token_service_that_gives_no_token_is_a_fault(
    service: Service, client: RemoteRendering, said: bytes, code: Code, transient: bool
) -> None:
    service.says["token"] = [said]
    fault = await fault_of(client.start(ORDER))
    assert (fault.code, fault.transient) == (code, transient)


def test_exactly_one_kind_of_credential_is_given() -> None:
    for key, token in ((None, None), (KEY, "opaque")):
        with pytest.raises(ValueError, match="only one of them"):
            RemoteRendering("westeurope", ACCOUNT, account_key=key, token=token)
