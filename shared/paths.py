"""The only builder of blob names.

A storage client normalises ``.`` and ``..`` segments of a name before it sends them, and so can leave
the container it was given; Azure allows 1,024 characters and 254 segments. Names made here stay inside
both limits whatever a model is called.
"""

import hashlib
import re
import unicodedata
from urllib.parse import quote, unquote

from shared.problems import Code, Problem

MANIFEST = "manifest.json"

LONGEST_NAME = 1024
MOST_SEGMENTS = 254

# Room for "/<id>/<name of an output>" behind the path of a model: a file's name has up to 255 characters.
_LONGEST_PATH = 700
_MOST_PATH_SEGMENTS = 200
_LONG = "~long"

_ID = re.compile(r"[0-9a-f]{32}")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(-[a-z0-9]+)*")


def check(path: str) -> str:
    """``path`` itself, if it is safe as the name of a blob or of a folder of blobs.

    Raises:
        Problem: ``invalid-name``, saying what is wrong.
    """
    if not path or path.startswith("/"):
        raise _refused(path, "is empty or starts with a slash")
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", path)):
        raise _refused(path, "has a '.' or '..' segment, which storage clients resolve")
    if "\\" in path:
        raise _refused(path, "has a backslash, which storage takes for a slash")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in path):
        raise _refused(path, "has a control character")
    if _units(path) > LONGEST_NAME or path.count("/") >= MOST_SEGMENTS:
        raise _refused(path, f"is longer than {LONGEST_NAME} characters or {MOST_SEGMENTS} segments")
    return path


def record(path: str) -> str:
    """The in-flight record of the model at ``path``."""
    return f"{_digest(path)[:32]}.json"


def folder(path: str) -> str:
    """The folder in the converted container that belongs to the model at ``path``; no trailing slash."""
    # Azure drops dots at the end of a segment, and takes a backslash for a slash.
    unsafe = "\\" in path or any(not segment or segment.endswith(".") for segment in path.split("/"))
    control = any(unicodedata.category(char) in ("Cc", "Cs") for char in path)
    long = _units(path) > _LONGEST_PATH or path.count("/") >= _MOST_PATH_SEGMENTS
    if unsafe or control or long or path.split("/", 1)[0] == _LONG:
        return f"{_LONG}/{_digest(path)}"
    return path


def record_of_folder(folder: str) -> str:
    """The in-flight record of the model that a folder in the converted container belongs to."""
    long = folder.removeprefix(f"{_LONG}/")
    return record(folder) if long == folder else f"{long[:32]}.json"


def manifest(path: str) -> str:
    """The manifest of the model at ``path``, in the converted container."""
    return f"{folder(path)}/{MANIFEST}"


def outputs(path: str, conversion_id: str) -> str:
    """The folder that one conversion writes into and no other does; no trailing slash."""
    if not _ID.fullmatch(conversion_id):
        raise ValueError("a conversion id is 32 hexadecimal digits")
    return f"{folder(path)}/{conversion_id}"


def staged(conversion_id: str) -> str:
    """The folder beside the records for files that one conversion makes for its service; with its slash."""
    return f"staged/{conversion_id}/"


def owner_of_output(name: str) -> tuple[str, str] | None:
    """The (model folder, conversion id) of a blob in the converted container, or None if it is no output."""
    parts = name.split("/")
    for index in range(len(parts) - 2, 0, -1):
        if _ID.fullmatch(parts[index]):
            return "/".join(parts[:index]), parts[index]
    return None


def is_account_name(name: str) -> bool:
    """Whether ``name`` can be a storage account's."""
    return _ACCOUNT.fullmatch(name) is not None


def is_container_name(name: str) -> bool:
    """Whether ``name`` can be a blob container's."""
    return _CONTAINER.fullmatch(name) is not None


def to_metadata(text: str) -> str:
    """``text`` as ASCII, for a metadata value, which travels as an HTTP header."""
    return quote(text, safe="/ !$&'()*+,;=:@-._~").replace(" ", "%20")


def from_metadata(value: str) -> str:
    """The text that :func:`to_metadata` encoded."""
    return unquote(value)


def _digest(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()


def _units(text: str) -> int:
    """Length as Azure counts it: in UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _refused(path: str, why: str) -> Problem:
    return Problem(Code.INVALID_NAME, f"The name {path[:200]!r} {why}. Rename it and upload it again.")
