"""A scripted Model Derivative service, an order for it, and where its files go: none of it is real."""

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared.clients import InputFile, Order, Place, Warned, Written
from shared.clients.model_derivative import ModelDerivative
from shared.clients.model_derivative_urn import Source
from tests.clients.service import Answer, Asked, Service, answer

CLIENT = "the-client-id"
SECRET = "a client secret that nobody may see"
TOKEN = "eyJ0b2tlbiI.dGhhdCBub2JvZHk.bWF5IHNlZQ"
BUCKET = "the-bucket"
MODEL = bytes(range(256)) * 16
COOKIES = ("CloudFront-Policy=p1", "CloudFront-Key-Pair-Id=k1", "CloudFront-Signature=s1")


@dataclass
class Files:
    """Inputs by path, outputs by name, and what was said."""

    inputs: dict[str, bytes]
    outputs: dict[str, bytes] = field(default_factory=dict)
    warnings: list[Warned] = field(default_factory=list)

    async def read_url(self, path: str) -> str:
        raise AssertionError("the service reads no blobs")

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        data = self.inputs[path][offset : None if length is None else offset + length]
        for begin in range(0, len(data), 100):
            yield data[begin : begin + 100]

    async def write(
        self, name: str, chunks: AsyncIterator[bytes], *, content_type: str | None = None
    ) -> Written:
        data = b"".join([chunk async for chunk in chunks])
        self.outputs[name] = data
        return Written(
            f"out/{name}",
            len(data),
            hashlib.sha256(data).hexdigest(),
            hashlib.md5(data, usedforsecurity=False).hexdigest(),
        )

    async def stage(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        raise AssertionError("the service reads no blobs")

    async def note(self, service_id: str) -> None:
        raise AssertionError("its id is known ahead")

    def warn(self, warning: Warned) -> None:
        self.warnings.append(warning)


def order(files: Files, **changes: Any) -> Order:
    """An order for the first of the files, with the others beside it."""
    paths = list(files.inputs)
    names = [path.removeprefix("cars/") for path in paths]
    given = Order(
        id="5f2b6f0f4a1e4a0c9a1d2e3f4a5b6c7d",
        input=Place("modelsaccount", "models", "cars"),
        model=names[0],
        output=Place("modelsaccount", "converted", "out"),
        formats=({"type": "obj"},),
        files=[
            InputFile(name, path, len(files.inputs[path])) for name, path in zip(names, paths, strict=True)
        ],
        transfer=files,
    )
    return replace(given, **changes)


def one_file(model: bytes = MODEL, name: str = "car.ipt") -> Files:
    return Files({f"cars/{name}": model})


def source(files: Files, region: str = "US", companions: int = 0) -> Source:
    """What the order's upload is called."""
    path = next(iter(files.inputs))
    record = hashlib.sha256(path.encode()).hexdigest()[:32]
    name = path.rpartition("/")[2]
    return Source.of(BUCKET, order(files).id, record, region, companions, name)


def client(service: Service, **more: Any) -> ModelDerivative:
    """A client of the service that waits for nothing."""

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    slept: list[float] = []
    return ModelDerivative(service.url, CLIENT, SECRET, bucket=BUCKET, sleep=sleep, **more)


def token(life: float = 3600, text: str = TOKEN) -> bytes:
    return answer(200, {"access_token": text, "token_type": "Bearer", "expires_in": life})


def accepting(service: Service, parts: dict[int, bytes]) -> None:
    """Lets the service take uploads into `parts` by their number, and jobs."""

    def upload(asked: Asked) -> Answer:
        if asked.method == "POST":
            return answer(200, {"size": sum(map(len, parts.values()))})
        query = dict(pair.split("=") for pair in asked.path.partition("?")[2].split("&"))
        first = int(query["firstPart"])
        urls = [f"{service.url}/put/{first + index}/part" for index in range(int(query["parts"]))]
        return answer(200, {"uploadKey": "the-upload", "urls": urls})

    def part(asked: Asked) -> Answer:
        assert "authorization" not in asked.headers
        parts[int(asked.path.split("/")[2])] = asked.raw
        return answer(200, b"", ETag=f'"{len(parts)}"')

    service.says |= {
        "token": [token()],
        "buckets": [answer(200, {"bucketKey": BUCKET})],
        "details": [answer(404)],
        "signeds3upload": [upload],
        "part": [part],
        "references": [answer(200, {"result": "success"})],
        "job": [answer(200, {"result": "success", "acceptedJobs": {"output": {"formats": []}}})],
    }


def resource(urn: str, **more: Any) -> dict[str, Any]:
    return {"guid": "g", "type": "resource", "urn": urn, "mime": "application/octet-stream", **more}


def derivative(kind: str, *children: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "car.ipt",
        "outputType": kind,
        "status": "success",
        "progress": "complete",
        "children": list(children),
        **more,
    }


def manifest(*derivatives: Mapping[str, Any], status: str = "success", **more: Any) -> dict[str, Any]:
    return {
        "type": "manifest",
        "version": "1.0",
        "status": status,
        "progress": "complete",
        "derivatives": list(derivatives),
        **more,
    }


def derivative_urn(path: str) -> str:
    """The urn of a file at a path among the outputs."""
    encoded = base64.urlsafe_b64encode(b"urn:adsk.objects:os.object:b/k").decode().rstrip("=")
    return f"urn:adsk.viewing:fs.file:{encoded}/output/{path}"


def serving(service: Service, files: Mapping[str, bytes], **stated: Any) -> None:
    """Lets the service sign and send files by their urns' last segments; `stated` replaces what it says."""

    def signed(asked: Asked) -> Answer:
        urn = asked.path.split("/manifest/")[1].removesuffix("/signedcookies")
        assert "/" not in urn and "%2F" in urn
        name = urn.rpartition("%2F")[2]
        if name not in files:
            return answer(404)
        body = {"url": f"{service.url}/cdn/{name}/file", "size": len(files[name]), "etag": '"e"', **stated}
        reply = answer(200, body)
        cookies = "".join(
            f"Set-Cookie: {one}; Path=/; Domain=elsewhere.test; HTTPOnly\r\n" for one in COOKIES
        )
        return reply.replace(b"\r\n\r\n", f"\r\n{cookies}\r\n".encode(), 1)

    def send(asked: Asked) -> Answer:
        assert asked.headers["cookie"] == "; ".join(COOKIES)
        assert "authorization" not in asked.headers
        return answer(200, files[asked.path.split("/")[2]])

    service.says |= {"token": [token()], "signedcookies": [signed], "file": [send]}


def wanted(kind: str, **advanced: Any) -> dict[str, Any]:
    """An entry of ``formats``, whole."""
    views = {"views": ["2d", "3d"]} if kind in ("svf", "svf2") else {}
    return {"type": kind, **views, "advanced": advanced}
