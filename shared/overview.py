"""What is in flight, what failed and what is done, told from listings."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from shared import paths
from shared.conversion import Status
from shared.in_flight import InFlight, Listed
from shared.storage import Storage

MOST = 1000


class BadCursor(Exception):
    """A ``next`` that no answer gave."""


@dataclass(frozen=True)
class Page:
    """Some conversions, and where to go on; ``next`` is None on the last page."""

    conversions: list[dict[str, Any]]
    next: str | None

    def json(self) -> dict[str, Any]:
        """The answer of ``GET /conversions``."""
        return {"conversions": self.conversions, "next": self.next}


class Overview:
    """Lists conversions: those in flight from their records, the others from their manifests."""

    def __init__(self, storage: Storage, converted: str, in_flight: InFlight) -> None:
        self._storage = storage
        self._converted = converted
        self._in_flight = in_flight

    async def page(self, prefix: str, status: Status | None, limit: int, cursor: str | None) -> Page:
        """Conversions of models whose paths start with ``prefix``, of one status or of all.

        Those in flight come first, all at once; then at least ``limit`` of those with a manifest, if there
        are so many, by path.

        Raises:
            BadCursor: ``cursor`` is not the ``next`` of an earlier page.
        """
        found: list[dict[str, Any]] = []
        if cursor is None and (status is None or not status.is_final):
            async for item in self._in_flight.list():
                told = await self._told(item)
                if told["path"].startswith(prefix) and (status is None or told["status"] == status):
                    found.append(told)
            found.sort(key=lambda told: str(told["path"]))
        if status is not None and not status.is_final:
            return Page(found, None)
        client = self._storage.blob_service.get_container_client(self._converted)
        pages: Any = client.list_blobs(
            name_starts_with=prefix or None, include=["metadata"], results_per_page=5000
        ).by_page(_decode(cursor))
        finished = 0
        async for page in pages:
            async for blob in page:
                ended = _finished(blob)
                if ended and (status is None or ended["status"] == status):
                    found.append(ended)
                    finished += 1
            if finished >= limit:
                break
        return Page(found, _encode(pages.continuation_token))

    async def _told(self, item: Listed) -> dict[str, Any]:
        path = item.path
        if path is None:
            held = await self._in_flight.read(item.name)
            path = held.conversion.path if held else ""
        return {
            "path": path,
            "status": item.status,
            "step": item.step,
            "service": item.service,
            "dueAt": item.due_at.isoformat(),
        }


def _finished(blob: Any) -> dict[str, Any] | None:
    metadata = {key.lower(): value for key, value in (blob.metadata or {}).items()}
    folder, _, name = blob.name.rpartition("/")
    if name != paths.MANIFEST or "status" not in metadata:
        return None
    told = {
        # A model whose name is too long, or no name of a folder, has a folder called after its hash.
        "path": paths.from_metadata(metadata["path"]) if "path" in metadata else folder,
        "status": metadata["status"],
        "manifest": blob.name,
        "id": metadata.get("conversion"),
        "endedAt": blob.last_modified.isoformat(),
    }
    return told | ({"code": paths.from_metadata(metadata["code"])} if "code" in metadata else {})


def _encode(token: str | None) -> str | None:
    return base64.urlsafe_b64encode(token.encode()).decode() if token else None


def _decode(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise BadCursor from None
