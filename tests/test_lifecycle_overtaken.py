"""What happens between two requests of one run: it was only slow, and finds out."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from local.azurite import Azurite
from shared import paths
from shared.conversion import Outcome, Status, Step
from shared.in_flight import InFlight
from shared.manifest import Manifests, build
from shared.storage import BlobHead
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import block

PATH = "parts/block.stl"


@pytest.fixture
async def pipeline(azurite: Azurite) -> AsyncIterator[Pipeline]:
    async with start(azurite, converter=Copier(), default_formats='[{"type": "glb"}]') as running:
        yield running


def once(
    patch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    happens: Callable[[], Awaitable[object]],
    *,
    after: bool = False,
) -> None:
    """Before the next call of a method, or ``after`` it, something happens."""
    real = getattr(where, name)

    async def slow(*arguments: Any, **more: Any) -> Any:
        patch.setattr(where, name, real)
        if after:
            result = await real(*arguments, **more)
            await happens()
            return result
        await happens()
        return await real(*arguments, **more)

    patch.setattr(where, name, slow)


async def assert_whole(pipeline: Pipeline, data: bytes, *, jobs: int) -> None:
    """The manifest is of ``data``, and names all that there is."""
    manifest = await pipeline.manifest(PATH)
    assert manifest.status is Status.SUCCESS
    head = await pipeline.app.tools.head(PATH)
    assert head and manifest.source.etag == head.etag
    assert await pipeline.read(manifest.derivatives[0].path) == data
    assert list(await pipeline.outputs(PATH)) == [manifest.id]
    assert len(await pipeline.jobs()) == jobs


async def converted(pipeline: Pipeline, data: bytes) -> str:
    """The record of a model that the service has converted, which the pipeline has yet to find out."""
    await pipeline.drop(PATH, data)
    for request in await pipeline.requests():
        await pipeline.run(request)
    pipeline.later(10)
    return paths.record(PATH)


async def test_a_newer_version_whose_event_overtakes_is_converted_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.upload(PATH, block(2))
    # The slow event knows the older version's ETag, and not yet of any record.
    once(monkeypatch, pipeline.app.storage, "head", lambda: pipeline.drop(PATH, block(3)), after=True)
    await pipeline.event(PATH)
    await pipeline.settle()
    await assert_whole(pipeline, block(3), jobs=1)


async def test_a_version_that_overtakes_the_event_of_another_in_mid_flight_is_converted_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.drop(PATH, block(2))
    await pipeline.upload(PATH, block(3))

    async def look_again() -> None:
        """The event has found out that there is a record; at its second look it is slow."""
        once(monkeypatch, pipeline.app.storage, "head", lambda: pipeline.drop(PATH, block(4)), after=True)

    once(monkeypatch, pipeline.app.storage, "create", look_again)
    await pipeline.event(PATH)
    await pipeline.settle()
    await assert_whole(pipeline, block(4), jobs=2)


async def test_a_version_that_lands_between_record_and_intake_is_the_only_one_converted(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.upload(PATH, block(2))
    once(monkeypatch, InFlight, "create", lambda: pipeline.upload(PATH, block(3)), after=True)
    await pipeline.event(PATH)
    await pipeline.settle()
    await assert_whole(pipeline, block(3), jobs=1)


class Dies(Exception):
    """The process is gone."""


@pytest.mark.parametrize("dies_at", [None, "intake", "start", "collect"])
async def test_a_step_that_is_at_work_is_not_begun_beside_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, dies_at: str | None
) -> None:
    tools, lifecycle = pipeline.app.tools, pipeline.app.lifecycle
    service = tools.services["remote-rendering"]
    begun: list[str] = []

    async def begin(step: str) -> None:
        begun.append(step)
        if step == dies_at and begun.count(step) == 1:
            raise Dies
        if len(begun) < 10:
            await lifecycle.advance(paths.record(PATH))

    settings_of, start_at, listed = tools.intake.settings_of, service.start, tools.storage.list

    async def intake(path: str) -> Any:
        await begin("intake")
        return await settings_of(path)

    async def start_it(order: Any) -> Any:
        await begin("start")
        return await start_at(order)

    async def listing(container: str, prefix: str = "", **more: Any) -> AsyncIterator[BlobHead]:
        if container == tools.converted:
            await begin("collect")
        async for blob in listed(container, prefix, **more):
            yield blob

    monkeypatch.setattr(tools.intake, "settings_of", intake)
    monkeypatch.setattr(service, "start", start_it)
    monkeypatch.setattr(tools.storage, "list", listing)
    with contextlib.suppress(Dies):
        await pipeline.drop(PATH, block(2))
    for _ in range(3):
        for request in await pipeline.requests():
            await pipeline.run(request)
        pipeline.later(tools.pace.claim + 1)
        with contextlib.suppress(Dies):
            await lifecycle.advance(paths.record(PATH))
    expected = {"intake": 1, "start": 1, "collect": 1} | ({dies_at: 2} if dies_at else {})
    assert Counter(begun) == expected
    assert (await pipeline.manifest(PATH)).status is Status.SUCCESS


async def test_a_new_version_is_seen_although_the_process_died_before_the_manifest(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die() -> None:
        raise Dies

    name = await converted(pipeline, block(2))
    once(monkeypatch, Manifests, "write", die)
    with pytest.raises(Dies):
        await pipeline.app.lifecycle.advance(name)
    record = await pipeline.record(PATH)
    assert record and record.step is Step.FINISH
    await pipeline.upload(PATH, block(3))  # whose event is late
    pipeline.later(pipeline.app.settings.claim_seconds)
    await pipeline.settle()
    await assert_whole(pipeline, block(3), jobs=2)


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_run_that_slept_replaces_no_newer_manifest(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    if not is_first:
        await pipeline.convert(PATH, block(1))
    name = await converted(pipeline, block(2))
    once(monkeypatch, Manifests, "write", lambda: pipeline.convert(PATH, block(3)))
    await pipeline.app.lifecycle.advance(name)
    await assert_whole(pipeline, block(3), jobs=2 if is_first else 3)


async def test_a_run_that_slept_replaces_no_manifest_that_was_kept(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def back() -> None:
        """The settings are again those of the manifest that is there."""
        await pipeline.drop(f"{PATH}.conversion.json", b'{"formats": [{"type": "glb"}]}')

    kept = await pipeline.convert(PATH, block(2))
    await pipeline.drop(f"{PATH}.conversion.json", b'{"formats": [{"type": "stl"}]}')
    for request in await pipeline.requests():
        await pipeline.run(request)
    pipeline.later(10)
    once(monkeypatch, Manifests, "write", back)
    await pipeline.app.lifecycle.advance(paths.record(PATH))
    assert await pipeline.manifest(PATH) == kept
    assert list(await pipeline.outputs(PATH)) == [kept.id]
    assert await pipeline.records() == []


async def test_a_failure_that_slept_replaces_no_manifest_that_was_kept(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mended() -> None:
        await pipeline.drop(f"{PATH}.conversion.json", b'{"formats": [{"type": "glb"}]}')

    kept = await pipeline.convert(PATH, block(2))
    once(monkeypatch, Manifests, "write", mended)
    await pipeline.drop(f"{PATH}.conversion.json", b'{"formatz": []}')
    assert await pipeline.manifest(PATH) == kept
    assert list(await pipeline.outputs(PATH)) == [kept.id]
    assert await pipeline.records() == []


async def test_a_version_that_lands_at_the_last_moment_keeps_its_record(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await converted(pipeline, block(2))
    once(monkeypatch, InFlight, "delete", lambda: pipeline.drop(PATH, block(3)))
    await pipeline.app.lifecycle.advance(name)
    await pipeline.settle()
    await assert_whole(pipeline, block(3), jobs=2)


async def test_until_there_is_a_new_manifest_the_files_of_the_old_one_are_there(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await pipeline.convert(PATH, block(2))
    name = await converted(pipeline, block(3))
    found: list[bytes] = []

    async def read_the_old() -> None:
        assert await pipeline.manifest(PATH) == old
        found.append(await pipeline.read(old.derivatives[0].path))

    once(monkeypatch, Manifests, "write", read_the_old)
    await pipeline.app.lifecycle.advance(name)
    assert found == [block(2)]
    await assert_whole(pipeline, block(3), jobs=2)


async def test_a_manifest_that_appeared_meanwhile_is_replaced_and_its_files_go(pipeline: Pipeline) -> None:
    name = await converted(pipeline, block(2))
    record = await pipeline.record(PATH)
    assert record is not None
    # Of a run that nobody knows of: its record was unreadable, or somebody deleted it.
    other = record.changed(id="0" * 32, outcome=Outcome(status=Status.SUCCESS))
    tools = pipeline.app.tools
    await tools.manifests.write(build(other, tools.now()), None, tools.now())
    await tools.storage.put(tools.converted, f"{paths.outputs(PATH, other.id)}/block.glb", b"late")
    await pipeline.app.lifecycle.advance(name)
    await assert_whole(pipeline, block(2), jobs=1)


async def test_a_model_that_goes_when_the_service_has_read_it_is_converted(pipeline: Pipeline) -> None:
    await converted(pipeline, block(2))
    await pipeline.delete(PATH)
    await pipeline.settle()
    manifest = await pipeline.manifest(PATH)
    assert manifest.status is Status.SUCCESS
    assert [warning.code for warning in manifest.warnings] == ["source-deleted"]
    assert await pipeline.read(manifest.derivatives[0].path) == block(2)


async def test_a_version_that_came_and_went_is_not_passed_off_as_the_one_before(pipeline: Pipeline) -> None:
    await pipeline.drop(PATH, block(2))
    await pipeline.upload(PATH, block(3))
    for request in await pipeline.requests():
        await pipeline.run(request)
    await pipeline.delete(PATH)
    await pipeline.settle()
    manifest = await pipeline.manifest(PATH)
    assert (manifest.status, manifest.derivatives) == (Status.FAILED, ())
    assert [error.code for error in manifest.errors] == ["source-deleted"]
    assert set(await pipeline.outputs(PATH)) == {manifest.id}


async def test_metadata_that_change_before_and_after_the_service_reads_are_no_other_version(
    pipeline: Pipeline,
) -> None:
    await pipeline.drop(PATH, block(2))
    await pipeline.upload(PATH, block(2), colour="red")
    for request in await pipeline.requests():
        await pipeline.run(request)
    await pipeline.upload(PATH, block(2), colour="green")
    await pipeline.settle()
    await assert_whole(pipeline, block(2), jobs=1)


async def test_a_version_that_was_there_only_while_the_service_read_is_not_mixed_in(
    pipeline: Pipeline,
) -> None:
    await pipeline.drop(PATH, block(2))
    await pipeline.upload(PATH, block(3))
    for request in await pipeline.requests():
        await pipeline.run(request)
    await pipeline.upload(PATH, block(2))
    await pipeline.settle()
    await assert_whole(pipeline, block(2), jobs=2)
