"""What the tests of the API2Convert API share: a bundle that serves it, and a client of its own."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

import httpx

from local.azurite import ACCOUNT
from shared.embedded.api.api2convert.model import Job
from shared.embedded.worker import Worker
from tests.embedded.bundle import ACCOUNT_KEY, Bundle

KEY = {"X-Oc-Api-Key": ACCOUNT_KEY}


@dataclass
class Service:
    """The API of a bundle, and the worker that a test lets run."""

    bundle: Bundle
    client: httpx.AsyncClient
    worker: Worker

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """One call under /v2."""
        headers = more.pop("headers", KEY)
        path = path.removeprefix(self.client.base_url.join("/v2").__str__())
        return await self.client.request(
            method, f"/v2{path}", headers=headers, **({} if body is None else {"json": body}), **more
        )

    async def created(self, **body: Any) -> dict[str, Any]:
        """A new job."""
        reply = await self.call("POST", "/jobs", body)
        assert reply.status_code == 201, reply.text
        document: dict[str, Any] = reply.json()
        return document

    async def job(self, job: dict[str, Any]) -> dict[str, Any]:
        """A job as it is now."""
        reply = await self.call("GET", f"/jobs/{job['id']}")
        assert reply.status_code == 200, reply.text
        document: dict[str, Any] = reply.json()
        return document

    async def work(self) -> None:
        """The worker works off what the queue holds."""
        for key, message in await self.bundle.take():
            await self.worker.run(key, message)

    async def convert(self, **body: Any) -> dict[str, Any]:
        """A job, worked off."""
        job = await self.created(**body)
        await self.work()
        return await self.job(job)

    async def remote(self, name: str, data: bytes) -> dict[str, Any]:
        """An input of type remote: a blob with a SAS."""
        await self.bundle.upload(name, data)
        root = self.bundle.settings.embedded_blob_url.format(account=ACCOUNT)
        sas = self.bundle.sas(self.bundle.models, "r")
        return {"type": "remote", "source": f"{root}/{self.bundle.models}/{name}?{sas}"}

    async def upload(self, job: dict[str, Any], name: str, data: bytes, **headers: str) -> httpx.Response:
        """A file sent to a job's server, with the job's token."""
        url = f"{job['server']}/upload-file/{job['id']}"
        return await self.client.post(
            url, files={"file": (name, data)}, headers={"X-Oc-Token": job["token"], **headers}
        )

    async def download(self, uri: str, **more: Any) -> httpx.Response:
        """An output, through the redirect, as any browser would."""
        reply = await self.client.get(uri, **more)
        if reply.status_code != 302:
            return reply
        async with httpx.AsyncClient(trust_env=False) as browser:
            return await browser.get(reply.headers["Location"])

    async def record(self, job: dict[str, Any]) -> Job:
        """The job's private record."""
        name = f"api2convert-jobs/{job['id']}.json"
        blob = await self.bundle.storage.read(self.bundle.settings.embedded_container, name)
        assert blob is not None
        return Job.model_validate_json(blob.data)

    async def files(self, job: dict[str, Any]) -> list[str]:
        """The blobs that the service keeps of a job."""
        listing = self.bundle.storage.list(self.bundle.settings.embedded_container)
        return [blob.name async for blob in listing if job["id"] in blob.name]

    async def run_key(self, job: dict[str, Any]) -> None:
        """The worker is given a job's request again."""
        await self.worker.run(f"api2convert/{job['id']}", secrets.token_hex(4))


def target(name: str, **options: Any) -> dict[str, Any]:
    return {"target": name, "options": options} if options else {"target": name}


def shown(document: Any) -> str:
    """All that a caller can see."""
    return json.dumps(document)
