"""What goes to the Model Derivative API: whoever sends it may die, and the files may change meanwhile."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.conversion import Status
from shared.storage import Storage
from tests.copier import Copier
from tests.embedded.models import mtl, obj, png
from tests.model_derivative import JOB, objects, sidecar, started, translating


async def test_a_model_that_goes_when_it_was_sent_is_converted(azurite: Azurite) -> None:
    async with translating(azurite, converter=Copier()) as (pipeline, _):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await started(pipeline)
        await pipeline.upload("pyramid.obj", obj(height=2))
        await pipeline.delete("pyramid.obj")
        await pipeline.settle()
        manifest = await pipeline.manifest("pyramid.obj")
        assert (manifest.status, [one.code for one in manifest.warnings]) == (
            Status.SUCCESS,
            ["source-deleted"],
        )
        assert await pipeline.read(manifest.derivatives[0].path) == obj()


@pytest.mark.parametrize(
    "newer",
    [
        pytest.param(b"newmtl skin\nKd 0 1 0\n# a longer file", id="replaced"),
        pytest.param(None, id="deleted"),
    ],
)
async def test_a_companion_that_changes_while_files_are_sent_is_another_order(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch, newer: bytes | None
) -> None:
    async with translating(azurite, converter=Copier()) as (pipeline, _):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.upload("skin.mtl", mtl("red.png"))
        await pipeline.upload("red.png", png())
        read = Storage.stream

        async def slowly(self: Storage, *args: Any, **more: Any) -> AsyncIterator[bytes]:
            async for piece in read(self, *args, **more):
                yield piece
            monkeypatch.setattr(Storage, "stream", read)
            await (pipeline.delete("skin.mtl") if newer is None else pipeline.upload("skin.mtl", newer))

        await pipeline.drop("pyramid.obj", obj("skin.mtl"))
        monkeypatch.setattr(Storage, "stream", slowly)
        pipeline.later(10)
        await pipeline.app.tick.run()
        await pipeline.settle(rounds=40)
        manifest = await pipeline.manifest("pyramid.obj")
        head = await pipeline.app.tools.head("skin.mtl")
        assert manifest.status is Status.SUCCESS
        assert [one.path for one in manifest.source.companions] == (["skin.mtl"] if head else [])
        assert [one.etag for one in manifest.source.companions] == ([head.etag] if head else [])
        assert [one.code for one in manifest.warnings] == ([] if head else ["missing-companion"])
        assert await objects(pipeline) == []


class Dies(Exception):
    """The process is gone."""


class Fatal(httpx.AsyncBaseTransport):
    """Dies once, before or after a call."""

    def __init__(self, own: httpx.AsyncBaseTransport, ending: str, *, after: bool) -> None:
        self._own = own
        self._ending = ending
        self._after = after
        self.is_armed = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        meant = self.is_armed and request.method == "POST" and request.url.path.endswith(self._ending)
        if meant and not self._after:
            self.is_armed = False
            raise Dies
        reply = await self._own.handle_async_request(request)
        if meant:
            self.is_armed = False
            raise Dies
        return reply


@pytest.mark.parametrize(
    ("ending", "after"),
    [
        pytest.param("/signeds3upload", False, id="before the upload is complete"),
        pytest.param("/signeds3upload", True, id="between upload and job"),
        pytest.param(JOB, False, id="before the job"),
        pytest.param(JOB, True, id="between job and record"),
    ],
)
async def test_a_crash_makes_no_second_translation(azurite: Azurite, ending: str, after: bool) -> None:
    fatal: list[Fatal] = []

    def wrap(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        fatal.append(Fatal(own, ending, after=after))
        return fatal[0]

    async with translating(azurite, converter=Copier(), wrap=wrap) as (pipeline, outside):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        pipeline.later(10)
        await pipeline.app.tick.run()
        assert not fatal[0].is_armed
        pipeline.later(pipeline.app.settings.claim_seconds)
        await pipeline.settle()
        manifest = await pipeline.manifest("pyramid.obj")
        assert manifest.status is Status.SUCCESS
        designs = pipeline.app.storage.list(pipeline.app.settings.embedded_container, "derivatives/")
        listed = [head.name async for head in designs]
        assert sum(name.endswith("design.json") for name in listed) == 1
        assert sum(name.endswith(".stl") for name in listed) == 1
        # What was uploaded before the crash is not uploaded again.
        assert outside.count("PUT", "") == (1 if ending == JOB or after else 2)
        assert await objects(pipeline) == []


async def test_what_a_start_that_died_had_uploaded_goes_with_its_version(azurite: Azurite) -> None:
    def wrap(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return Fatal(own, JOB, after=False)

    async with translating(azurite, converter=Copier(), wrap=wrap) as (pipeline, _):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        pipeline.later(10)
        await pipeline.app.tick.run()
        assert len(await objects(pipeline)) == 1
        manifest = await pipeline.convert("pyramid.obj", obj(height=2))
        assert manifest.status is Status.SUCCESS
        assert await objects(pipeline) == []
