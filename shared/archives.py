"""What a zip holds, told from its end: the directory of a zip stands behind its contents.

Pure. Entries are listed and judged here, never unpacked.
"""

import io
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from posixpath import basename

from shared.formats import extension
from shared.problems import Code, Problem, listed

# How many bytes from the end always hold the record that leads to the directory: it is followed
# by a comment of at most 64 KiB, and preceded by the locator of zip64.
SMALLEST_TAIL = 66_000

_MOST_ENTRIES = 10_000
_MOST_LISTED = 20
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ZipEntry:
    """A file in a zip. Sizes are in bytes, as the directory states them: a bomb may lie."""

    name: str  # relative, with forward slashes, never with `..`
    stored: str  # the same as `zipfile` knows it
    size: int
    compressed_size: int
    encrypted: bool


def zip_entries(tail: bytes, size: int) -> tuple[ZipEntry, ...]:
    """The files in a zip of `size` bytes, by its last bytes; folders and macOS's shadows left out.

    `tail` should be `SMALLEST_TAIL` or more, or the whole file. Raises Problem: corrupt-model for
    what is no zip or leads outside of itself, limit-exceeded for one with too many entries.
    """
    try:
        with zipfile.ZipFile(_Tail(tail, size)) as archive:
            stored = archive.infolist()
    except _NotRead:
        raise Problem(
            Code.LIMIT_EXCEEDED,
            f"The directory of the zip is not within its last {len(tail):,} bytes: "
            "it has too many entries, or is damaged. Pack fewer files.",
        ) from None
    except Exception as error:  # zipfile raises a dozen kinds over damaged archives
        raise Problem(
            Code.CORRUPT_MODEL, f"The zip cannot be read ({error or type(error).__name__}). Pack it again."
        ) from error
    if len(stored) > _MOST_ENTRIES:
        raise Problem(
            Code.LIMIT_EXCEEDED,
            f"The zip has {len(stored):,} entries; at most {_MOST_ENTRIES:,} are accepted. Pack fewer files.",
        )
    entries = (
        ZipEntry(
            name=_inside(info.filename),
            stored=info.filename,
            size=info.file_size,
            compressed_size=info.compress_size,
            encrypted=bool(info.flag_bits & _ENCRYPTED),
        )
        for info in stored
        if not info.filename.endswith(("/", "\\"))
    )
    return tuple(entry for entry in entries if not _is_shadow(entry.name))


def _inside(stored: str) -> str:
    segments = [segment for segment in stored.replace("\\", "/").split("/") if segment != "."]
    outside = not segments[0] or ".." in segments or (len(segments[0]) == 2 and segments[0][1] == ":")
    if outside or not segments[-1] or any(ord(character) < 32 for character in stored):
        raise Problem(
            Code.CORRUPT_MODEL,
            f"The zip has an entry with an unusable name, or one that leads outside: {stored[:200]!r}. "
            "Pack it again.",
        )
    return "/".join(segment for segment in segments if segment)


def _is_shadow(name: str) -> bool:
    return name.startswith("__MACOSX/") or basename(name).startswith("._")


def model_in_zip(
    entries: Sequence[ZipEntry],
    root_filename: str | None,
    reads: Collection[str],
    *,
    has_password: bool = False,
) -> ZipEntry:
    """The entry to convert: the one named `root_filename`, or else the only model there is.

    `reads` are the extensions that count as models, those the conversion service reads; `has_password`
    says that an encrypted one can be opened. Raises
    Problem(invalid-settings) that lists the candidates when the choice is not clear,
    Problem(unsupported-format) when there is none, Problem(corrupt-model) for an encrypted one.
    """
    if root_filename is not None:
        wanted = root_filename.replace("\\", "/").removeprefix("./")
        chosen = [entry for entry in entries if entry.name == wanted] or [
            entry for entry in entries if entry.name.casefold() == wanted.casefold()
        ]
        if len(chosen) != 1:
            raise Problem(
                Code.INVALID_SETTINGS,
                f"rootFilename names {root_filename!r}, which is not in the zip. "
                f"It holds {_listed(_models(entries, reads) or entries)}.",
            )
    else:
        chosen = _models(entries, reads)
        if not chosen:
            raise Problem(
                Code.UNSUPPORTED_FORMAT,
                f"The zip holds no model that the conversion service reads. It holds {_listed(entries)}.",
            )
        if len(chosen) > 1:
            raise Problem(
                Code.INVALID_SETTINGS,
                f"The zip holds {len(chosen)} models: {_listed(chosen)}. "
                "Name the one to convert as rootFilename in the settings.",
            )
    if chosen[0].encrypted and not has_password:
        raise Problem(
            Code.CORRUPT_MODEL,
            f"{chosen[0].name!r} in the zip is encrypted. Pack it again without a password.",
        )
    return chosen[0]


def _models(entries: Sequence[ZipEntry], reads: Collection[str]) -> list[ZipEntry]:
    return [entry for entry in entries if extension(entry.name) in reads and extension(entry.name) != ".zip"]


def _listed(entries: Sequence[ZipEntry]) -> str:
    return listed([entry.name for entry in entries], _MOST_LISTED)


class _NotRead(Exception):
    """The directory begins before the part of the file that was read."""


class _Tail(io.RawIOBase):
    """A file of which only the end is known."""

    def __init__(self, tail: bytes, size: int) -> None:
        self._tail = tail
        self._size = size
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("a position before the file")
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        start = self._position - (self._size - len(self._tail))
        if start < 0:
            raise _NotRead
        data = self._tail[start:] if size < 0 else self._tail[start : start + size]
        self._position += len(data)
        return data
