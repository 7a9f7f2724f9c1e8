"""A set of texts that only says what is in it, at eight bytes a text."""

import hashlib
import secrets
from array import array
from bisect import bisect_left


class Digests:
    """Texts, as 64 bits of a hash with a key of its own.

    One that was never added is taken for one of ten million with a chance of 10^-12; another set,
    with another key, then tells them apart.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._found = array("Q")
        self._is_sorted = True

    def add(self, *parts: str) -> None:
        """Adds one text, made of parts."""
        self._found.append(self._digest(parts))
        self._is_sorted = False

    def __contains__(self, parts: tuple[str, ...]) -> bool:
        if not self._is_sorted:
            self._found = array("Q", sorted(self._found))
            self._is_sorted = True
        digest = self._digest(parts)
        place = bisect_left(self._found, digest)
        return place < len(self._found) and self._found[place] == digest

    def _digest(self, parts: tuple[str, ...]) -> int:
        data = "\0".join(parts).encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=self._key).digest())
