"""Brings a model and what it refers to onto the worker's disk, and nothing else.

Sizes are known before anything is fetched, or limited where a listing would tell nothing else. A
companion is put where the model says it is, however the blob spells its name, so that the engine finds it
without a listing.
"""

import asyncio
import errno
import json
import mmap
import os
import shutil
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from shared.archives import ZipEntry, model_in_zip, zip_entries
from shared.embedded.containers import Container, Read, too_large
from shared.embedded.engine.formats import READS
from shared.embedded.engine.job import Warning_
from shared.embedded.reports import stem
from shared.embedded.requests import Request
from shared.formats import extension
from shared.problems import Code, Problem
from shared.references import Folder, candidates, references
from shared.settings import Settings

_MEBIBYTE = 1024 * 1024

# A model names materials, and those name pictures; nothing goes deeper.
_DEEPEST = 2

# Too long, a folder where a file is, or the reverse.
_IMPOSSIBLE_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)

# The directory of a zip of 10,000 entries is in here.
_ZIP_TAIL = 8 * _MEBIBYTE

_MOST_SETTINGS_BYTES = _MEBIBYTE
_CHUNK = 4 * _MEBIBYTE


@dataclass(frozen=True)
class Inputs:
    """What lies in the folder: ``model`` is a path relative to it, ``settings`` the content of the
    model's ConversionSettings.json, ``read`` the model's version."""

    model: str
    settings: Mapping[str, Any]
    warnings: tuple[Warning_, ...]
    read: Read | None = None


async def fetch(
    container: Container,
    request: Request,
    into: Path,
    settings: Settings,
    *,
    password: bytes | None = None,
) -> Inputs:
    """Writes the model of ``request`` and its companions into the empty folder ``into``; ``password`` opens
    the files of an encrypted zip.

    Raises:
        Problem: the model is not there, is too large, lacks a part, or its settings file is no JSON.
        Unreachable: storage did not answer; another try may succeed.
    """
    return await _Fetch(container, request, into, settings, password).run()


