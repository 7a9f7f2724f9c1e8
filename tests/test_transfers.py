"""Services that reach no blobs: their files go through `transfer_files`, in bounded memory; a few short
ones go by the way.

The service here is the simplest that needs it: it is handed the model, and hands it back as its only
output.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from local.azurite import Azurite
from shared import paths, steps
from shared.clients import InputFile, Order, OutputFile, Progress, Started
from shared.conversion import Status, Step
from shared.problems import Code, ServiceFault
from shared.storage import Storage
from tests.pipeline import Pipeline, start

MODEL = bytes(range(256)) * 40_000  # 10 MB: three pieces
SHORT_MODEL = MODEL[: 4 * 1024 * 1024]
SIDECAR = b'{"service": "api2convert", "formats": [{"type": "glb"}]}'


class Dies(Exception):
    """The process is gone."""


class Echo:
    """A conversion service that gives back what it got."""

    name = "api2convert"
    reads = frozenset({".stl"})
    uploads = True
    downloads = True
    starts_per_minute: int | None = None

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        self.starts = 0
        self.collections = 0
        self.disposed: list[str] = []
        self.cancelled: list[str] = []
        self.states_short = False
        self.die_after_note = False

    def check(self, extension: str, formats: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> None:
        pass

    def id_ahead(
        self, conversion_id: str, files: Sequence[InputFile], options: Mapping[str, Any]
    ) -> str | None:
        return None

    async def start(self, order: Order) -> Started:
        assert order.transfer is not None
        if order.service_id is None:
            await order.transfer.note(f"job-{order.id}")
            if self.die_after_note:
                raise ServiceFault(Code.SERVICE_UNAVAILABLE, "Dropped.", transient=True)
        self.starts += 1
        pieces = [piece async for piece in order.transfer.read(order.files[0].path)]
        assert max(len(piece) for piece in pieces) <= 4 * 1024 * 1024
        self.received[order.id] = b"".join(pieces)
        return Started(order.service_id or f"job-{order.id}")

    async def poll(self, service_id: str) -> Progress:
        return Progress(Status.SUCCESS, "completed")

    async def collect(self, order: Order, polled: Progress | None = None) -> tuple[OutputFile, ...]:
        assert order.transfer is not None
        self.collections += 1
        data = self.received[order.id]

        async def chunks() -> AsyncIterator[bytes]:
            for begin in range(0, len(data), 100_000):
                yield data[begin : begin + 100_000]

        written = await order.transfer.write("model.glb", chunks(), content_type="model/gltf-binary")
        assert written.sha256 == hashlib.sha256(data).hexdigest()
        size = written.size + 1 if self.states_short else written.size
        return (OutputFile(written.path, "glb", size, written.sha256, "model/gltf-binary"),)

    async def dispose(self, service_id: str) -> None:
        self.disposed.append(service_id)

    async def cancel(self, service_id: str) -> None:
        self.cancelled.append(service_id)

    async def close(self) -> None:
        pass


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def pipeline(azurite: Azurite, echo: Echo) -> AsyncIterator[Pipeline]:
    async with start(azurite) as running:
        running.app.__dict__["services"] = {"api2convert": echo}
        await running.upload("model.stl.conversion.json", SIDECAR)
        yield running


async def test_the_trigger_hands_the_upload_over(pipeline: Pipeline, echo: Echo) -> None:
    await pipeline.drop("model.stl", MODEL)
    record = await pipeline.record("model.stl")
    assert record is not None
    assert record.step is Step.START
    assert echo.starts == 0


async def test_what_is_brought_is_what_the_service_made(pipeline: Pipeline, echo: Echo) -> None:
    manifest = await pipeline.convert("model.stl", MODEL)
    assert manifest.status is Status.SUCCESS
    (derivative,) = manifest.derivatives
    assert await pipeline.read(derivative.path) == MODEL
    assert derivative.sha256 == hashlib.sha256(MODEL).hexdigest()
    assert derivative.md5 == hashlib.md5(MODEL, usedforsecurity=False).hexdigest()
    # Whoever asked the service began to collect, and left the whole to `transfer_files`.
    assert (echo.starts, echo.collections) == (1, 2)
    assert echo.disposed == [f"job-{manifest.id}"]


async def test_a_short_model_is_moved_by_the_way(pipeline: Pipeline, echo: Echo) -> None:
    await pipeline.drop("model.stl", SHORT_MODEL)
    assert echo.starts == 1
    pipeline.later(10)
    await pipeline.app.tick.run()
    # Nothing has worked off the queue: `transfer_files` was not needed.
    manifest = await pipeline.manifest("model.stl")
    assert manifest.status is Status.SUCCESS
    (derivative,) = manifest.derivatives
    assert await pipeline.read(derivative.path) == SHORT_MODEL
    assert derivative.md5 == hashlib.md5(SHORT_MODEL, usedforsecurity=False).hexdigest()
    assert (echo.starts, echo.collections) == (1, 1)


@pytest.mark.parametrize("call", ["start", "collect"])
async def test_what_takes_long_by_the_way_is_handed_over(
    pipeline: Pipeline, echo: Echo, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    async def stuck(*_: Any) -> Any:
        await asyncio.Event().wait()

    if call == "collect":
        await pipeline.drop("model.stl", SHORT_MODEL)
        pipeline.later(10)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "_SHORT_SECONDS", 0.05)
        patch.setattr(echo, call, stuck)
        if call == "start":
            await pipeline.drop("model.stl", SHORT_MODEL)
        else:
            await pipeline.app.tick.run()
    record = await pipeline.record("model.stl")
    assert record is not None and record.handed_over
    await pipeline.settle()
    assert (await pipeline.manifest("model.stl")).status is Status.SUCCESS
    assert echo.starts == 1


async def test_a_pack_that_is_longer_than_its_files_is_handed_over(
    pipeline: Pipeline, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = echo.start

    async def packs(order: Order) -> Started:
        assert order.transfer is not None

        async def chunks() -> AsyncIterator[bytes]:
            yield SHORT_MODEL
            yield b"the directory of the pack"

        await order.transfer.stage("pack.zip", chunks())
        return await real(order)

    monkeypatch.setattr(echo, "start", packs)
    await pipeline.drop("model.stl", SHORT_MODEL)
    record = await pipeline.record("model.stl")
    assert record is not None and record.handed_over
    await pipeline.settle()
    assert (await pipeline.manifest("model.stl")).status is Status.SUCCESS


async def test_a_noted_id_is_taken_up_again(pipeline: Pipeline, echo: Echo) -> None:
    echo.die_after_note = True
    await pipeline.drop("model.stl", MODEL)
    await pipeline.settle()
    manifest = await pipeline.manifest("model.stl")
    assert manifest.status is Status.SUCCESS
    assert manifest.service is not None
    assert manifest.service.id == f"job-{manifest.id}"
    assert echo.starts == 1


async def test_the_third_death_of_a_transfer_is_the_end(pipeline: Pipeline, echo: Echo) -> None:
    deaths = 0

    async def die(order: Order) -> Started:
        nonlocal deaths
        deaths += 1
        raise Dies

    echo.start = die  # type: ignore[method-assign]
    await pipeline.drop("model.stl", MODEL)
    for _ in range(10):
        with contextlib.suppress(Dies):
            await pipeline.work()
        pipeline.later(pipeline.app.settings.claim_seconds)
        await pipeline.app.tick.run()
    manifest = await pipeline.manifest("model.stl")
    assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, Code.GAVE_UP)
    assert deaths == 3
    assert await pipeline.records() == []


@pytest.mark.parametrize("model", [SHORT_MODEL, MODEL], ids=["by the way", "by transfer_files"])
async def test_a_job_that_ended_while_nobody_ticked_for_long_is_collected(
    pipeline: Pipeline, echo: Echo, model: bytes
) -> None:
    await pipeline.drop("model.stl", model)
    await pipeline.transfer()
    assert echo.starts == 1
    pipeline.later(10 * pipeline.app.settings.deadline_seconds)
    await pipeline.app.tick.run()
    await pipeline.transfer()
    assert (await pipeline.manifest("model.stl")).status is Status.SUCCESS


async def test_outputs_that_are_never_brought_are_a_timeout_an_hour_later(
    pipeline: Pipeline, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise ServiceFault(Code.SERVICE_UNAVAILABLE, "The CDN is down.", transient=True)

    monkeypatch.setattr(echo, "collect", broken)
    await pipeline.drop("model.stl", SHORT_MODEL)
    pipeline.later(10 * pipeline.app.settings.deadline_seconds)
    await pipeline.app.tick.run()
    pipeline.later(3500)
    await pipeline.app.tick.run()
    assert await pipeline.records() == ["model.stl"]
    pipeline.later(101)
    await pipeline.app.tick.run()
    manifest = await pipeline.manifest("model.stl")
    assert manifest.status is Status.TIMEOUT
    assert "The CDN is down." in manifest.errors[0].message


async def test_outputs_whose_messages_are_all_lost_are_a_timeout_too(pipeline: Pipeline, echo: Echo) -> None:
    await pipeline.drop("model.stl", MODEL)
    await pipeline.transfer()
    pipeline.later(10 * pipeline.app.settings.deadline_seconds)
    for _ in range(3 + 3600 // int(pipeline.app.settings.claim_seconds)):
        await pipeline.app.tick.run()
        pipeline.later(pipeline.app.settings.claim_seconds + 1)
    assert await pipeline.records() == []
    assert (await pipeline.manifest("model.stl")).status is Status.TIMEOUT


async def test_an_output_that_is_not_as_stated_is_no_success(pipeline: Pipeline, echo: Echo) -> None:
    echo.states_short = True
    manifest = await pipeline.convert("model.stl", MODEL)
    assert manifest.status is Status.FAILED
    assert manifest.errors[0].code == Code.MISSING_OUTPUT


async def test_a_lost_message_only_costs_the_claim(pipeline: Pipeline, echo: Echo) -> None:
    await pipeline.drop("model.stl", MODEL)
    queue = pipeline.app.storage.queue_service.get_queue_client(pipeline.app.settings.transfer_queue)
    await queue.clear_messages()
    await pipeline.app.tick.run()
    assert await pipeline.work() == 0
    assert echo.starts == 0
    pipeline.later(pipeline.app.settings.claim_seconds)
    await pipeline.settle()
    assert (await pipeline.manifest("model.stl")).status is Status.SUCCESS


async def test_a_long_copy_keeps_its_claim(pipeline: Pipeline, echo: Echo) -> None:
    await pipeline.drop("model.stl", MODEL)
    read = Storage.stream

    async def slowly(self: Storage, *args: Any, **more: Any) -> AsyncIterator[bytes]:
        async for piece in read(self, *args, **more):
            pipeline.later(pipeline.app.settings.claim_seconds * 0.9)
            await pipeline.app.tick.run()  # finds nothing to take away
            yield piece

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Storage, "stream", slowly)
        await pipeline.work()
    await pipeline.settle()
    assert echo.starts == 1
    assert (await pipeline.manifest("model.stl")).status is Status.SUCCESS


@asynccontextmanager
async def after_the_first_piece(happens: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Something happens while a model is sent: after the first piece of it."""
    read = Storage.stream
    pieces = 0

    async def slowly(self: Storage, *args: Any, **more: Any) -> AsyncIterator[bytes]:
        nonlocal pieces
        async for piece in read(self, *args, **more):
            pieces += 1
            if pieces == 1:
                await happens()
            yield piece

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Storage, "stream", slowly)
        yield


