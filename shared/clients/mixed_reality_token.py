"""The access token of Azure Mixed Reality services: how Remote Rendering knows who calls.

`GET https://sts.{account domain}/Accounts/{account id}/token`, with the account's key or an
identity's token, answers a JWT for a day. It is kept until shortly before it expires.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError

from shared.clients.transport import Transport, server_time
from shared.problems import Code, ServiceFault

# The double slash is the vendor's: the resource's own name ends in one.
_SCOPE = "https://sts.mixedreality.azure.com//.default"

# A token is renewed this long before it ends, or after nine tenths of a short life. One that does not say
# when it ends is taken for a short one.
_MARGIN_SECONDS = 300.0
_UNSAID_SECONDS = 1800.0


class TokenSource:
    """A token for every call to the service, fetched once for all of them."""

    def __init__(
        self,
        transport: Transport,
        url: str,
        account_id: str,
        *,
        key: str | None = None,
        credential: AsyncTokenCredential | None = None,
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` is the token service's, without a path. One of `key`, `credential` and `token` is
        given; a `token` is used as it is. `clock` counts seconds from anywhere."""
        if sum(given is not None for given in (key, credential, token)) != 1:
            raise ValueError("give an account key, a credential or a token, and only one of them")
        self._transport = transport
        self._url = f"{url}/Accounts/{quote(account_id, safe='')}/token"
        self._account_id = account_id
        self._key = key
        self._credential = credential
        self._clock = clock
        self._token = token
        self._is_static = token is not None
        self._good_until = float("inf") if token is not None else 0.0
        self._lock = asyncio.Lock()

    @property
    def is_static(self) -> bool:
        """Whether asking again can bring no other token."""
        return self._is_static

    async def get(self, *, instead_of: str | None = None) -> str:
        """A token that should be good for some minutes; another one than `instead_of`, which the
        service has just refused.

        Raises:
            ServiceFault: with the meaning it has at the service itself.
        """
        async with self._lock:
            good = self._token is not None and self._clock() < self._good_until
            if not good or (self._token == instead_of and not self._is_static):
                self._token, life = await self._fetch()
                self._good_until = self._clock() + max(life - _MARGIN_SECONDS, life * 0.9)
            assert self._token is not None
            return self._token

    async def _fetch(self) -> tuple[str, float]:
        """A new token, and how many seconds it lives."""
        secret = await self._secret()
        reply = await self._transport.call(
            "GET",
            self._url,
            headers={"Authorization": f"Bearer {secret}", "Accept": "application/json"},
            not_found=(
                Code.SERVICE_NOT_FOUND,
                "There is no token service at the address made from the account domain. "
                "Check REMOTE_RENDERING_ACCOUNT_DOMAIN and the account id.",
            ),
            secrets=[secret, *([self._key] if self._key else [])],
        )
        token = reply.body.get("AccessToken")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
            raise ServiceFault(
                Code.SERVICE_BAD_REPLY,
                "The token service answered without an AccessToken.",
                transient=True,
                trace_id=reply.trace_id,
            )
        expires = _claims(token).get("exp")
        if not isinstance(expires, int | float):
            return token, _UNSAID_SECONDS
        # By the server's own clock: ours may be wrong.
        return token, max(0.0, expires - server_time(reply.headers).timestamp())

    async def _secret(self) -> str:
        if self._credential is None:
            return f"{self._account_id}:{self._key}"
        try:
            return (await self._credential.get_token(_SCOPE)).token
        except ClientAuthenticationError as error:
            raise ServiceFault(
                Code.SERVICE_UNAUTHORIZED,
                f"The identity got no token for Remote Rendering ({type(error).__name__}). "
                "Check that it exists and has the role Remote Rendering Administrator.",
                transient=False,
            ) from None
        except AzureError as error:
            raise ServiceFault(
                Code.SERVICE_UNAVAILABLE,
                f"The identity could not be asked for a token ({type(error).__name__}).",
                transient=True,
            ) from None


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says of itself, unverified: it is only the service that has to believe it."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
