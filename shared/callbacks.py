"""Callbacks from conversion services: hints, signed so that nobody else can give them.

The address carries a MAC of the conversion's random id. What a caller sends in the body is never read:
the truth is what the service says when asked.
"""

import hashlib
import hmac
from urllib.parse import quote

from shared import paths
from shared.conversion import Conversion


class Callbacks:
    """Makes and checks callback addresses under the app's own URL."""

    def __init__(self, base_url: str | None, key: str) -> None:
        """Without a ``base_url`` no callbacks are asked for, and polling alone finds the end."""
        self._base_url = base_url
        # Not the key itself: a MAC under it must open nothing else.
        self._key = hmac.digest(key.encode(), b"callbacks", hashlib.sha256)

    def url(self, conversion: Conversion) -> str | None:
        """Where the service may say that this conversion has moved."""
        if self._base_url is None:
            return None
        record = paths.record(conversion.path).removesuffix(".json")
        return (
            f"{self._base_url}/callbacks/{record}/{conversion.id}/{quote(self._mac(record, conversion.id))}"
        )

    def record_of(self, record: str, conversion_id: str, mac: str) -> str | None:
        """The name of the record that a callback is about; None for a forged one."""
        if not hmac.compare_digest(self._mac(record, conversion_id).encode(), mac.encode()):
            return None
        return f"{record}.json"

    def _mac(self, record: str, conversion_id: str) -> str:
        return hmac.digest(self._key, f"{record}/{conversion_id}".encode(), hashlib.sha256).hex()
