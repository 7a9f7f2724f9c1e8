"""Statements that the service hands out and takes back: readable by anybody, made by itself alone.

A seal saves a record: an upload key or a download policy says itself what it is good for, and until when.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from typing import Any


class Seals:
    """Seals statements for one purpose; those of another purpose do not open."""

    def __init__(self, account_key: str, purpose: str) -> None:
        self._key = hmac.digest(account_key.encode(), f"embedded service: {purpose}".encode(), "sha256")

    def seal(self, statement: Mapping[str, Any]) -> str:
        """The statement and its signature, as one word that needs no escaping in a URL."""
        text = encode(statement)
        return f"{text}.{self.sign(text)}"

    def open(self, sealed: str) -> dict[str, Any] | None:
        """The statement, or None if it was not sealed here."""
        text, _, signature = sealed.rpartition(".")
        return decode(text) if self.signed(text, signature) else None

    def sign(self, text: str) -> str:
        """The signature of a text, without the text."""
        digest = hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def signed(self, text: str, signature: str) -> bool:
        """Whether the signature is that of the text, told in constant time."""
        return hmac.compare_digest(self.sign(text).encode(), signature.encode("utf-8", "surrogatepass"))


def encode(statement: Mapping[str, Any]) -> str:
    """A statement as base64url."""
    return base64.urlsafe_b64encode(json.dumps(statement).encode()).rstrip(b"=").decode()


def decode(text: str) -> dict[str, Any] | None:
    """The statement that :func:`encode` encoded; None for any other text."""
    try:
        value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        return None
    return value if isinstance(value, dict) else None
