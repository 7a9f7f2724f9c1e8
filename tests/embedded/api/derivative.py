"""The Model Derivative API on real storage, for its tests: calls, uploads, and jobs taken to their end."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from local.azurite import Azurite
from tests.embedded.bundle import ACCOUNT_ID, ACCOUNT_KEY, Bundle, start

SCOPES = "data:read data:write data:create bucket:create bucket:read"
MD = "/modelderivative/v2/designdata"
BUCKET = "modelderivative"


@dataclass
class Calls:
    """A client of one bundle's API with a token, and the bundle's worker."""

    bundle: Bundle
    http: httpx.AsyncClient
    converter: Any

    async def upload(self, key: str, data: bytes) -> str:
        """Uploads an object in one part; its URN, encoded."""
        path = f"/oss/v2/buckets/{BUCKET}/objects/{key}/signeds3upload"
        begun = (await self.http.get(path)).json()
        async with httpx.AsyncClient() as storage:
            put = await storage.put(begun["urls"][0], content=data)
            assert put.status_code == 201, put.text
        ended = await self.http.post(path, json={"uploadKey": begun["uploadKey"], "size": len(data)})
        assert ended.status_code == 200, ended.text
        return urn(ended.json()["objectId"])

    async def job(
        self,
        encoded: str,
        *formats: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        misc: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> httpx.Response:
        """Starts a job; ``given`` is more of its input."""
        body: dict[str, Any] = {"input": {"urn": encoded, **given}, "output": {"formats": list(formats)}}
        if misc is not None:
            body["misc"] = misc
        return await self.http.post(f"{MD}/job", json=body, headers=headers)

    async def work(self) -> None:
        """Works the queue off."""
        worker = self.bundle.worker(self.converter)
        while taken := await self.bundle.take():
            for key, message in taken:
                await worker.run(key, message)

    async def manifest(self, encoded: str, **headers: str) -> dict[str, Any]:
        reply = await self.http.get(f"{MD}/{encoded}/manifest", headers=headers)
        assert reply.status_code == 200, reply.text
        value: dict[str, Any] = reply.json()
        return value

    async def file(self, encoded: str, derivative: str) -> bytes:
        """A derivative's bytes, as a client gets them: by signed cookies."""
        path = f"{MD}/{encoded}/manifest/{quoted(derivative)}/signedcookies"
        signed = await self.http.get(path)
        assert signed.status_code == 200, signed.text
        cookies = "; ".join(one.partition(";")[0] for one in signed.headers.get_list("set-cookie"))
        found = await self.http.get(signed.json()["url"], headers={"Cookie": cookies})
        assert found.status_code == 302, found.text
        async with httpx.AsyncClient() as storage:
            data = (await storage.get(found.headers["location"])).content
        assert len(data) == signed.json()["size"]
        return data


def urn(object_id: str) -> str:
    """A URN as the API's paths have it."""
    return base64.urlsafe_b64encode(object_id.encode()).decode().rstrip("=")


def quoted(derivative: str) -> str:
    return derivative.replace(":", "%3A").replace("/", "%2F")


def only(manifest: Mapping[str, Any], type_: str) -> dict[str, Any]:
    """The one derivative of a type."""
    (found,) = [one for one in manifest["derivatives"] if one["outputType"] == type_]
    assert isinstance(found, dict)
    return found


async def token(client: httpx.AsyncClient, scope: str = SCOPES) -> httpx.Response:
    return await client.post(
        "/authentication/v2/token",
        data={"grant_type": "client_credentials", "scope": scope},
        auth=(ACCOUNT_ID, ACCOUNT_KEY),
    )


@asynccontextmanager
async def calling(azurite: Azurite, converter: Any, **settings: Any) -> AsyncIterator[Calls]:
    """A bundle that serves this API, with a token for everything and one bucket."""
    async with start(azurite, embedded_apis="model-derivative", **settings) as bundle:
        async with bundle.client() as anybody:
            issued = (await token(anybody)).json()["access_token"]
        async with bundle.client(issued) as client:
            made = await client.post("/oss/v2/buckets", json={"bucketKey": BUCKET, "policyKey": "transient"})
            assert made.status_code == 200, made.text
            yield Calls(bundle, client, converter)
