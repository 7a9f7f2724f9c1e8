"""Blobs for the clients of services that cannot reach them: streams in bounded memory."""

from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import quote

from shared import paths
from shared.clients import Warned, Written
from shared.hold import Hold
from shared.problems import Code, Problem
from shared.storage import Conflict

_SAS_MARGIN = timedelta(minutes=15)


class Copies:
    """The inputs and outputs of one run, as :class:`shared.clients.Transfer` has them."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    async def read_url(self, path: str) -> str:
        """The address of an input with a SAS that reads it alone."""
        return await self._address(self._hold.tools.models, path)

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of an input."""
        tools = self._hold.tools
        try:
            async for piece in tools.storage.stream(tools.models, path, offset=offset, length=length):
                yield piece
                await self._hold.renew()
        except Conflict:
            # If it is the model, and there is a newer version, that one is converted (R6).
            raise Problem(
                Code.SOURCE_DELETED,
                f"{path} was deleted or replaced while it was being sent to the service. "
                "Upload the model again to convert it.",
            ) from None

    async def write(
        self, name: str, chunks: AsyncIterator[bytes], *, content_type: str | None = None
    ) -> Written:
        """Writes an output into the folder that belongs to this conversion alone (rule R5)."""
        tools, conversion = self._hold.tools, self._hold.conversion
        path = paths.check(f"{paths.outputs(conversion.path, conversion.id)}/{name}")

        size, sha256, md5 = await tools.storage.write_stream(
            tools.converted,
            path,
            self._alive(chunks),
            content_type=content_type or "application/octet-stream",
        )
        return Written(path, size, sha256, md5)

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
        assert conversion.deadline is not None
        sas = await tools.signer.blob_sas(
            container, path, "r", conversion.deadline + _SAS_MARGIN, after=conversion.denied_at
        )
        base = str(tools.storage.blob_service.primary_endpoint).rstrip("/")
        return f"{base}/{container}/{quote(path)}?{sas}"

    async def _alive(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks, while the conversion's claim is kept."""
        async for chunk in chunks:
            yield chunk
            await self._hold.renew()
