"""Buckets and objects: small records in the bundle's private container, beside the bytes themselves.

The bytes of an object go straight to storage and come straight from it, by SAS. Each upload writes a
blob of its own, and the object's record says which one it is: a new version replaces the old at once.
"""

import base64
import hashlib
import secrets
from datetime import datetime, timedelta
from urllib.parse import quote

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContentSettings
from pydantic import BaseModel, ConfigDict

from shared.embedded.seals import Seals
from shared.sas import Signer
from shared.settings import Settings
from shared.storage import Conflict, Storage

OBJECT_URN = "urn:adsk.objects:os.object:"

#: The least of a part, but of the last: what the real service's storage asks for.
SMALLEST_PART = 5 * 1024 * 1024
MOST_PARTS = 10_000

UPLOAD_LIFETIME = timedelta(hours=24)

#: How long objects stay in a bucket; None is for ever.
POLICIES = {"transient": timedelta(hours=24), "temporary": timedelta(days=30), "persistent": None}

_BLOCK_DIGITS = 6
_ATTEMPTS = 10


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Bucket(_Value):
    """A place for objects that all live equally long."""

    key: str
    policy: str
    created: datetime
    region: str


class StoredObject(_Value):
    """An object: ``blob`` has its bytes, in the same container as this record."""

    bucket: str
    key: str
    blob: str
    size: int
    content_type: str
    created: datetime
    expires: datetime | None

    @property
    def urn(self) -> str:
        """The object's id."""
        return f"{OBJECT_URN}{self.bucket}/{self.key}"

    @property
    def file_name(self) -> str:
        return self.key.rpartition("/")[2] or self.key


class Upload(_Value):
    """An upload that was begun; its key is all there is of it."""

    bucket: str
    key: str
    blob: str
    expires: datetime


class BadParts(Exception):
    """What was uploaded makes no object; the message says why."""


