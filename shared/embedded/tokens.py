"""Access tokens of the embedded service, and the check of its account key.

A token is a JWT (HS256). Its key is derived from the account key, so that nothing has to be stored and
a new account key ends every old token.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from shared.settings import Settings

# Remote Rendering's tokens live for a day.
LIFETIME = timedelta(hours=24)


class Tokens:
    """Issues and checks the access tokens of the one account there is."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._account_id = settings.embedded_account_id.lower()
        self._account_key = settings.embedded_account_key.encode()
        self._signing_key = hmac.digest(self._account_key, b"embedded service: access tokens", "sha256")
        self._now = now

    def is_account(self, account_id: str) -> bool:
        """Whether ``account_id`` is the account of this service; UUIDs compare case-insensitively."""
        return account_id.lower() == self._account_id

    def opens(self, account_id: str, account_key: str) -> bool:
        """Whether the pair is the account's, in a time that does not depend on the key."""
        same_key = hmac.compare_digest(_digest(account_key.encode()), _digest(self._account_key))
        return self.is_account(account_id) and same_key

    def issue(self, scopes: Iterable[str] | None = None, lifetime: timedelta = LIFETIME) -> str:
        """A new token. One with ``scopes`` is good for what they name, and for no other API.

        Microsoft's Python SDK decodes the payload with the standard base64 alphabet, which differs from
        base64url in two digits. ASCII without ``>``, ``?`` and ``~`` needs neither of them.
        """
        now = self._now()
        header = _encode({"alg": "HS256", "typ": "JWT"})
        payload = _encode(
            {
                "sub": self._account_id,
                "iat": int(now.timestamp()),
                "exp": int((now + lifetime).timestamp()),
            }
            | ({} if scopes is None else {"scope": " ".join(scopes)})
        )
        return f"{header}.{payload}.{self._signature(f'{header}.{payload}')}"

    def accepts(self, token: str) -> bool:
        """Whether ``token`` was issued here, for this account, without scopes, and has not expired."""
        payload = self._payload(token)
        return payload is not None and "scope" not in payload

    def scopes(self, token: str) -> frozenset[str] | None:
        """What a token is good for; None for one that is not, or no longer, one of ours with scopes."""
        payload = self._payload(token)
        return None if payload is None or "scope" not in payload else frozenset(payload["scope"].split())

    def _payload(self, token: str) -> dict[str, Any] | None:
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(signed).encode(), signature.encode("utf-8", "replace")):
            return None
        payload: dict[str, Any] = json.loads(_decode(signed.partition(".")[2]))
        good = payload["sub"] == self._account_id and self._now().timestamp() < payload["exp"]
        return payload if good else None

    def _signature(self, signed: str) -> str:
        return _base64url(hmac.digest(self._signing_key, signed.encode(), "sha256"))


def _encode(part: dict[str, object]) -> str:
    return _base64url(json.dumps(part, separators=(",", ":")).encode("ascii"))


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _digest(data: bytes) -> bytes:
    # Digests have one length, so that comparing them does not tell the key's.
    return hashlib.sha256(data).digest()
