"""The object storage calls: buckets, uploads in parts straight to storage, downloads straight from it."""

import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from shared import model_derivative_formats as seed
from shared.embedded.api.model_derivative.access import (
    BUCKET_CREATE,
    BUCKET_READ,
    CHANGE,
    READ,
    WRITE,
    Access,
)
from shared.embedded.api.model_derivative.objects import (
    MOST_PARTS,
    POLICIES,
    BadParts,
    Bucket,
    Objects,
    StoredObject,
)
from shared.embedded.api.model_derivative.refusals import object_of, refused, region_of, text_in
from shared.embedded.api.replies import Reply
from shared.problems import Problem

_BUCKET_KEY = re.compile(r"[-_.a-z0-9]{3,128}")
_LONGEST_KEY = 1024
_MOST_URLS = 25
_MOST_MINUTES = 60
_DEFAULT_MINUTES = 2
_BYTES = "application/octet-stream"


def router(objects: Objects, access: Access, client_id: str) -> APIRouter:
    """The routes; ``client_id`` owns every bucket."""
    api = Oss(objects, access, client_id)
    routes = APIRouter(prefix="/oss/v2/buckets")
    routes.post("")(api.create_bucket)
    routes.get("")(api.list_buckets)
    routes.get("/{bucket_key}/details")(api.bucket_details)
    one = "/{bucket_key}/objects/{object_key:path}"
    routes.get(f"{one}/signeds3upload")(api.begin_upload)
    routes.post(f"{one}/signeds3upload")(api.complete_upload)
    routes.get(f"{one}/signeds3download")(api.download)
    routes.get(f"{one}/details")(api.object_details)
    routes.delete(one)(api.delete_object)
    return routes


