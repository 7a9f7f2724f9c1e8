"""Blobs for the clients of services that cannot reach them: streams in bounded memory."""

from collections.abc import AsyncIterator
from urllib.parse import quote

from shared import paths
from shared.clients import Warned, Written
from shared.closing import Changed
from shared.hold import Hold
from shared.problems import Code, Problem, ServiceFault
from shared.storage import BlobHead, Conflict

#: What any run may move by the way, in bytes; more is left to `transfer_files`.
SHORT = 4 * 1024 * 1024


class TooLong(Exception):
    """There is more to move than this run may."""


class Copies:
    """The inputs and outputs of one run, as :class:`shared.clients.Transfer` has them."""

    def __init__(self, hold: Hold, most: int | None = None) -> None:
        """``most`` is how many bytes may be written, None for any number.

        Every method that writes may raise :class:`TooLong`."""
        self._hold = hold
        self._most = most
        self._moved = 0
        #: What was written into the conversion's folder, by name.
        self.written: dict[str, BlobHead] = {}

    async def read_url(self, path: str) -> str:
        """The address of an input with a SAS that reads it alone."""
        return await self._address(self._hold.tools.models, path)

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of an input, in the version that the record names, whatever else is there by now."""
        tools, conversion = self._hold.tools, self._hold.conversion
        versions = {conversion.path: conversion.etag} | {one.path: one.etag for one in conversion.companions}
        pieces = tools.storage.stream(
            tools.models, path, offset=offset, length=length, etag=versions.get(path)
        )
        try:
            async for piece in pieces:
                yield piece
                await self._hold.renew()
        except Conflict:
            raise await self._interrupted(path) from None

    async def _interrupted(self, path: str) -> Exception:
        """An input is another than the record names. The newer version of a model is converted (R6), and a
        model with another companion anew; the same bytes are no newer version, and are sent again."""
        conversion = self._hold.conversion
        if path != conversion.path:
            return Changed(misread=True)
        head = await self._hold.tools.head(path)
        if head is None:
            return Problem(
                Code.SOURCE_DELETED,
                "The model was deleted while it was being sent to the service. Upload it again to "
                "convert it.",
            )
        if not conversion.is_same_content(head.size, head.md5):
            return Changed()
        self._hold.note(etag=head.etag)
        return ServiceFault(
            Code.SERVICE_UNAVAILABLE,
            f"{path} got a new ETag while it was being sent to the service.",
            transient=True,
        )

    async def write(
        self, name: str, chunks: AsyncIterator[bytes], *, content_type: str | None = None
    ) -> Written:
        """Writes an output into the folder that belongs to this conversion alone (rule R5)."""
        tools, conversion = self._hold.tools, self._hold.conversion
        path = paths.check(f"{paths.outputs(conversion.path, conversion.id)}/{name}")

        head, sha256 = await tools.storage.write_stream(
            tools.converted,
            path,
            self._alive(chunks),
            content_type=content_type or "application/octet-stream",
        )
        assert head.md5 is not None
        self.written[path] = head
        return Written(path, head.size, sha256, head.md5.hex())

    async def stage(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Keeps a file that was made for the service, beside the record, until the conversion ends."""
        tools, conversion = self._hold.tools, self._hold.conversion
        path = paths.check(f"{paths.staged(conversion.id)}{name}")
        await tools.storage.write_stream(tools.staging, path, self._alive(chunks))
        return await self._address(tools.staging, path)

    async def note(self, service_id: str) -> None:
        """Records the service's id of the conversion."""
        await self._hold.started_as(service_id)

    def warn(self, warning: Warned) -> None:
        """Says something in the conversion's manifest."""
        self._hold.tell((warning,))

    async def _address(self, container: str, path: str) -> str:
        """A blob's address with a SAS that reads it alone."""
        tools, conversion = self._hold.tools, self._hold.conversion
        sas = await tools.signer.blob_sas(
            container, path, "r", conversion.sas_until, after=conversion.denied_at
        )
        base = str(tools.storage.blob_service.primary_endpoint).rstrip("/")
        return f"{base}/{container}/{quote(path)}?{sas}"

    async def _alive(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks, while the conversion's claim is kept."""
        async for chunk in chunks:
            self._moved += len(chunk)
            if self._most is not None and self._moved > self._most:
                raise TooLong
            yield chunk
            await self._hold.renew()
