"""Who may call, for what, and how often: tokens with their scopes, and the rate limits."""

import base64
import binascii
import math
import re
import time
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from shared.embedded.api.model_derivative.refusals import refused
from shared.embedded.api.replies import Reply
from shared.embedded.tokens import Tokens

LIFETIME = timedelta(minutes=60)

# Each set of scopes: one of them is enough.
READ = frozenset({"data:read"})
VIEW = frozenset({"data:read", "viewables:read"})
WRITE = frozenset({"data:write", "data:create"})
CHANGE = frozenset({"data:write"})
BUCKET_CREATE = frozenset({"bucket:create"})
BUCKET_READ = frozenset({"bucket:read"})

_SCOPE = re.compile(r"(data|bucket|viewables|code|account|user|user-profile|application):[a-z-]+|openid")
_LARGEST_FORM = 16 * 1024
_NO_STORE = {"Cache-Control": "no-store"}

_MINUTE = 60.0

#: Calls a minute, by what is limited.
LIMITS = {"job": 500, "token": 500, "oss": 1000, "hooks": 300, "new-hooks": 50}


class Access:
    """Admits calls. The limits are counted by this process alone."""

    def __init__(self, tokens: Tokens, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._clock = clock
        self._counts: dict[str, tuple[float, int]] = {}

    def admit(self, request: Request, *needed: frozenset[str], limit: str | None = None) -> None:
        """Checks the token, that it has a scope of each set ``needed``, and the rate, in this order.

        Raises:
            Refused: 401, 403 or 429.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        scopes = self._tokens.scopes(token.strip()) if scheme.lower() == "bearer" else None
        if scopes is None:
            raise refused(
                request,
                401,
                "The token is missing, not valid, or has expired. Get one from /authentication/v2/token.",
                {"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        for one in needed:
            if not scopes & one:
                raise refused(request, 403, f"The token does not have the scope {' or '.join(sorted(one))}.")
        if limit is not None:
            self.count(request, limit)

    def count(self, request: Request, limit: str) -> None:
        """Counts a call against a limit.

        Raises:
            Refused: 429, with the seconds to wait.
        """
        now = self._clock()
        begun, calls = self._counts.get(limit, (now, 0))
        if now - begun >= _MINUTE:
            begun, calls = now, 0
        if calls >= LIMITS[limit]:
            wait = max(1, math.ceil(begun + _MINUTE - now))
            raise refused(request, 429, "Quota limit exceeded.", {"Retry-After": str(wait)})
        self._counts[limit] = begun, calls + 1


def router(access: Access, tokens: Tokens) -> APIRouter:
    """The token service."""
    routes = APIRouter()

    @routes.post("/authentication/v2/token")
    async def token(request: Request) -> Response:
        """An access token with the scopes that are asked for, for the account's id and key."""
        access.count(request, "token")
        body = await request.body()
        form = parse_qs(body[:_LARGEST_FORM].decode("utf-8", "replace"), keep_blank_values=True)
        fields = {name: values[0] for name, values in form.items()}
        client, secret = _credentials(request, fields)
        if not tokens.opens(client, secret):
            raise refused(
                request, 401, "The client id or secret is wrong.", {"WWW-Authenticate": "Basic"} | _NO_STORE
            )
        if fields.get("grant_type") != "client_credentials":
            raise refused(request, 400, "'grant_type' must be client_credentials.")
        scopes = fields.get("scope", "").split()
        if unknown := [scope for scope in scopes if not _SCOPE.fullmatch(scope)]:
            raise refused(request, 400, f"There is no scope {unknown[0]!r}.")
        issued = tokens.issue(scopes, LIFETIME)
        reply = {
            "access_token": issued,
            "token_type": "Bearer",
            "expires_in": int(LIFETIME.total_seconds()),
        }
        return Reply(reply, headers=_NO_STORE)

    return routes


def _credentials(request: Request, fields: dict[str, str]) -> tuple[str, str]:
    """The client's id and secret, from the header or else from the form."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return client, secret
    return fields.get("client_id", ""), fields.get("client_secret", "")
