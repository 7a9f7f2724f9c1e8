"""The worker brings requests to an end, on real storage and with the real engine."""

import asyncio
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AioHttpTransport

from local.azurite import Azurite
from shared.embedded.converter import Converter
from shared.embedded.engine.job import Job, Output, Result
from shared.embedded.requests import Request, State
from shared.embedded.worker import Retry
from shared.outbound import Outbound
from tests.embedded.bundle import Bundle, start
from tests.embedded.models import mtl, obj, png, read_glb
from tests.embedded.running import ASSET, GLB, NeverCalled, accept, code, convert, failed, report

# --- What comes out ----------------------------------------------------------------------------


async def test_a_textured_model_becomes_a_glb_with_its_texture_inside(
    bundle: Bundle, converter: Converter
) -> None:
    await bundle.upload("in/box.obj", obj("box.mtl"))
    await bundle.upload("in/box.mtl", mtl("textures/skin.png"))
    await bundle.upload("in/textures/skin.png", png())
    await bundle.upload("in/other.obj", b"not touched")
    record = await convert(bundle, converter, "box.obj", source=bundle.source("in/"))
    assert (record.state, record.error) == (State.SUCCEEDED, None)
    assert await bundle.results() == ["out/box.glb", "out/box.info.json", "out/box.result.json"]
    data = await bundle.result("out/box.glb")
    assert data is not None
    document = read_glb(data)
    assert len(document["images"]) == 1
    assert "uri" not in document["images"][0]
    assert record.result is not None
    assert record.result["statistics"]["triangles"] == 4
    assert record.result["outputs"][0] == {
        "path": "out/box.glb",
        "type": "glb",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "contentType": "model/gltf-binary",
    }
    head = await bundle.storage.head(bundle.converted, "out/box.glb")
    assert head is not None
    assert head.content_type == "model/gltf-binary"
    assert head.md5 == hashlib.md5(data, usedforsecurity=False).digest()
    assert await report(bundle) == [{"conversionId": "one"}, {"result": "succeeded"}]