class Oss:
    """The handlers."""

    def __init__(self, objects: Objects, access: Access, client_id: str) -> None:
        self._objects = objects
        self._access = access
        self._client_id = client_id

    async def create_bucket(self, request: Request) -> Response:
        """Makes a bucket."""
        self._access.admit(request, BUCKET_CREATE, limit="oss")
        try:
            region = region_of(request) or seed.DEFAULT_REGION
            body = await object_of(request)
            key, policy = text_in(body, "bucketKey"), text_in(body, "policyKey")
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        if not _BUCKET_KEY.fullmatch(key):
            raise refused(
                request, 400, "'bucketKey' must be 3 to 128 lower-case letters, digits, '-', '_' and '.'."
            )
        if policy not in POLICIES:
            raise refused(request, 400, f"'policyKey' must be one of {', '.join(POLICIES)}.")
        bucket = await self._objects.create_bucket(key, policy, region)
        if bucket is None:
            raise refused(request, 409, "Bucket already exists")
        return Reply(self._bucket_json(bucket))

    async def list_buckets(self, request: Request) -> Response:
        """Every bucket."""
        self._access.admit(request, BUCKET_READ, limit="oss")
        items = [
            {
                "bucketKey": bucket.key,
                "createdDate": _milliseconds(bucket.created),
                "policyKey": bucket.policy,
            }
            for bucket in await self._objects.buckets()
        ]
        return Reply({"items": items})

    async def bucket_details(self, bucket_key: str, request: Request) -> Response:
        """One bucket."""
        self._access.admit(request, BUCKET_READ, limit="oss")
        return Reply(self._bucket_json(await self._bucket(bucket_key, request)))

    async def begin_upload(self, bucket_key: str, object_key: str, request: Request) -> Response:
        """Addresses to PUT parts to; with an ``uploadKey``, further ones or fresh ones of that upload."""
        self._access.admit(request, WRITE, limit="oss")
        try:
            first = _number(request, "firstPart", 1, MOST_PARTS, 1)
            parts = _number(request, "parts", 1, _MOST_URLS, 1)
            minutes = _number(request, "minutesExpiration", 1, _MOST_MINUTES, _DEFAULT_MINUTES)
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        if len(object_key.encode()) > _LONGEST_KEY:
            raise refused(request, 400, f"An object's key has at most {_LONGEST_KEY} bytes.")
        if first + parts - 1 > MOST_PARTS:
            raise refused(request, 400, f"An upload has at most {MOST_PARTS} parts.")
        bucket = await self._bucket(bucket_key, request)
        upload_key = request.query_params.get("uploadKey")
        if upload_key is None:
            upload = self._objects.begin(bucket, object_key)
            upload_key = self._objects.upload_key(upload)
        else:
            found = self._objects.upload_of(upload_key, bucket_key, object_key)
            if found is None:
                raise refused(request, 400, _BAD_UPLOAD_KEY)
            upload = found
        lifetime = timedelta(minutes=minutes)
        urls = await self._objects.part_urls(upload, first, parts, lifetime)
        return Reply(
            {
                "uploadKey": upload_key,
                "urls": urls,
                "urlExpiration": _date(self._objects.now() + lifetime),
                "uploadExpiration": _date(upload.expires),
            }
        )

    async def complete_upload(self, bucket_key: str, object_key: str, request: Request) -> Response:
        """Makes the object of the parts that were uploaded. A repeat gets the same answer."""
        self._access.admit(request, WRITE, limit="oss")
        try:
            body = await object_of(request)
            upload_key = text_in(body, "uploadKey")
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        size = body.get("size")
        if size is not None and type(size) is not int:
            raise refused(request, 400, "'size' must be an integer.")
        bucket = await self._bucket(bucket_key, request)
        upload = self._objects.upload_of(upload_key, bucket_key, object_key)
        if upload is None:
            raise refused(request, 400, _BAD_UPLOAD_KEY)
        content_type = request.headers.get("x-ads-meta-Content-Type", _BYTES)
        try:
            stored = await self._objects.complete(upload, bucket, content_type, size)
        except BadParts as bad:
            raise refused(request, 400, str(bad)) from None
        return Reply(self._object_json(stored, request))

    async def download(self, bucket_key: str, object_key: str, request: Request) -> Response:
        """An address to GET the object from."""
        self._access.admit(request, READ, limit="oss")
        stored = await self._object(bucket_key, object_key, request)
        try:
            minutes = _number(request, "minutesExpiration", 1, _MOST_MINUTES, _DEFAULT_MINUTES)
        except Problem as problem:
            raise refused(request, 400, problem.message) from None
        url = await self._objects.download_url(
            stored.blob,
            timedelta(minutes=minutes),
            disposition=request.query_params.get("response-content-disposition"),
            content_type=request.query_params.get("response-content-type"),
        )
        return Reply(
            {
                "status": "complete",
                "url": url,
                "params": {"content-type": stored.content_type},
                "size": stored.size,
            }
        )

    async def object_details(self, bucket_key: str, object_key: str, request: Request) -> Response:
        """What is known of an object."""
        self._access.admit(request, READ, limit="oss")
        return Reply(self._object_json(await self._object(bucket_key, object_key, request), request))

    async def delete_object(self, bucket_key: str, object_key: str, request: Request) -> Response:
        """Deletes an object."""
        self._access.admit(request, CHANGE, limit="oss")
        if not await self._objects.delete(bucket_key, object_key):
            raise refused(request, 404, _NO_OBJECT)
        return Response()

    async def _bucket(self, key: str, request: Request) -> Bucket:
        bucket = await self._objects.bucket(key) if _BUCKET_KEY.fullmatch(key) else None
        if bucket is None:
            raise refused(request, 404, "Bucket not found")
        return bucket

    async def _object(self, bucket: str, key: str, request: Request) -> StoredObject:
        stored = await self._objects.find(bucket, key)
        if stored is None:
            raise refused(request, 404, _NO_OBJECT)
        return stored

    def _bucket_json(self, bucket: Bucket) -> dict[str, Any]:
        return {
            "bucketKey": bucket.key,
            "bucketOwner": self._client_id,
            "createdDate": _milliseconds(bucket.created),
            "permissions": [{"authId": self._client_id, "access": "full"}],
            "policyKey": bucket.policy,
        }

    @staticmethod
    def _object_json(stored: StoredObject, request: Request) -> dict[str, Any]:
        path = f"/oss/v2/buckets/{stored.bucket}/objects/{quote(stored.key, safe='')}"
        return {
            "bucketKey": stored.bucket,
            "objectId": stored.urn,
            "objectKey": stored.key,
            "size": stored.size,
            "contentType": stored.content_type,
            "location": f"{str(request.base_url).rstrip('/')}{path}",
        }


_NO_OBJECT = "Object not found"
_BAD_UPLOAD_KEY = "'uploadKey' is not that of an upload of this object, or has expired. Begin again."


def _number(request: Request, name: str, least: int, most: int, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise seed.invalid(f"'{name}' must be a number from {least} to {most}.")
    return int(text)


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _date(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}Z"
