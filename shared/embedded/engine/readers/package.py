"""Files inside a model's own zip (3MF, USDZ), read into bounded memory."""

import io
import re
import zipfile

from shared.embedded.engine.faults import corrupt
from shared.problems import Code, Problem

#: All that is unpacked of one package, whatever its entries say of their size.
MAX_UNPACKED = 512 * 2**20
_MAX_ENTRIES = 10_000
_RELATIONSHIP = re.compile(rb"<(?:\w+:)?Relationship\b([^>]*)>")
_ATTRIBUTE = re.compile(rb"""\b(Target|Type)\s*=\s*["']([^"']*)["']""")


class Package:
    """A zip whose entries are found whatever their case; its own names never become paths."""

    def __init__(self, data: bytes) -> None:
        """Raises `Problem` `corrupt-model` for what is no zip."""
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            entries = self._zip.infolist()
        except MemoryError:
            raise
        except Exception as error:  # as below
            raise corrupt(f"it is not the zip file that it should be ({error})") from None
        if len(entries) > _MAX_ENTRIES:
            raise corrupt(f"it holds {len(entries)} files, more than {_MAX_ENTRIES}")
        self._entries = {_key(entry.filename): entry for entry in reversed(entries)}
        self._unpacked = 0

    @property
    def names(self) -> list[str]:
        """The names of all entries, in the order of the file."""
        return [entry.filename for entry in self._zip.infolist()]

    def read(self, name: str) -> bytes | None:
        """An entry's bytes, None if there is none. Raises `Problem` `corrupt-model` and, for all entries
        together, `limit-exceeded`."""
        entry = self._entries.get(_key(name))
        if entry is None:
            return None
        left = MAX_UNPACKED - self._unpacked
        if entry.file_size > left:
            raise _full()
        try:
            with self._zip.open(entry) as opened:
                content = opened.read(left + 1)
        except MemoryError:
            raise
        except Exception as error:  # zipfile raises a dozen kinds over damaged archives
            raise corrupt(f"{name!r} inside it cannot be unpacked ({error})") from None
        self._unpacked += len(content)
        if self._unpacked > MAX_UNPACKED:
            raise _full()
        return content

    def first(self, kind: str) -> str | None:
        """The target of the package's relationship of a kind, by the end of its type."""
        for relationship in _RELATIONSHIP.finditer(self.read("_rels/.rels") or b""):
            found = {
                key: value.decode("utf-8", "replace") for key, value in _ATTRIBUTE.findall(relationship[1])
            }
            if (
                found.get(b"Type", "").endswith(f"/{kind}")
                and _key(found.get(b"Target", "")) in self._entries
            ):
                return str(found[b"Target"])
        return None

    def named(self, *endings: str) -> str | None:
        """The first entry whose name ends so, in any case."""
        return next((name for name in self.names if name.lower().endswith(endings)), None)


def _key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").removeprefix("./").lower()


def _full() -> Problem:
    return Problem(
        Code.LIMIT_EXCEEDED,
        f"The model unpacks to more than {MAX_UNPACKED >> 20} MB, the most that is allowed. Make it smaller.",
    )
