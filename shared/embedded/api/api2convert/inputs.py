"""Brings the inputs of a job onto the worker's disk: uploads from storage, remote ones through the guard."""

import asyncio
import email.message
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shared.embedded.api.api2convert.bodies import name_in
from shared.embedded.api.api2convert.errors import NOT_FOUND, UNREACHABLE, InputError, problem_with
from shared.embedded.api.api2convert.files import content_type_of
from shared.embedded.api.api2convert.model import UPLOADED, Input
from shared.embedded.api.api2convert.store import Jobs
from shared.embedded.containers import Read, too_large
from shared.formats import extension
from shared.outbound import Fetched, Outbound, TooMuch
from shared.problems import Problem
from shared.storage import Conflict

_MEBIBYTE = 1024 * 1024
_WAITS = (1.0, 3.0)
# Faults of the worker's own disk, not of the network.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Brought:
    """A file on disk: which input it is, ``name`` as models know it, and where it lies."""

    input: Input
    name: str
    path: Path


class Bring:
    """Brings the inputs of one run into a folder."""

    def __init__(self, jobs: Jobs, outbound: Outbound, folder: Path, input_mb: int) -> None:
        """All inputs together may have ``input_mb`` MiB."""
        self._jobs = jobs
        self._outbound = outbound
        self._folder = folder
        self._most = self._left = input_mb * _MEBIBYTE
        self._names: set[str] = set()

    async def one(self, item: Input) -> Brought:
        """The input on disk, with the size, checksum, name and type that it turned out to have.

        Raises:
            InputError
        """
        place = self._folder / f"{len(self._names):04d}"
        if item.type in UPLOADED:
            assert item.blob is not None
            chunks = self._jobs.storage.stream(self._jobs.container, item.blob)
            try:
                size, checksum = await self._save(item, chunks, place)
            except Conflict:
                raise InputError(*NOT_FOUND) from None
            name, kind = item.filename or "file", item.content_type
        elif item.type == "remote":
            size, checksum, name, kind = await self._fetch(item, place)
        else:
            raise InputError(*NOT_FOUND)
        name = self._unique(name)
        got = item.model_copy(
            update={
                "status": "ready",
                "filename": name,
                "size": size,
                "checksum": checksum,
                "content_type": kind or content_type_of(name),
            }
        )
        return Brought(got, name, place)

    async def _fetch(self, item: Input, place: Path) -> tuple[int, str, str, str]:
        for wait in (*_WAITS, None):
            try:
                async with self._outbound.fetch(item.source, most=self._left) as fetched:
                    if fetched.status < 500 and fetched.status != 429:
                        if fetched.status != 200:
                            raise InputError(*NOT_FOUND, {"status": fetched.status})
                        size, checksum = await self._save(item, fetched.chunks, place)
                        return size, checksum, _name(item, fetched), _kind(fetched.headers)
            except Problem as refused:
                raise InputError(*UNREACHABLE, {"reason": refused.message}) from None
            except OSError as fault:
                if fault.errno in _DISK:
                    raise
            if wait is not None:
                await asyncio.sleep(wait)
        raise InputError(*UNREACHABLE)

    async def _save(self, item: Input, chunks: AsyncIterator[bytes], place: Path) -> tuple[int, str]:
        md5 = hashlib.md5(usedforsecurity=False)
        size = 0
        try:
            with await asyncio.to_thread(place.open, "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._left:
                        raise TooMuch
                    md5.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
        except TooMuch:
            problem = too_large(item.filename or "the input", max(size, self._most + 1), self._most)
            raise InputError(*problem_with(problem.code, problem.message)) from None
        self._left -= size
        return size, md5.hexdigest()

    def _unique(self, name: str) -> str:
        """The name, with a number before its extension if another input has it already."""
        stem, dot, end = name.rpartition(".")
        candidates = [name, *(f"{stem}-{n}.{end}" if dot else f"{name}-{n}" for n in range(2, 200))]
        chosen = next(one for one in candidates if one.casefold() not in self._names)
        self._names.add(chosen.casefold())
        return chosen


class OnDisk:
    """Files on disk as the container that :func:`shared.embedded.inputs.fetch` reads models from."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    async def list(self, prefix: str) -> dict[str, int]:
        return {name: path.stat().st_size for name, path in self._files.items() if name.startswith(prefix)}

    async def download(self, name: str, to: Path, *, most: int) -> Read:
        path = self._files[name]
        size = path.stat().st_size
        if size > most:
            raise too_large(name, size, most)
        await asyncio.to_thread(os.link, path, to)
        return Read(size)


def _name(item: Input, fetched: Fetched) -> str:
    """What the file is called: as the caller says, whose name may lack the extension."""
    said = _disposition(fetched.headers.get("Content-Disposition", ""))
    found = said or name_in(fetched.url) or name_in(item.source)
    if not item.filename:
        return found or "file"
    known = extension(item.filename)
    return item.filename if known else item.filename + extension(found)


def _disposition(header: str) -> str:
    parsed = email.message.Message()
    parsed["Content-Disposition"] = header
    name = parsed.get_filename() or ""
    return name_in("http://x/" + quote(name.rpartition("/")[2])) if name else ""


def _kind(headers: Mapping[str, Any]) -> str:
    kind = str(headers.get("Content-Type", "")).partition(";")[0].strip().lower()
    return "" if kind == _BYTES else kind[:100]
