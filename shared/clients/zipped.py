"""A zip that is made while it is sent: one file after the other, in bounded memory."""

import io
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence

from shared.clients import InputFile


class _Sink(io.RawIOBase):
    """Where the zip is written to: a file that can only go on."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._written += piece
        return len(piece)

    def take(self) -> bytes:
        piece = bytes(self._written)
        self._written.clear()
        return piece


async def zipped(
    files: Sequence[InputFile], read: Callable[[InputFile], AsyncIterator[bytes]]
) -> AsyncIterator[bytes]:
    """The zip of ``files`` under their names; ``read`` gives the bytes of one."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # Sizes are told behind the content, so whether they need 64 bits is said before.
            entry.file_size = file.size
            with archive.open(entry, "w", force_zip64=file.size >= 1 << 31) as opened:
                async for chunk in read(file):
                    opened.write(chunk)
                    if piece := sink.take():
                        yield piece
    yield sink.take()