async def test_a_model_replaced_while_it_is_sent_is_not_sent_in_two_halves(
    pipeline: Pipeline, echo: Echo
) -> None:
    newer = MODEL[::-1]
    await pipeline.drop("model.stl", MODEL)
    async with after_the_first_piece(lambda: pipeline.upload("model.stl", newer)):
        await pipeline.work()
    await pipeline.settle()
    assert list(echo.received.values()) == [newer]
    assert (await pipeline.manifest("model.stl")).status is Status.SUCCESS


async def test_new_metadata_while_a_model_is_sent_are_no_new_version(pipeline: Pipeline, echo: Echo) -> None:
    await pipeline.drop("model.stl", MODEL)
    async with after_the_first_piece(lambda: pipeline.upload("model.stl", MODEL, colour="red")):
        await pipeline.work()
    await pipeline.settle()
    manifest = await pipeline.manifest("model.stl")
    assert (manifest.status, manifest.messages) == (Status.SUCCESS, ())
    assert echo.received == {manifest.id: MODEL}


async def test_a_message_that_comes_twice_moves_the_files_once(pipeline: Pipeline, echo: Echo) -> None:
    real = echo.start

    async def beside(order: Order) -> Started:
        if not echo.starts:
            await pipeline.app.lifecycle.advance(paths.record("model.stl"), transfers=True)
        return await real(order)

    echo.start = beside  # type: ignore[method-assign]
    await pipeline.drop("model.stl", MODEL)
    await pipeline.work()
    assert echo.starts == 1


