"""How libraries are imported that would bring more than is needed."""

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Packages that a library uses where they are installed, and can do without: within this they are not.

    Where one is loaded already, it stays visible."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    added = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(added))  # None is Python's own word for a module that is not there
    try:
        yield
    finally:
        for name in added:
            del modules[name]