class _Fetch:
    def __init__(
        self,
        container: Container,
        request: Request,
        into: Path,
        settings: Settings,
        password: bytes | None,
    ) -> None:
        self._container = container
        self._password = password
        self._into = into
        self._root = request.root
        self._outputs = len(request.outputs)
        self._engine_output = settings.engine_output_mb * _MEBIBYTE
        self._engine_memory = settings.engine_memory_mb * _MEBIBYTE
        # What may still be fetched.
        self._left = settings.engine_input_mb * _MEBIBYTE
        self._most = self._left
        path = request.source.prefix + request.model
        self._folder, _, self._name = path.rpartition("/")
        self._folder += "/" if self._folder else ""
        self._files = request.files
        self._prefix = request.source.prefix
        self._sizes: dict[str, int] = {}
        self._warnings: list[Warning_] = []

    async def run(self) -> Inputs:
        self._sizes = await self._list()
        listed = self._sizes.get(self._name)
        if listed is not None:
            self._check(self._name, listed)
        kind = extension(self._name)
        # Its stem is that of the outputs: the engine names the scene after it.
        model = stem(self._name) + kind
        read = await self._get(self._name, model)
        if read.size == 0:
            raise Problem(Code.EMPTY, f"{self._name!r} is empty. Upload it again, with its content.")
        if listed is None:
            self._check_disk(self._name, read.size, fetched=read.size)
        if kind == ".zip":
            model = await asyncio.to_thread(self._unpack, self._into / model)
        else:
            await self._companions(model)
        return Inputs(model, await self._settings(), tuple(self._warnings), read)

    async def _list(self) -> dict[str, int]:
        """What lies in the model's folder, by its name there; a model whose folder is told is not looked for,
        because to fetch it tells as much."""
        if self._files is None:
            listed = await self._container.list(self._folder)
            return {name[len(self._folder) :]: size for name, size in listed.items()}
        blobs = {name: self._prefix + blob for name, blob in self._files.items() if name != self._name}
        listings = await asyncio.gather(*(self._container.list(blob) for blob in blobs.values()))
        return {
            name: listed[blob]
            for (name, blob), listed in zip(blobs.items(), listings, strict=True)
            if blob in listed
        }

    def _blob(self, name: str) -> str:
        return self._folder + name if self._files is None else self._prefix + self._files[name]

    async def _get(self, name: str, place: str) -> Read:
        """Fetches a file, if it is not too large by now."""
        target = self._into / place
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        most = min(self._left, self._engine_memory // 2)
        read = await self._container.download(self._blob(name), target, most=most)
        self._sizes[name] = read.size
        self._left -= read.size
        return read

    def _check(self, name: str, size: int) -> None:
        """Refuses, before it is fetched, what cannot be converted on this instance."""
        if size > self._left:
            raise too_large(name, size + self._most - self._left, self._most)
        # Whatever the format, the file and the scene made of it are in memory together.
        if 2 * size > self._engine_memory:
            raise too_large(name, size, self._engine_memory // 2)
        self._check_disk(name, size)

    def _check_disk(self, name: str, size: int, *, fetched: int = 0) -> None:
        """Refuses what the disk has no room for, with its outputs."""
        free = shutil.disk_usage(self._into).free
        expected = size - fetched + min(self._outputs * size, self._engine_output)
        if expected > free:
            raise Problem(
                Code.TOO_LARGE,
                f"{name!r} and its outputs need about {expected // _MEBIBYTE:,} MiB of disk, and this "
                f"instance has {free // _MEBIBYTE:,} MiB left. Reduce the model, or ask for fewer formats.",
            )

    async def _companions(self, model: str) -> None:
        folder = Folder(self._sizes)
        # Which file in storage -> where it is on disk.
        fetched = {self._name: model}
        placed = {model}
        # Files on disk whose references are to be followed, and which ones they are in storage.
        files = {model: self._name}
        for _ in range(_DEEPEST):
            named: dict[str, str] = {}
            for place, name in files.items():
                named |= await asyncio.to_thread(self._references, folder, place, name)
            files = {}
            for place, name in named.items():
                if place not in placed and await self._companion(place, name, fetched.get(name)):
                    placed.add(place)
                    fetched[name] = place
                    files[place] = name

    def _references(self, folder: Folder, place: str, name: str) -> dict[str, str]:
        """The companions that a file on disk names: where each is looked for, and which one it is."""
        file = self._into / place
        if not file.stat().st_size:
            return {}
        with (
            file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            found = references(extension(name), data).references
        named: dict[str, str] = {}
        for reference in found:
            companion = folder.resolve(reference.uri, name.rpartition("/")[0])
            if companion is not None:
                # The engine looks beside the model, whichever file holds the reference.
                named.setdefault(next(candidates(reference.uri), companion), companion)
            elif reference.required:
                raise Problem(
                    Code.MISSING_COMPANION,
                    f"The model needs {reference.uri!r}, which is not in its folder. Upload it, then "
                    "upload the model again.",
                )
        return named

    async def _companion(self, place: str, name: str, fetched: str | None) -> bool:
        """Brings one companion, which may be on disk already as ``fetched``; False for one that the disk
        cannot hold under its name."""
        target = self._into / place
        try:
            if fetched is None:
                self._check(name, self._sizes[name])
                await self._get(name, place)
            else:
                await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
                await asyncio.to_thread(os.link, self._into / fetched, target)
        except (OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno not in _IMPOSSIBLE_NAME:
                raise
            self._warnings.append(
                Warning_("companion-name", "A companion's name is not possible here", {"file": name})
            )
            return False
        return True

    async def _settings(self) -> dict[str, Any]:
        """The content of the settings file beside the model, under its name or its deprecated one."""
        base = self._name.rpartition(".")[0]
        folded = {name.casefold(): name for name in self._sizes if "/" not in name}
        if overrides := folded.get(f"{base}.MaterialOverrides.json".casefold()):
            self._warnings.append(
                Warning_("overrides-ignored", "Material overrides are not applied", {"file": overrides})
            )
        for wanted in (f"{base}.ConversionSettings.json", "ConversionSettings.json"):
            name = folded.get(wanted.casefold())
            if name is not None:
                return await self._read_settings(name)
        return {}

    async def _read_settings(self, name: str) -> dict[str, Any]:
        place = self._into.with_name("settings.json")
        await self._container.download(self._blob(name), place, most=_MOST_SETTINGS_BYTES)
        content = await asyncio.to_thread(place.read_bytes)
        try:
            value = json.loads(content.removeprefix(b"\xef\xbb\xbf"))
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Problem(Code.INVALID_SETTINGS, f"{name} is not a JSON object. Correct it and start again.")
        return value

    def _unpack(self, archive: Path) -> str:
        """Unpacks the zip and removes it; the place of the model that was in it."""
        size = archive.stat().st_size
        with archive.open("rb") as opened:
            opened.seek(max(0, size - _ZIP_TAIL))
            entries = zip_entries(opened.read(), size)
        chosen = model_in_zip(entries, self._root, READS, has_password=self._password is not None)
        total = sum(entry.size for entry in entries)
        self._check(self._name, total)
        with zipfile.ZipFile(archive) as opened_zip:
            for entry in entries:
                if extension(entry.name) == ".zip":
                    raise Problem(
                        Code.UNSUPPORTED_FORMAT,
                        f"{entry.name!r} is a zip in a zip. Pack the files themselves.",
                    )
                self._unpack_one(opened_zip, entry)
        archive.unlink()
        return chosen.name

    def _unpack_one(self, archive: zipfile.ZipFile, entry: ZipEntry) -> None:
        is_closed = entry.encrypted and self._password is None
        if is_closed or stat.S_ISLNK(archive.getinfo(entry.stored).external_attr >> 16):
            raise Problem(
                Code.CORRUPT_MODEL, f"{entry.name!r} in the zip is encrypted, or a link. Pack plain files."
            )
        target = self._into.joinpath(*PurePosixPath(entry.name).parts)
        left = entry.size
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry.stored, pwd=self._password) as source, target.open("xb") as file:
                # The directory of a bomb may lie about the size.
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        break
                    file.write(chunk)
        except Exception as error:  # zipfile raises a dozen kinds over damaged archives
            raise Problem(
                Code.CORRUPT_MODEL,
                f"{entry.name!r} cannot be unpacked ({type(error).__name__}). Pack it again.",
            ) from None
        if left:
            raise Problem(
                Code.CORRUPT_MODEL, f"{entry.name!r} has another size than the zip says. Pack it again."
            )