class Objects:
    """The buckets and objects of one bundle."""

    def __init__(self, storage: Storage, settings: Settings, signer: Signer) -> None:
        self._storage = storage
        self._container = settings.embedded_container
        self._url = settings.embedded_blob_url.format(account=storage.account)
        self._signer = signer
        self._seals = Seals(settings.embedded_account_key, "uploads")
        # Those that were seen: a bucket never changes, and is never deleted.
        self._buckets: dict[str, Bucket] = {}

    def now(self) -> datetime:
        """The time at the storage service."""
        return self._storage.now()

    async def create_bucket(self, key: str, policy: str, region: str) -> Bucket | None:
        """The new bucket, or None if there is one of this name."""
        bucket = Bucket(key=key, policy=policy, created=self.now(), region=region)
        try:
            await self._storage.create(self._container, _bucket_name(key), bucket.model_dump_json().encode())
        except Conflict:
            return None
        return bucket

    async def bucket(self, key: str) -> Bucket | None:
        """A bucket, if there is one of this name."""
        if key not in self._buckets:
            blob = await self._storage.read(self._container, _bucket_name(key))
            if blob is None:
                return None
            self._buckets[key] = Bucket.model_validate_json(blob.data)
        return self._buckets[key]

    async def buckets(self) -> list[Bucket]:
        """Every bucket, by name."""
        names = [head.name async for head in self._storage.list(self._container, _BUCKETS)]
        found = [await self.bucket(name[len(_BUCKETS) :].removesuffix(".json")) for name in names]
        return [bucket for bucket in found if bucket is not None]

    async def find(self, bucket: str, key: str) -> StoredObject | None:
        """An object; None if there is none, or its time is over."""
        while (found := await self._read(bucket, key)) is not None:
            stored, etag = found
            if stored.expires is None or stored.expires > self.now():
                return stored
            await self._drop(stored, etag)
        return None

    async def find_urn(self, urn: str) -> StoredObject | None:
        """The object with this id."""
        bucket, slash, key = urn.removeprefix(OBJECT_URN).partition("/")
        if not urn.startswith(OBJECT_URN) or not slash or not bucket or not key:
            return None
        return await self.find(bucket, key)

    async def delete(self, bucket: str, key: str) -> bool:
        """Deletes an object, its record first; False if there is none, or its time is over."""
        while (found := await self._read(bucket, key)) is not None:
            stored, etag = found
            if await self._drop(stored, etag):
                return stored.expires is None or stored.expires > self.now()
        return False

    async def _read(self, bucket: str, key: str) -> tuple[StoredObject, str] | None:
        """An object as it is recorded, and the version of the record."""
        blob = await self._storage.read(self._container, _object_name(bucket, key))
        return None if blob is None else (StoredObject.model_validate_json(blob.data), blob.etag)

    async def _drop(self, stored: StoredObject, etag: str) -> bool:
        """Deletes what was read; False if a newer version has taken its place."""
        try:
            await self._storage.delete(self._container, _object_name(stored.bucket, stored.key), etag)
        except Conflict:
            return False
        await self._storage.delete(self._container, stored.blob)
        return True

    def begin(self, bucket: Bucket, key: str) -> Upload:
        """A new upload. The policy stands first in the blob's name, for rules that delete by age."""
        blob = f"{_DATA}{bucket.policy}/{_digest(bucket.key, key)}/{secrets.token_hex(16)}"
        return Upload(bucket=bucket.key, key=key, blob=blob, expires=self.now() + UPLOAD_LIFETIME)

    def upload_key(self, upload: Upload) -> str:
        """What the client sends back to go on with an upload."""
        return self._seals.seal(upload.model_dump(mode="json"))

    def upload_of(self, upload_key: str, bucket: str, key: str) -> Upload | None:
        """The upload that a key stands for; None if it is none, has ended, or is of another object."""
        statement = self._seals.open(upload_key)
        if statement is None:
            return None
        upload = Upload.model_validate(statement)
        if (upload.bucket, upload.key) != (bucket, key) or upload.expires <= self.now():
            return None
        return upload

    async def part_urls(self, upload: Upload, first: int, parts: int, lifetime: timedelta) -> list[str]:
        """An address to PUT each part to, from part ``first`` on; the first of all is 1."""
        sas = await self._signer.blob_sas(self._container, upload.blob, "w", self.now() + lifetime)
        return [
            f"{self._address(upload.blob)}?comp=block&blockid={quote(_block_id(number), safe='')}&{sas}"
            for number in range(first, first + parts)
        ]

    async def complete(
        self, upload: Upload, bucket: Bucket, content_type: str, size: int | None
    ) -> StoredObject:
        """Makes the object of its parts; a repeat finds it made.

        Raises:
            BadParts: a part is missing or too small, or the sum is not ``size``.
        """
        total = await self._commit(upload, content_type, size)
        lifetime = POLICIES[bucket.policy]
        now = self.now()
        stored = StoredObject(
            bucket=upload.bucket,
            key=upload.key,
            blob=upload.blob,
            size=total,
            content_type=content_type,
            created=now,
            expires=None if lifetime is None else now + lifetime,
        )
        return await self._record(stored)

    async def _commit(self, upload: Upload, content_type: str, size: int | None) -> int:
        """Puts the parts together; their size. Parts that were put together before are found so."""
        client = self._storage.blob(self._container, upload.blob)
        try:
            committed, blocks = await client.get_block_list("all")
        except ResourceNotFoundError:
            committed, blocks = [], []
        parts = sorted(committed or blocks, key=lambda block: _number(block.id))
        if [_number(block.id) for block in parts] != list(range(1, len(parts) + 1)) or not parts:
            raise BadParts("Parts are missing: every part from 1 on must be uploaded before the end.")
        if any(block.size < SMALLEST_PART for block in parts[:-1]):
            raise BadParts(f"Every part but the last must have at least {SMALLEST_PART} bytes.")
        total = sum(block.size for block in parts)
        if size is not None and size != total:
            raise BadParts(f"'size' is {size}, and the parts have {total} bytes. Upload them again.")
        if not committed:
            await client.commit_block_list(
                [BlobBlock(block_id=block.id) for block in parts],
                content_settings=ContentSettings(content_type=content_type),
            )
        return total

    async def _record(self, stored: StoredObject) -> StoredObject:
        """Records an object in place of its older version, whose bytes go; as it was, if it was recorded."""
        name, data = _object_name(stored.bucket, stored.key), stored.model_dump_json().encode()
        older: tuple[StoredObject, str] | None = None
        for _ in range(_ATTEMPTS):
            try:
                # Most are new, and the write itself tells which are not.
                if older is None:
                    await self._storage.create(self._container, name, data)
                else:
                    await self._storage.replace(self._container, name, data, older[1])
            except Conflict:
                found = await self._read(stored.bucket, stored.key)
                if found is None or found[0].blob != stored.blob:
                    older = found
                    continue
                # A repeat, or a write whose reply was lost.
                stored = found[0]
            if older is not None:
                await self._storage.delete(self._container, older[0].blob)
            return stored
        raise Conflict(f"the object {stored.blob} kept changing")

    async def download_url(
        self,
        blob: str,
        lifetime: timedelta,
        *,
        disposition: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """An address to GET a blob of the container from, for a while."""
        sas = await self._signer.blob_sas(
            self._container,
            blob,
            "r",
            self.now() + lifetime,
            disposition=disposition,
            content_type=content_type,
        )
        return f"{self._address(blob)}?{sas}"

    def _address(self, blob: str) -> str:
        return f"{self._url}/{self._container}/{quote(blob)}"


_BUCKETS = "oss/buckets/"
_OBJECTS = "oss/objects/"
_DATA = "oss/data/"


def _bucket_name(key: str) -> str:
    return f"{_BUCKETS}{key}.json"


def _object_name(bucket: str, key: str) -> str:
    return f"{_OBJECTS}{_digest(bucket, key)}.json"


def _digest(bucket: str, key: str) -> str:
    # A key may be longer than a blob's name, and hold what no blob's name may.
    return hashlib.sha256(f"{bucket}/{key}".encode("utf-8", "surrogatepass")).hexdigest()


def _block_id(number: int) -> str:
    # Storage wants the ids of all blocks of a blob equally long.
    return base64.b64encode(f"{number:0{_BLOCK_DIGITS}}".encode()).decode()


def _number(block_id: str) -> int:
    """The number of a block. The storage client has decoded its id, or has not, by its version."""
    text = block_id if block_id.isdecimal() else base64.b64decode(block_id).decode()
    return int(text)
