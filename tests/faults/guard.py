"""What the mutation check knows of a guard: where it is in the code, and who ought to miss it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """``text``, which is in ``file`` exactly once, becomes ``by``."""

    file: str
    text: str
    by: str

    def applied(self, root: Path) -> str:
        """The file's content after the edit.

        Raises:
            Lost: the text is not there exactly once.
        """
        content = (root / self.file).read_text(encoding="utf-8")
        if (count := content.count(self.text)) != 1:
            raise Lost(f"{self.file} has {count} times: {self.text!r}")
        return content.replace(self.text, self.by)


class Lost(Exception):
    """The code has changed: what a guard's removal replaces is not there any more."""


@dataclass(frozen=True)
class Guard:
    """``removed`` says what the edits take away, under the design's ``rule``, or "" where it has no number.

    ``tests`` are files or node ids; they run in this order until the first is red. More than one edit
    means that one alone would be harmless, because of the other.
    """

    id: str
    rule: str
    removed: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    def remove(self, root: Path) -> None:
        """Takes the guard out of the source tree at ``root``.

        Raises:
            Lost
        """
        for edit in self.edits:
            (root / edit.file).write_text(edit.applied(root), encoding="utf-8")
