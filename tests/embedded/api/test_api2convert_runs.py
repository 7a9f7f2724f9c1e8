"""Runs of jobs that are stopped, die, are repeated, or meet what cannot be fetched."""

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from local.azurite import Azurite
from shared.embedded.api.api2convert import runner
from shared.embedded.converter import Converter
from shared.embedded.engine.job import Job, Made, Result
from tests.embedded.api.jobs import Service, target
from tests.embedded.bundle import ACCOUNT_KEY, start
from tests.embedded.models import encrypted, obj, packed

Handler = Callable[[web.BaseRequest], Any]


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[str]:
    """A server on this machine; its address."""

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        reply = handler(request)
        answer: web.StreamResponse = await reply if asyncio.iscoroutine(reply) else reply
        return answer

    site_runner = web.ServerRunner(web.Server(serve))
    await site_runner.setup()
    site = web.TCPSite(site_runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site_runner.addresses[0][1]}"
    finally:
        await site_runner.cleanup()


class Waits:
    """An engine that is at work until it is told to go on, or stopped."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.stopped = asyncio.Event()

    async def convert(self, job: Job) -> Result:
        self.asked += [wanted.type for wanted in job.outputs]
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        (wanted,) = job.outputs
        await asyncio.to_thread(Path(job.output_folder, wanted.name).write_bytes, b"made")
        return Result(made=(Made(wanted.type, wanted.name, 4, "", "model/gltf-binary"),))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr("shared.embedded.api.api2convert.inputs._WAITS", (0.0, 0.0))
    monkeypatch.setattr("shared.embedded.api.api2convert.notices._WAITS", (0.0, 0.0))


async def test_deleting_a_job_stops_its_conversion(
    service: Service, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Waits()
    service.worker = service.bundle.worker(engine)
    job = await service.created(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    work = asyncio.create_task(service.work())
    await engine.begun.wait()
    assert (await service.job(job))["status"]["code"] == "processing"
    assert (await service.call("DELETE", f"/jobs/{job['id']}")).status_code == 204
    await asyncio.wait_for(work, 10)
    assert engine.stopped.is_set()
    assert await service.files(job) == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def begun(service: Service) -> tuple[Waits, dict[str, Any], asyncio.Task[None]]:
    """A job of two conversions, the first of which an engine is at."""
    engine = Waits()
    service.worker = service.bundle.worker(engine)
    job = await service.created(
        input=[await service.remote("box.obj", obj())], conversion=[target("glb"), target("stl")]
    )
    work = asyncio.create_task(service.work())
    await engine.begun.wait()
    return engine, job, work


async def test_deleting_a_conversion_stops_it_and_leaves_the_others(service: Service, quick: None) -> None:
    engine, job, work = await begun(service)
    first = f"/jobs/{job['id']}/conversions/{job['conversion'][0]['id']}"
    assert (await service.call("DELETE", first)).status_code == 204
    await asyncio.wait_for(engine.stopped.wait(), 10)
    engine.go_on.set()
    await asyncio.wait_for(work, 10)
    done = await service.job(job)
    assert done["status"]["code"] == "completed"
    assert [output["filename"] for output in done["output"]] == ["box.stl"]


async def test_a_conversion_that_is_deleted_before_its_turn_is_not_begun(service: Service) -> None:
    engine, job, work = await begun(service)
    second = f"/jobs/{job['id']}/conversions/{job['conversion'][1]['id']}"
    assert (await service.call("DELETE", second)).status_code == 204
    engine.go_on.set()
    await work
    assert engine.asked == ["glb"]
    assert [output["filename"] for output in (await service.job(job))["output"]] == ["box.glb"]


async def test_deleting_all_inputs_of_a_running_job_cancels_it(service: Service, quick: None) -> None:
    engine = Waits()
    service.worker = service.bundle.worker(engine)
    job = await service.created(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    work = asyncio.create_task(service.work())
    await engine.begun.wait()
    await service.call("DELETE", f"/jobs/{job['id']}/input/{job['input'][0]['id']}")
    await asyncio.wait_for(work, 10)
    done = await service.job(job)
    assert (done["status"]["code"], done["output"]) == ("canceled", [])


async def test_what_a_run_is_at_is_seen_meanwhile(service: Service) -> None:
    engine, asked, go_on = Waits(), asyncio.Queue[str](), asyncio.Semaphore(0)
    service.worker = service.bundle.worker(engine)

    async def serve(request: web.BaseRequest) -> web.Response:
        asked.put_nowait(request.path)
        await go_on.acquire()
        return web.Response(body=obj())

    async with answering(serve) as url:
        remotes = [{"type": "remote", "source": f"{url}/{name}.obj"} for name in "ab"]
        job = await service.created(input=remotes, conversion=[target("glb")])
        work = asyncio.create_task(service.work())
        for number, statuses in enumerate((["downloading", "ready"], ["ready", "downloading"])):
            assert await asked.get() == f"/{'ab'[number]}.obj"
            seen = await service.job(job)
            assert seen["status"]["code"] == "downloading"
            assert [item["status"] for item in seen["input"]] == statuses
            assert [item["size"] > 0 for item in seen["input"]] == [number == 1, False]
            go_on.release()
        await engine.begun.wait()
        seen = await service.job(job)
        assert seen["status"]["code"] == "processing"
        assert [(item["status"], item["size"]) for item in seen["input"]] == [("ready", len(obj()))] * 2
        engine.go_on.set()
        await work
    assert (await service.job(job))["status"]["code"] == "completed"


async def test_a_run_that_was_overtaken_changes_nothing(service: Service) -> None:
    engine = Waits()
    overtaken = service.bundle.worker(engine)
    job = await service.created(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    ((key, message),) = await service.bundle.take()
    work = asyncio.create_task(overtaken.run(key, message))
    await engine.begun.wait()
    await service.worker.run(key, message)
    done = await service.job(job)
    assert done["status"]["code"] == "completed"
    engine.go_on.set()
    await work
    assert await service.job(job) == done


async def test_a_run_that_died_is_done_again_and_leaves_no_second_output(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await service.created(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    ((key, message),) = await service.bundle.take()

    class Killed(BaseException):
        pass

    async def die(self: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(runner._Run, "_end", die)
        await service.worker.run(key, message)
    assert (await service.job(job))["status"]["code"] == "processing"
    assert len([name for name in await service.files(job) if "/out/" in name]) == 1
    await service.worker.run(key, message)
    done = await service.job(job)
    assert done["status"]["code"] == "completed"
    assert len(done["output"]) == 1
    assert len([name for name in await service.files(job) if "/out/" in name]) == 1


async def test_a_job_that_kills_its_worker_twice_fails(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await service.created(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    ((key, message),) = await service.bundle.take()

    class Killed(BaseException):
        pass

    async def die(self: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runner._Run, "run", die)
        for _ in range(2):
            with pytest.raises(Killed):
                await service.worker.run(key, message)
    await service.worker.run(key, message)
    done = await service.job(job)
    assert done["status"]["code"] == "failed"
    assert done["errors"][0]["details"] == {"code": "gave-up"}


async def test_a_bug_of_ours_fails_the_job(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bug(self: Any) -> None:
        raise ZeroDivisionError("sig=a-secret")

    monkeypatch.setattr(runner._Run, "run", bug)
    done = await service.convert(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    assert done["status"]["code"] == "failed"
    assert "ZeroDivisionError" in done["errors"][0]["message"]
    assert "a-secret" not in json.dumps(done)


async def test_a_lost_message_is_found_when_the_job_is_asked_for(service: Service) -> None:
    job = await service.created(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    await service.bundle.take()
    # The process died between the job and its request.
    await service.bundle.requests.forget(f"api2convert/{job['id']}")
    await service.job(job)
    await service.work()
    assert (await service.job(job))["status"]["code"] == "completed"


async def test_an_end_that_is_delivered_twice_is_one(service: Service) -> None:
    done = await service.convert(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    await service.run_key(done)
    assert await service.job(done) == done


# --- Remote inputs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "tries"), [(404, 17, 1), (403, 17, 1), (401, 17, 1), (410, 17, 1), (500, 1, 3)]
)
async def test_what_the_host_answers_decides_the_code(
    service: Service, quick: None, status: int, code: int, tries: int
) -> None:
    asked: list[str] = []

    def refuse(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status)

    async with answering(refuse) as url:
        remote = {"type": "remote", "source": f"{url}/a.stl"}
        done = await service.convert(input=[remote], conversion=[target("glb")])
    assert done["status"]["code"] == "failed"
    assert done["errors"][0]["code"] == code
    assert len(asked) == tries


async def test_a_name_comes_from_the_reply_and_the_redirect(service: Service) -> None:
    def serve(request: web.BaseRequest) -> web.Response:
        if request.path == "/start":
            return web.Response(status=302, headers={"Location": "/end?x=1"})
        assert request.path == "/end"
        headers = {"Content-Disposition": 'attachment; filename="b\u00f6x.obj"'}
        return web.Response(body=obj(), headers=headers)

    async with answering(serve) as url:
        remote = {"type": "remote", "source": f"{url}/start"}
        done = await service.convert(input=[remote], conversion=[target("glb")])
    assert done["input"][0]["filename"] == "b\u00f6x.obj"
    assert done["output"][0]["filename"] == "b\u00f6x.glb"
    assert done["output"][0]["uri"].endswith("/b%C3%B6x.glb")
    assert (await service.download(done["output"][0]["uri"])).status_code == 200


@pytest.mark.parametrize(
    "location", ["https://10.0.0.1/x.stl", "https://169.254.169.254/x.stl", "http://example.com/x.stl", "/"]
)
async def test_a_redirect_to_a_blocked_address_or_without_end_is_code_1(
    service: Service, quick: None, location: str
) -> None:
    async with answering(lambda _: web.Response(status=302, headers={"Location": location})) as url:
        remote = {"type": "remote", "source": f"{url}/a.stl"}
        done = await service.convert(input=[remote], conversion=[target("glb")])
    assert [error["code"] for error in done["errors"]] == [1]


@pytest.mark.parametrize(
    "source", ["https://10.0.0.1/a.stl", "https://[::1]/a.stl", "https://nowhere.invalid/a.stl"]
)
async def test_an_address_that_is_blocked_or_unknown_is_code_1(
    service: Service, quick: None, source: str
) -> None:
    done = await service.convert(input=[{"type": "remote", "source": source}], conversion=[target("glb")])
    assert [error["code"] for error in done["errors"]] == [1]


async def test_a_file_without_end_is_cut_off(small_service: Service, quick: None) -> None:
    async def pour(request: web.BaseRequest) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        try:
            for _ in range(64):
                await reply.write(b"x" * 1024 * 1024)
        except ConnectionError:
            pass
        return reply

    async with answering(pour) as url:
        remote = {"type": "remote", "source": f"{url}/a.stl"}
        done = await small_service.convert(input=[remote], conversion=[target("glb")])
    (error,) = done["errors"]
    assert error["details"] == {"code": "too-large"}
    assert error["source"] == "input"


@pytest.fixture
async def small_service(azurite: Azurite, converter: Converter) -> AsyncIterator[Service]:
    """A service that takes inputs of 1 MiB."""
    async with start(azurite, embedded_apis="api2convert", engine_input_mb=1) as bundle:
        transport = httpx.ASGITransport(bundle.api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
            yield Service(bundle, client, bundle.worker(converter))


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.stl", b"solid, and nothing else", "corrupt-model"),
        ("a.stl", b"", "empty"),
        ("a.zip", b"no zip", "corrupt-model"),
        ("a.zip", packed({"a.obj": obj(), "b.obj": obj()}), "invalid-settings"),
        ("a.png", b"no picture", "corrupt-model"),
    ],
)
async def test_a_damaged_input_fails_its_conversion(
    service: Service, name: str, data: bytes, code: str
) -> None:
    wanted = target("png") if name.endswith(".png") else target("glb")
    done = await service.convert(input=[await service.remote(name, data)], conversion=[wanted])
    (error,) = done["errors"]
    assert (error["source"], error["id_source"]) == ("conversion", done["conversion"][0]["id"])
    assert error["details"] == {"code": code}


@pytest.mark.parametrize(
    ("name", "to"), [("a.docx", "glb"), ("a.png", "glb"), ("a", "stl"), ("a.png", "thumbnail")]
)
async def test_a_pair_that_there_is_not_is_code_6004(service: Service, name: str, to: str) -> None:
    done = await service.convert(input=[await service.remote(name, b"data")], conversion=[target(to)])
    assert [error["code"] for error in done["errors"]] == [6004]


async def test_an_encrypted_zip_opens_with_its_password(service: Service) -> None:
    data = encrypted("box.obj", obj(), b"sesame")
    wrong = {"decrypt_password": "wrong"}
    for credentials, status in (
        ({}, "failed"),
        (wrong, "failed"),
        ({"decrypt_password": "sesame"}, "completed"),
    ):
        remote = await service.remote("box.zip", data) | {"credentials": credentials}
        done = await service.convert(input=[remote], conversion=[target("glb")])
        assert done["status"]["code"] == status
        assert "sesame" not in (await service.record(done)).model_dump_json()


# --- Callbacks ---------------------------------------------------------------------------------


async def heard(
    service: Service, *replies: int, **body: Any
) -> tuple[dict[str, Any], list[tuple[dict[str, Any], bytes]]]:
    """Runs a job with a callback that answers with ``replies``; what it was told."""
    told: list[tuple[dict[str, Any], bytes]] = []
    statuses = list(replies)

    async def listen(request: web.BaseRequest) -> web.Response:
        told.append((dict(request.headers), await request.read()))
        return web.Response(status=statuses.pop(0) if len(statuses) > 1 else statuses[0])

    async with answering(listen) as url:
        wanted = {"input": [await service.remote("box.obj", obj())], "conversion": [target("glb")]}
        job = await service.convert(**wanted | {"callback": f"{url}/hook"} | body)
    return job, told


async def test_the_end_is_told_once_with_the_whole_job_signed(service: Service) -> None:
    job, told = await heard(service, 200)
    ((headers, content),) = told
    assert json.loads(content) == job
    signature = hmac.new(ACCOUNT_KEY.encode(), content, hashlib.sha256).hexdigest()
    assert headers["X-Oc-Signature"] == headers["X-Api2convert-Signature"] == signature
    assert headers["Content-Type"] == "application/json"


async def test_every_status_is_told_where_that_is_asked_for(service: Service) -> None:
    _, told = await heard(service, 200, notify_status=True)
    codes = [json.loads(content)["status"]["code"] for _, content in told]
    assert codes == ["pending", "downloading", "queued", "processing", "completed"]


async def test_a_failure_is_told_too(service: Service) -> None:
    _, told = await heard(service, 200, input=[{"type": "cloud", "source": "ftp"}])
    assert [json.loads(content)["status"]["code"] for _, content in told] == ["failed"]


@pytest.mark.parametrize(
    ("replies", "calls"), [((500, 200), 2), ((429, 503, 204), 3), ((404,), 1), ((500,), 3)]
)
async def test_a_callback_that_fails_is_tried_again(
    service: Service, quick: None, replies: tuple[int, ...], calls: int
) -> None:
    job, told = await heard(service, *replies)
    assert len(told) == calls
    assert job["status"]["code"] == "completed"


async def test_an_end_that_could_not_be_told_is_told_by_the_next_run(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    async def listen(request: web.BaseRequest) -> web.Response:
        told.append(json.loads(await request.read())["status"]["code"])
        return web.Response()

    class Killed(BaseException):
        pass

    async def die(self: Any, job: Any) -> None:
        if job.is_final:
            raise Killed

    async with answering(listen) as url:
        job = await service.created(
            input=[await service.remote("box.obj", obj())],
            conversion=[target("glb")],
            callback=f"{url}/hook",
        )
        ((key, message),) = await service.bundle.take()
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr("shared.embedded.api.api2convert.notices.Notices.tell", die)
            await service.worker.run(key, message)
        assert told == []
        assert (await service.job(job))["status"]["code"] == "completed"
        for _ in range(2):
            await service.worker.run(key, message)
    assert told == ["completed"]
