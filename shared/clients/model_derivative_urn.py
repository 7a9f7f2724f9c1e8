"""The names of what a conversion uploads: whose it is can be told from its URN, and from nothing else.

An object's key starts with the conversion's random id, so that the URN, and with it the manifest, is that
conversion's alone. It also holds the record's name, for webhooks, the region, without which the manifest
is not found, and how many companions there are, so that they can be deleted.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Self

_PREFIX = "urn:adsk.objects:os.object:"
_KEY = re.compile(
    r"(?P<id>[0-9a-f]{32})-(?P<record>[0-9a-f]{32})-(?P<region>[a-z]{2,4})-(?P<companions>\d{1,5})/(?P<name>.+)"
)
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Source:
    """A model as an object: ``record`` is the name of the conversion's record, ``name`` its own, ASCII."""

    bucket: str
    id: str
    record: str
    region: str
    companions: int
    name: str

    @classmethod
    def of(
        cls, bucket: str, conversion_id: str, record: str, region: str, companions: int, model: str
    ) -> Self:
        """The object for the file ``model``. Only its extension matters to the service; what a URL would
        have to escape is left out, so that there is one spelling of its URN."""
        tidy = re.sub(r"[^A-Za-z0-9._-]+", "_", model)[-_LONGEST_NAME:]
        return cls(bucket, conversion_id, record, region, companions, tidy)

    @classmethod
    def parse(cls, urn: str) -> Self | None:
        """What an encoded URN says; None where it is not one of ours."""
        try:
            text = base64.urlsafe_b64decode(urn + "=" * (-len(urn) % 4)).decode()
        except (binascii.Error, ValueError):
            return None
        bucket, _, key = text.removeprefix(_PREFIX).partition("/")
        found = _KEY.fullmatch(key)
        if not text.startswith(_PREFIX) or not bucket or found is None:
            return None
        region = found["region"].upper()
        return cls(bucket, found["id"], found["record"], region, int(found["companions"]), found["name"])

    @property
    def _folder(self) -> str:
        return f"{self.id}-{self.record}-{self.region.lower()}-{self.companions}"

    @property
    def key(self) -> str:
        """The model's object key."""
        return f"{self._folder}/{self.name}"

    @property
    def companion_keys(self) -> tuple[str, ...]:
        """The companions' object keys, in their order."""
        return tuple(f"{self._folder}/companion-{number}" for number in range(1, self.companions + 1))

    def object_id(self, key: str) -> str:
        """The URN of one of the conversion's objects, as it is."""
        return f"{_PREFIX}{self.bucket}/{key}"

    @property
    def urn(self) -> str:
        """The model's URN as paths have it: URL-safe base64, unpadded."""
        return base64.urlsafe_b64encode(self.object_id(self.key).encode()).rstrip(b"=").decode()