async def test_a_run_that_lost_its_record_cancels_what_it_started(pipeline: Pipeline, echo: Echo) -> None:
    ids: list[str] = []

    async def overtaken(order: Order) -> Started:
        ids.append(order.id)
        echo.received[order.id] = b"whatever"
        if len(ids) == 1:
            await pipeline.drop("model.stl", MODEL[::-1])
        return Started(f"job-{order.id}")  # of which the record knows nothing yet

    echo.start = overtaken  # type: ignore[method-assign]
    manifest = await pipeline.convert("model.stl", MODEL)
    assert ids[-1] == manifest.id
    assert echo.cancelled == [f"job-{ids[0]}"]


@pytest.mark.parametrize(
    ("model", "says"),
    [(SHORT_MODEL, Status.SUCCESS), (SHORT_MODEL, Status.INPROGRESS), (MODEL, Status.INPROGRESS)],
    ids=["the same of one that is over", "too late of one that is over", "too late of one to be collected"],
)
async def test_a_run_that_slept_cancels_nothing_that_another_has_found_to_have_ended(
    pipeline: Pipeline, echo: Echo, model: bytes, says: Status
) -> None:
    await pipeline.drop("model.stl", model)
    await pipeline.transfer()
    advance, name = pipeline.app.lifecycle.advance, paths.record("model.stl")
    real = echo.poll

    async def slow(service_id: str) -> Progress:
        echo.poll = real  # type: ignore[method-assign]
        pipeline.later(10 * pipeline.app.settings.deadline_seconds)
        await advance(name)
        return Progress(says, "what it was before")

    pipeline.later(10)
    echo.poll = slow  # type: ignore[method-assign]
    await advance(name)
    assert echo.cancelled == []
    await pipeline.transfer()
    manifest = await pipeline.manifest("model.stl")
    assert manifest.status is Status.SUCCESS
    assert (echo.cancelled, echo.disposed) == ([], [f"job-{manifest.id}"])


