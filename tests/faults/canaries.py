"""Every secret that travels, and whether any of them is in what is told or kept (promise 7)."""

import json
import re
from collections.abc import Iterator
from urllib.parse import unquote

from tests.faults.leaks import dumped, found_in
from tests.faults.proxy import Call, Fault
from tests.pipeline import Pipeline

# What no secret holds.
_BETWEEN = re.compile(rb"[\s\"'<>(){}\[\],\\]+")
_SHORTEST = 16


class Canaries:
    """Sees all that passes the proxies: ``watch`` is for them."""

    def __init__(self, keys: set[str], private: str) -> None:
        """``keys`` are secret; ``private`` is the requests' container, where a SAS rests till the end."""
        self.secrets = set(keys)
        self._private = private
        self._words: set[bytes] = set()
        self._resting: set[bytes] = set()

    @property
    def searched(self) -> int:
        """How many different words are searched."""
        return len(self._words)

    def watch(self, call: Call, fault: Fault | None, status: int) -> None:
        """Keeps the secrets of a call, and what it writes."""
        if sas := call.query.get("sig"):
            self.secrets.add(sas)
        if call.front == "service":
            self._keep(call)
        elif call.is_write:
            metadata = [value for name, value in call.headers.items() if name.startswith("x-ms-meta-")]
            text = b"\n".join([call.path.encode(), unquote(" ".join(metadata)).encode(), call.body])
            (self._resting if call.target == self._private else self._words).update(_words(text))

    def _keep(self, call: Call) -> None:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            self.secrets.add(token)
        if "/callbacks/" in call.path:
            self.secrets.add(call.path.rpartition("/")[2])
        if "createWith" in call.path:
            body = json.loads(call.body)
            for sas in (body["input"]["containerReadListSas"], body["output"]["containerWriteSas"]):
                self.secrets |= {sas, unquote(sas.rpartition("sig=")[2].partition("&")[0])}
            self.secrets.add(body["callback"].rpartition("/")[2])

    def look_at(self, text: bytes) -> None:
        """Adds to what is searched."""
        self._words.update(_words(text))

    async def found(self, pipeline: Pipeline) -> list[str]:
        """The secrets in all that was looked at, in all that was written, and in what is there."""
        async for each in dumped(pipeline):
            self.look_at(each)
        return found_in(self.secrets, b"\n".join(self._words))

    def at_rest(self) -> list[str]:
        """The secrets that the requests' records ever held: those that an eye like this one can see."""
        return found_in(self.secrets, b"\n".join(self._resting))


def _words(text: bytes) -> Iterator[bytes]:
    """What may be a secret; in a set, for words repeat and repeat."""
    return (word for word in _BETWEEN.split(text) if len(word) >= _SHORTEST)
