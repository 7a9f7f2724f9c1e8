"""A model on this machine's disk, with the files that have to go up with it."""

import itertools
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.formats import is_model
from shared.references import Folder, references

SIDECARS = (
    "{name}.conversion.json",
    "conversion.json",
    "{stem}.ConversionSettings.json",
    "ConversionSettings.json",
)
MOST_FILES = 50_000
"""A model that lies in a home folder must not make us read all of it."""


class NoModel(Exception):
    """There is nothing to convert; the message says why."""


@dataclass(frozen=True)
class Part:
    """A file, and its blob's name."""

    file: Path
    blob: str


def parts(model: Path) -> tuple[Part, ...]:
    """`model` last, before it the settings beside it and the files it refers to, if they are there.

    All get names below a folder called like the model, so that two models never share companions.
    Raises `NoModel`.
    """
    if not model.is_file():
        raise NoModel(f"{model} is {'a folder' if model.is_dir() else 'not there'}; name a model file")
    if not is_model(model.name):
        raise NoModel(f"{model.name} is no kind of model that any of the services reads")
    beside = [name.format(name=model.name, stem=model.stem) for name in SIDECARS]
    needed = [name for name in beside if (model.parent / name).is_file()] + _companions(model)
    folder = model.stem.strip(".") or "model"  # no storage has a folder called `..`
    return tuple(Part(model.parent / name, f"{folder}/{name}") for name in (*needed, model.name))


def _companions(model: Path) -> list[str]:
    """Relative to the model's folder, with forward slashes."""
    folder: Folder | None = None
    found: dict[str, None] = {}
    waiting = [model.name]
    while waiting:
        name = waiting.pop()
        for uri in _uris(model.parent / name):
            folder = folder or Folder(itertools.islice(_files(model.parent), MOST_FILES))
            base = name.rpartition("/")[0]
            companion = folder.resolve(uri, base)
            if companion is not None and companion != model.name and companion not in found:
                found[companion] = None
                waiting.append(companion)
    return list(found)


def _uris(file: Path) -> list[str]:
    if file.stat().st_size == 0:
        return []
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [reference.uri for reference in references(file.suffix, data).references]


def _files(folder: Path) -> Iterator[str]:
    for place, _, names in folder.walk():
        for name in names:
            yield (place / name).relative_to(folder).as_posix()
