"""The job's own input folder: the only files that a model's references can reach."""

import os
import stat
from pathlib import Path, PurePosixPath
from urllib.parse import unquote


class InputFolder:
    """Regular files under one folder, found by what a model calls them.

    The files are listed once, without following symbolic links, and a reference is only ever looked
    up in that list: an absolute path, a `..`, a link or a URL therefore cannot name anything else.
    """

    def __init__(self, root: str, model: str) -> None:
        self._root = Path(root)
        self._files: dict[str, str] = {}
        for folder, _, names in os.walk(root, followlinks=False):
            for name in names:
                path = Path(folder, name)
                if stat.S_ISREG(path.lstat().st_mode):
                    relative = path.relative_to(root).as_posix()
                    self._files.setdefault(relative.lower(), relative)
        self.model = PurePosixPath(model)

    def read_model(self) -> bytes:
        """The model's bytes. Raises `FileNotFoundError` when it is not a regular file of the folder."""
        if self._files.get(str(self.model).lower()) is None:
            raise FileNotFoundError(str(self.model))
        return self.read(str(self.model))

    def read(self, relative: str) -> bytes:
        """The bytes of a file by a path that `resolve` returned."""
        descriptor = os.open(self._root / relative, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def resolve(self, reference: str) -> str | None:
        """Where a reference, as the model spells it, is in the folder; None if it is not.

        Remote Rendering's rule: the longest end of the stored path that exists beside the model,
        whatever its case and slashes. Percent-encoding is tried after the literal spelling.
        """
        for spelling in dict.fromkeys((reference, unquote(reference))):
            found = self._resolve(spelling)
            if found is not None:
                return found
        return None

    def find(self, reference: str) -> bytes | None:
        """The bytes of what a reference names, or None if the folder does not hold it."""
        found = self.resolve(reference)
        return None if found is None else self.read(found)

    def _resolve(self, reference: str) -> str | None:
        path = reference.strip().replace("\\", "/")
        if "://" in path or path.lower().startswith(("file:", "http:", "https:", "data:")) or "\0" in path:
            return None
        beside = self.model.parent
        literal = _normal(beside / path)
        if literal is not None and literal.lower() in self._files:
            return self._files[literal.lower()]
        segments = [segment for segment in path.split("/") if segment not in ("", ".", "..")]
        for start in range(len(segments)):
            candidate = str(beside.joinpath(*segments[start:])).lower()
            if candidate in self._files:
                return self._files[candidate]
        return None


def _normal(path: PurePosixPath) -> str | None:
    """The path without `.` and `..`, or None where it is absolute or leaves its start."""
    if path.is_absolute():
        return None
    kept: list[str] = []
    for part in path.parts:
        if part == "..":
            if not kept:
                return None
            kept.pop()
        else:
            kept.append(part)
    return "/".join(kept)
