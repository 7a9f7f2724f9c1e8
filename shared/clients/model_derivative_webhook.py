"""The webhook that tells of a translation's end: signed, and a hint only.

The hook is one for the whole app, so the URN in what it delivers says which conversion it is about. The truth
is what the manifest says when asked.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass, field

from shared.clients.model_derivative_urn import Source

EVENT = "extraction.finished"
PATH = "/callbacks/model-derivative"
SIGNATURE = "x-adsk-signature"
LARGEST = 256 * 1024

_ALGORITHM = "sha1hash="


@dataclass(frozen=True)
class Webhook:
    """Where the service delivers, and with what it signs: the first of ``tokens``. The others are still good,
    for the ten minutes that a change takes and for hooks that were made with them."""

    url: str
    tokens: tuple[str, ...] = field(repr=False)

    @property
    def workflow(self) -> str:
        """What ties a job to this app's hook, in 36 characters."""
        return f"conversions-{hashlib.sha256(self.url.encode()).hexdigest()[:24]}"

    def verifies(self, body: bytes, signature: str | None) -> bool:
        """Whether the service signed the body, in a time that does not depend on how wrong it is."""
        given = (signature or "").encode("utf-8", "replace")
        matches = [
            hmac.compare_digest(
                f"{_ALGORITHM}{hmac.digest(token.encode(), body, 'sha1').hex()}".encode(), given
            )
            for token in self.tokens
        ]
        return any(matches)


def source_of(body: bytes) -> Source | None:
    """The upload that a delivery is about; None where it is none of this app's."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    urn = said.get("resourceUrn") if isinstance(said, dict) else None
    return Source.parse(urn) if isinstance(urn, str) else None
