"""Shared access signatures: the least right, for the least time.

With an identity they are user delegation SAS, signed with a key that storage lends for up to seven days;
with a connection string they are signed with the account key. Either way they are https only, except for
local storage that answers http.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from azure.storage.blob import UserDelegationKey, generate_blob_sas, generate_container_sas

from shared.problems import Code, Problem
from shared.storage import Storage

# Storage refuses a token that starts in its future, and clocks differ.
_SKEW = timedelta(minutes=15)
_KEY_LIFETIME = timedelta(days=6, hours=23)


class Signer:
    """Signs SAS tokens for one storage account; the delegation key is fetched once and kept."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._key: UserDelegationKey | None = None
        self._key_expires: datetime | None = None
        self._key_fetched: datetime | None = None
        self._fetching = asyncio.Lock()

    async def container_sas(
        self, container: str, permissions: str, expires: datetime, *, after: datetime | None = None
    ) -> str:
        """A container SAS (``sr=c``) with the rights ``permissions``, such as ``rl``; no leading ``?``.

        With a delegation key it is one that was fetched ``after`` some time, because an older one may have
        been revoked."""
        return str(
            generate_container_sas(
                self._storage.account,
                container,
                permission=permissions,
                expiry=expires,
                **await self._signing(expires, after),
            )
        )

    async def blob_sas(
        self,
        container: str,
        name: str,
        permissions: str,
        expires: datetime,
        *,
        disposition: str | None = None,
        content_type: str | None = None,
        after: datetime | None = None,
    ) -> str:
        """A SAS of one blob (``sr=b``) with the rights ``permissions``; no leading ``?``.

        ``disposition`` and ``content_type`` replace the headers of a download; ``after`` is as for a
        container."""
        return str(
            generate_blob_sas(
                self._storage.account,
                container,
                name,
                permission=permissions,
                expiry=expires,
                content_disposition=disposition,
                content_type=content_type,
                **await self._signing(expires, after),
            )
        )

    async def _signing(self, expires: datetime, after: datetime | None) -> dict[str, Any]:
        start = self._storage.now() - _SKEW
        secure = str(self._storage.blob_service.url).startswith("https")
        signing: dict[str, Any] = {"start": start, "protocol": "https" if secure else None}
        if self._storage.account_key is not None:
            return signing | {"account_key": self._storage.account_key}
        if self._storage.credential is None:
            raise Problem(
                Code.STORAGE_DENIED,
                "The storage connection can sign no SAS: it has neither an account key nor an identity. "
                "Use a connection string with AccountKey, or the __blobServiceUri settings.",
            )
        return signing | {"user_delegation_key": await self._delegation_key(start, expires, after)}

    async def _delegation_key(
        self, start: datetime, expires: datetime, after: datetime | None
    ) -> UserDelegationKey:
        async with self._fetching:
            if (
                self._key is None
                or self._key_expires is None
                or self._key_expires < expires
                or (after is not None and self._key_fetched is not None and self._key_fetched <= after)
            ):
                until = max(self._storage.now() + _KEY_LIFETIME, expires)
                self._key = await self._storage.blob_service.get_user_delegation_key(start, until)
                self._key_expires = until
                self._key_fetched = self._storage.now()
            return self._key