async def test_a_job_that_times_out_is_cancelled_when_the_manifest_says_so(
    pipeline: Pipeline, echo: Echo
) -> None:
    async def running(service_id: str) -> Progress:
        return Progress(Status.INPROGRESS, "processing")

    echo.poll = running  # type: ignore[method-assign]
    await pipeline.drop("model.stl", SHORT_MODEL)
    pipeline.later(pipeline.app.settings.deadline_seconds + 10)
    await pipeline.app.tick.run()
    manifest = await pipeline.manifest("model.stl")
    assert manifest.status is Status.TIMEOUT
    assert (echo.cancelled, echo.disposed) == ([f"job-{manifest.id}"], [])


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (ServiceFault(Code.SERVICE_UNAVAILABLE, "Down.", transient=True), 2),
        (ServiceFault(Code.SERVICE_REFUSED, "No.", transient=False), 1),
        (RuntimeError("a bug"), 1),
    ],
    ids=["later", "never", "bug"],
)
async def test_a_cancel_that_fails_is_repeated_if_it_may_be_heard_and_stops_nothing(
    pipeline: Pipeline, echo: Echo, fault: Exception, told: int
) -> None:
    calls: list[str] = []

    async def cancel(service_id: str) -> None:
        calls.append(service_id)
        if len(calls) == 1:
            raise fault

    echo.cancel = cancel  # type: ignore[method-assign]
    await pipeline.drop("model.stl", SHORT_MODEL)
    record = await pipeline.record("model.stl")
    assert record is not None
    manifest = await pipeline.convert("model.stl", SHORT_MODEL[::-1])
    assert manifest.status is Status.SUCCESS
    assert calls == [f"job-{record.id}"] * told


async def test_a_short_deadline_leaves_no_longer_for_collecting(azurite: Azurite, echo: Echo) -> None:
    async def broken(*_: Any) -> Any:
        raise ServiceFault(Code.SERVICE_UNAVAILABLE, "The CDN is down.", transient=True)

    echo.collect = broken  # type: ignore[method-assign, assignment]
    async with start(azurite, deadline_seconds=100) as pipeline:
        pipeline.app.__dict__["services"] = {"api2convert": echo}
        await pipeline.upload("model.stl.conversion.json", SIDECAR)
        await pipeline.drop("model.stl", SHORT_MODEL)
        pipeline.later(90)
        await pipeline.app.tick.run()
        pipeline.later(50)
        await pipeline.app.tick.run()
        assert await pipeline.records() == ["model.stl"]
        pipeline.later(51)
        await pipeline.app.tick.run()
        assert (await pipeline.manifest("model.stl")).status is Status.TIMEOUT


@pytest.mark.parametrize(("ahead", "most"), [(2, 1), (6, 3), (600, 30)])
async def test_a_published_limit_is_kept_by_the_tick(
    pipeline: Pipeline, echo: Echo, ahead: float, most: int
) -> None:
    echo.starts_per_minute = 30
    for number in range(4):
        await pipeline.upload(f"{number}.stl.conversion.json", SIDECAR)
        await pipeline.drop(f"{number}.stl", b"solid")
    await pipeline.app.tick.run()  # from here on the time is counted
    await pipeline.work()
    before = echo.starts
    assert before <= 1
    pipeline.later(ahead)
    await pipeline.app.tick.run()
    await pipeline.work()
    assert echo.starts - before <= most
    await pipeline.settle(rounds=20)
    assert echo.starts == 4


async def test_a_message_of_an_earlier_conversion_starts_nothing_that_the_tick_counts(
    pipeline: Pipeline, echo: Echo
) -> None:
    echo.starts_per_minute = 30
    await pipeline.drop("model.stl", MODEL)
    await pipeline.app.lifecycle.advance(paths.record("model.stl"), transfers=True)
    assert echo.starts == 0
    await pipeline.settle()
    assert echo.starts == 1