async def test_info_json_tells_of_input_and_output(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.obj", obj())
    await convert(bundle, converter, "box.obj", (Output("glb", "other.arrAsset"),))
    info = json.loads(await bundle.result("out/box.info.json") or b"")
    assert info["files"] == {"input": "box.obj", "output": "other.arrAsset"}
    assert info["inputStatistics"]["numFaces"] == 4
    assert info["inputInfo"]["sourceAssetExtension"] == ".obj"


async def test_an_asset_holds_glb_and_says_so(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.obj", obj())
    await convert(bundle, converter, "box.obj", ASSET)
    read_glb(await bundle.result("out/box.arrAsset") or b"")
    entries = await report(bundle)
    assert entries[1]["warning"] == "asset-is-glb"
    assert entries[-1] == {"result": "succeeded with warnings"}
    assert "output" not in json.loads(await bundle.result("out/box.info.json") or b"")["files"]


async def test_linked_containers_need_no_sas(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.obj", obj())
    source = bundle.source(linked=True, sas=None)
    target = bundle.target("out/", linked=True, sas=None)
    record = await convert(bundle, converter, "box.obj", source=source, target=target)
    assert record.state is State.SUCCEEDED


@pytest.mark.parametrize("name", ["a'b\"c#d?e%25f&g.obj", "ünï ©ödé 模型.obj", "a/b/c d+e.obj"])
async def test_unusual_names_land_where_they_should(bundle: Bundle, converter: Converter, name: str) -> None:
    await bundle.upload(f"in/{name}", obj())
    stem = name.rpartition("/")[2].removesuffix(".obj")
    outputs = (Output("glb", f"{stem}.glb"),)
    record = await convert(bundle, converter, name, outputs, source=bundle.source("in/"))
    assert record.state is State.SUCCEEDED
    assert sorted(await bundle.results()) == sorted(
        f"out/{stem}.{end}" for end in ("glb", "info.json", "result.json")
    )


# --- How it fails ------------------------------------------------------------------------------


async def test_a_corrupt_model_fails_with_the_vendors_number(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.glb", b"glTF but not really")
    assert (await failed(bundle, converter, "box.glb"))[0] == "corrupt-model"
    entries = await report(bundle)
    assert entries[1]["error"] == "2007"
    assert entries[-1] == {"result": "failed"}


async def test_an_empty_model_fails(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.obj", b"")
    assert (await failed(bundle, converter, "box.obj"))[0] == "empty"
    assert (await report(bundle))[-1] == {"result": "failed"}


async def test_a_model_that_is_not_there_is_named(bundle: Bundle) -> None:
    reason, message = await failed(bundle, NeverCalled(), "box.obj")
    assert reason == "source-deleted"
    assert "box.obj" in message
    assert (await report(bundle))[-1] == {"result": "failed"}


async def test_a_container_that_is_not_there_is_told(bundle: Bundle) -> None:
    source = bundle.source(container="nowhere", sas=bundle.sas("nowhere", "rl"))
    reason, message = await failed(bundle, NeverCalled(), "box.obj", source=source)
    assert reason == "source-deleted"
    assert "ContainerNotFound" in message


@pytest.mark.parametrize(("permissions", "hours"), [("rl", -1), ("w", 1), ("r", 1)])
async def test_an_input_sas_that_does_not_open_is_told_without_showing_it(
    bundle: Bundle, permissions: str, hours: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await bundle.upload("box.obj", obj())
    sas = bundle.sas(bundle.models, permissions, hours=hours)
    reason, message = await failed(bundle, NeverCalled(), "box.obj", source=bundle.source(sas=sas))
    assert reason == "storage-denied"
    assert "SAS" in message
    signature = sas.partition("sig=")[2].partition("&")[0]
    told = message + json.dumps(await report(bundle))
    assert signature not in told


async def test_an_output_that_cannot_be_written_is_told(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.obj", obj())
    target = bundle.target(sas=bundle.sas(bundle.converted, "r"))
    reason, message = await failed(bundle, converter, "box.obj", target=target)
    assert reason == "storage-denied"
    assert "box.glb" in message
    assert await bundle.results() == []


async def test_an_output_container_that_is_not_there_is_told(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.obj", obj())
    target = bundle.target(container="nowhere", sas=bundle.sas("nowhere", "w"))
    reason, message = await failed(bundle, converter, "box.obj", target=target)
    assert reason == "storage-denied"
    assert "ContainerNotFound" in message


async def test_a_bug_ends_the_conversion_and_tells_nothing_secret(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy:
        async def convert(self, job: Job) -> Result:
            raise RuntimeError("https://account/?sig=secret")

    await bundle.upload("box.obj", obj())
    reason, message = await failed(bundle, Buggy(), "box.obj")
    assert reason == "internal-error"
    assert "RuntimeError" in message
    assert "secret" not in message + caplog.text


# --- Deliveries and deaths ---------------------------------------------------------------------


async def away(*_: object, **__: object) -> None:
    raise ServiceRequestError("https://account/?sig=secret")


async def test_storage_that_is_away_is_tried_again_and_then_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bundle.upload("box.obj", obj())
    key = await accept(bundle, "box.obj")
    worker = bundle.worker(NeverCalled())

    def away(*_: object, **__: object) -> None:
        raise ServiceRequestError("https://account/?sig=secret")

    monkeypatch.setattr("azure.storage.blob.aio.ContainerClient.list_blobs", away)
    for _ in range(2):
        with pytest.raises(Retry) as retry:
            await worker.run(key, "message")
        assert "secret" not in str(retry.value)
        assert (await bundle.record(key)).state is State.CREATED
    await worker.run(key, "message")
    record = await bundle.record(key)
    assert code(record) == "service-unavailable"
    assert (await report(bundle))[-1] == {"result": "failed"}


async def test_storage_that_fails_at_the_end_is_not_taken_for_a_death(
    bundle: Bundle, converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bundle.upload("box.obj", obj())
    key = await accept(bundle, "box.obj")
    worker = bundle.worker(converter)

    with monkeypatch.context() as broken:
        broken.setattr("shared.embedded.requests.Requests.finish", away)
        for _ in range(2):
            with pytest.raises(Retry):
                await worker.run(key, "message")
    await worker.run(key, "message")
    record = await bundle.record(key)
    assert code(record) == "service-unavailable"
    assert record.error is not None
    assert "storage failed: ServiceRequestError. Tried 2 times." in record.error.message


async def test_a_conversion_that_killed_its_worker_twice_is_not_tried_again(bundle: Bundle) -> None:
    await bundle.upload("box.obj", obj())
    key = await accept(bundle, "box.obj")
    for _ in range(2):
        assert await bundle.requests.claim(key, "message") is not None
    await bundle.worker(NeverCalled()).run(key, "message")
    record = await bundle.record(key)
    assert code(record) == "gave-up"
    assert record.error is not None
    assert "killed its converter twice" in record.error.message
    assert (await report(bundle))[-1] == {"result": "failed"}


async def test_storage_that_fails_as_it_gives_up_changes_no_reason(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bundle.upload("box.obj", obj())
    key = await accept(bundle, "box.obj")
    worker = bundle.worker(NeverCalled())
    for _ in range(2):
        assert await bundle.requests.claim(key, "message") is not None

    with monkeypatch.context() as broken:
        broken.setattr("shared.embedded.requests.Requests.finish", away)
        with pytest.raises(Retry):
            await worker.run(key, "message")
    await worker.run(key, "message")
    assert code(await bundle.record(key)) == "gave-up"


async def test_duplicate_messages_convert_once(bundle: Bundle, converter: Converter) -> None:
    jobs: list[Job] = []

    class Counting:
        async def convert(self, job: Job) -> Result:
            jobs.append(job)
            return await converter.convert(job)

    await bundle.upload("box.obj", obj())
    key = await accept(bundle, "box.obj")
    worker = bundle.worker(Counting())
    await asyncio.gather(*(worker.run(key, f"message {number}") for number in range(5)))
    await worker.run(key, "message 0")
    assert len(jobs) == 1
    assert (await bundle.record(key)).state is State.SUCCEEDED


async def test_a_message_without_a_request_is_dropped(bundle: Bundle) -> None:
    await bundle.worker(NeverCalled()).run("remote-rendering/nobody", "message")


async def test_nothing_is_left_on_the_disk(
    bundle: Bundle, converter: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = Path(tempfile.mkdtemp(prefix="modelconversion-999999999-"))
    await bundle.upload("box.obj", obj())
    await bundle.upload("bad.obj", b"")
    await convert(bundle, converter, "box.obj")
    assert dead.parent == tmp_path
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_a_small_conversion_needs_few_storage_requests(
    azurite: Azurite, converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start(azurite) as bundle:
        await bundle.upload("box.obj", obj("box.mtl"))
        await bundle.upload("box.mtl", mtl())
        sent: list[str] = []
        count_requests(monkeypatch, sent)
        await convert_counted(bundle, converter)
    # Record, message, read, claim, list, end; then three inputs' worth and three outputs.
    assert len(sent) <= 6 + 2 + 3, sent


async def convert_counted(bundle: Bundle, converter: Converter) -> None:
    key = await accept(bundle, "box.obj")
    await bundle.worker(converter).run(key, "message")


def count_requests(monkeypatch: pytest.MonkeyPatch, sent: list[str]) -> None:
    send: Callable[..., Any] = AioHttpTransport.send

    async def counted(self: AioHttpTransport, request: Any, **options: Any) -> Any:
        sent.append(f"{request.method} {request.url.partition('?')[0]}")
        return await send(self, request, **options)

    monkeypatch.setattr(AioHttpTransport, "send", counted)


# --- Callbacks ---------------------------------------------------------------------------------


async def test_the_callback_is_called_with_the_end(bundle: Bundle, converter: Converter) -> None:
    called: list[tuple[str, dict[str, Any]]] = []
    bundle.outbound = recording(bundle, called, [200])
    await bundle.upload("box.obj", obj())
    await convert(bundle, converter, "box.obj", callback="https://example.com/done")
    assert called == [("https://example.com/done", {"id": "one", "state": "succeeded"})]


async def test_a_callback_that_fails_is_repeated_and_never_changes_the_end(
    bundle: Bundle, converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.embedded.worker._CALLBACK_WAITS", (0.01, 0.01))
    called: list[tuple[str, dict[str, Any]]] = []
    bundle.outbound = recording(bundle, called, [500, OSError("away"), 503])
    await bundle.upload("box.obj", obj())
    record = await convert(bundle, converter, "box.obj", callback="https://example.com/done")
    assert len(called) == 3
    assert record.state is State.SUCCEEDED


def recording(
    bundle: Bundle, called: list[tuple[str, dict[str, Any]]], answers: list[int | OSError]
) -> Outbound:
    class Recording(Outbound):
        async def post(self, url: str, body: Any, **headers: Any) -> int:
            called.append((url, body))
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

    return Recording(bundle.settings)


# --- Killed between two steps ------------------------------------------------------------------


class Killed(BaseException):
    """The worker's end, which nothing in it can catch or clean up after."""


async def test_a_worker_killed_before_or_after_any_storage_request_leaves_a_job_that_ends_once(
    bundle: Bundle, converter: Converter
) -> None:
    await bundle.upload("box.obj", obj("box.mtl"))
    await bundle.upload("box.mtl", mtl())
    worker = bundle.worker(converter)
    points = 0
    for executed in (False, True):
        for at in range(1, 100):
            points += 1
            identity = f"{executed}-{at}"
            record, _ = await bundle.requests.accept(
                Request(
                    api="remote-rendering",
                    id=identity,
                    source=bundle.source(),
                    model="box.obj",
                    target=bundle.target(f"{identity}/"),
                    outputs=GLB,
                )
            )
            with pytest.MonkeyPatch.context() as patch:
                kill_at(patch, at, executed=executed)
                try:
                    await worker.run(record.request.key, identity)
                except Killed:
                    survived = False
                else:
                    survived = True
            await worker.run(record.request.key, identity)
            ended = await bundle.record(record.request.key)
            assert (ended.state, ended.error) == (State.SUCCEEDED, None), identity
            assert ended.tries <= 2
            assert b"sig=" not in ended.model_dump_json().encode()
            read_glb(await bundle.result(f"{identity}/box.glb") or b"")
            if survived:
                break
    assert points > 15
    listed, _ = await bundle.requests.list("remote-rendering", after=None, limit=100)
    assert len(listed) == points


def kill_at(patch: pytest.MonkeyPatch, at: int, *, executed: bool) -> None:
    """Kills at the request number ``at``: before it is sent, or before its reply is seen."""
    send: Callable[..., Any] = AioHttpTransport.send
    sent = 0

    async def counted(self: AioHttpTransport, request: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == at:
            if executed:
                await send(self, request, **options)
            raise Killed
        return await send(self, request, **options)

    patch.setattr(AioHttpTransport, "send", counted)


async def test_a_worker_killed_in_the_middle_of_a_conversion_is_followed_by_one_that_ends_it(
    bundle: Bundle, converter: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (
        b"v %d 0 %d\nv %d 1 %d\nv %d 0 %d\nf -3 -2 -1\n" % (i, j, i, j, i + 1, j)
        for i in range(200)
        for j in range(200)
    )
    triangles = b"".join(rows)
    await bundle.upload("box.obj", triangles)
    key = await accept(bundle, "box.obj", (*GLB, Output("thumbnail", "box.400x400.png", {"width": 400})))
    settings = bundle.settings.model_dump_json(exclude_none=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.embedded.killed",
        settings,
        key,
        "message",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"converting\n"
    await asyncio.sleep(0.05)
    process.kill()
    await process.wait()
    assert (await bundle.record(key)).state is State.RUNNING
    assert len(await asyncio.to_thread(lambda: list(tmp_path.iterdir()))) == 1

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    worker = bundle.worker(converter)
    await worker.run(key, "a duplicate of the message")
    assert (await bundle.record(key)).state is State.RUNNING
    await worker.run(key, "message")
    record = await bundle.record(key)
    assert (record.state, record.tries) == (State.SUCCEEDED, 2)
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []
