"""Events at once from several processes, versions in mid-flight, and replies that get lost."""

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.transport import AioHttpTransport

from local.azurite import Azurite
from shared.conversion import Status
from shared.embedded.converter import Converter
from tests.copier import Copier
from tests.pipeline import Pipeline, settings_for, start
from tests.processes import consider
from tests.shapes import block, longest_side, sample

CUBE = sample("cube.stl")
GLB = '[{"type": "glb"}]'


async def width(pipeline: Pipeline, path: str) -> set[float]:
    """The longest sides of everything that the manifest names, which must be whole."""
    manifest = await pipeline.manifest(path)
    assert manifest.status is Status.SUCCESS
    sides = set()
    for item in manifest.derivatives:
        data = await pipeline.read(item.path)
        assert len(data) == item.size
        sides.add(longest_side(data))
    return sides


async def test_events_from_four_processes_at_once_are_one_job(azurite: Azurite, converter: Converter) -> None:
    settings = settings_for(azurite, default_formats=GLB)
    async with start(azurite, converter=converter, **settings) as pipeline:
        await pipeline.upload("cube.stl", CUBE)
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as processes:

            async def everywhere() -> int:
                calls = (loop.run_in_executor(processes, consider, settings, "cube.stl", 5) for _ in range(4))
                return sum(await asyncio.gather(*calls))

            assert await everywhere() == 1
            await pipeline.settle()
            first = await pipeline.manifest("cube.stl")
            assert first.status is Status.SUCCESS
            await everywhere()
        await pipeline.settle()
        assert await pipeline.manifest("cube.stl") == first
        assert len(await pipeline.jobs()) == 1
        assert list(await pipeline.outputs("cube.stl")) == [first.id]


async def test_of_two_versions_the_newer_wins_although_the_older_job_ends_last(pipeline: Pipeline) -> None:
    await pipeline.drop("block.stl", block(2))
    [older] = await pipeline.requests()
    old = await pipeline.record("block.stl")
    await pipeline.drop("block.stl", block(3))
    [newer] = await pipeline.requests()
    await pipeline.run(newer)
    await pipeline.settle()
    assert await width(pipeline, "block.stl") == {3}
    manifest = await pipeline.manifest("block.stl")
    # The model is the new one by now; what the old job writes must be nobody's all the same.
    await pipeline.run(older)
    await pipeline.settle()
    assert old
    assert await pipeline.manifest("block.stl") == manifest
    assert await width(pipeline, "block.stl") == {3}
    assert set(await pipeline.outputs("block.stl")) == {old.id, manifest.id}
    pipeline.later(pipeline.app.settings.deadline_seconds + 2 * 3600)
    await pipeline.app.sweep.run()
    assert list(await pipeline.outputs("block.stl")) == [manifest.id]
    assert await width(pipeline, "block.stl") == {3}


async def test_what_a_superseded_job_wrote_before_the_end_goes_with_it(pipeline: Pipeline) -> None:
    await pipeline.drop("block.stl", block(2))
    [older] = await pipeline.requests()
    await pipeline.upload("block.stl", block(3))
    await pipeline.run(older)
    await pipeline.event("block.stl")
    await pipeline.settle()
    manifest = await pipeline.manifest("block.stl")
    assert list(await pipeline.outputs("block.stl")) == [manifest.id]
    assert await width(pipeline, "block.stl") == {3}


async def test_a_new_version_whose_event_is_late_is_seen_at_the_end(pipeline: Pipeline) -> None:
    await pipeline.drop("block.stl", block(2))
    [older] = await pipeline.requests()
    await pipeline.run(older)
    await pipeline.upload("block.stl", block(3))
    await pipeline.settle()
    assert await width(pipeline, "block.stl") == {3}
    manifest = await pipeline.manifest("block.stl")
    head = await pipeline.app.tools.head("block.stl")
    assert head and manifest.source.etag == head.etag
    assert list(await pipeline.outputs("block.stl")) == [manifest.id]


@pytest.mark.parametrize("other", [b"no model at all", None], ids=["corrupt", "deleted"])
async def test_a_failure_of_what_was_there_in_between_is_not_the_models(
    pipeline: Pipeline, other: bytes | None
) -> None:
    await pipeline.drop("block.stl", block(2))
    [request] = await pipeline.requests()
    await (pipeline.upload("block.stl", other) if other else pipeline.delete("block.stl"))
    await pipeline.run(request)
    await pipeline.drop("block.stl", block(2))  # the same bytes as before
    await pipeline.settle()
    manifest = await pipeline.manifest("block.stl")
    assert (manifest.status, manifest.messages) == (Status.SUCCESS, ())
    head = await pipeline.app.tools.head("block.stl")
    assert head and manifest.source.etag == head.etag
    assert list(await pipeline.outputs("block.stl")) == [manifest.id]
    assert len(await pipeline.jobs()) == 2


async def test_a_failure_of_the_bytes_themselves_is_told_once(pipeline: Pipeline) -> None:
    await pipeline.drop("block.stl", b"no model at all")
    [request] = await pipeline.requests()
    await pipeline.run(request)
    await pipeline.upload("block.stl", b"no model at all", colour="red")
    await pipeline.settle()
    manifest = await pipeline.manifest("block.stl")
    assert [error.code for error in manifest.errors] == ["corrupt-model"]
    head = await pipeline.app.tools.head("block.stl")
    assert head and manifest.source.etag == head.etag
    assert len(await pipeline.jobs()) == 2  # nobody knows which of the two the first one read


async def test_a_new_version_before_the_start_is_the_only_one_converted(azurite: Azurite) -> None:
    # With a limit the trigger only records, so the model can change before anything starts.
    async with start(azurite, max_in_flight=1, default_formats=GLB) as pipeline:
        await pipeline.drop("block.stl", block(2))
        await pipeline.drop("block.stl", block(3))
        await pipeline.settle()
        assert await width(pipeline, "block.stl") == {3}
        assert len(await pipeline.jobs()) == 1


async def test_a_late_event_of_an_old_version_changes_nothing(pipeline: Pipeline) -> None:
    await pipeline.convert("block.stl", block(2))
    await pipeline.convert("block.stl", block(3))
    await pipeline.event("block.stl")
    await pipeline.settle()
    assert await width(pipeline, "block.stl") == {3}
    assert len(await pipeline.jobs()) == 2


async def test_versions_that_land_at_every_moment_leave_the_last_one(pipeline: Pipeline) -> None:
    async def land() -> None:
        for side in range(2, 8):
            await pipeline.drop("block.stl", block(side))

    async def time_passes() -> None:
        for _ in range(12):
            pipeline.later(6)
            await asyncio.gather(pipeline.app.tick.run(), pipeline.app.tick.run(), pipeline.work())

    await asyncio.gather(land(), time_passes())
    await pipeline.settle()
    assert await width(pipeline, "block.stl") == {7}


async def test_a_model_deleted_before_its_start_has_a_manifest_that_says_so(azurite: Azurite) -> None:
    async with start(azurite, grace_seconds=30) as pipeline:
        await pipeline.drop("empty.stl", b"")
        await pipeline.app.storage.delete(pipeline.app.settings.models_container, "empty.stl")
        await pipeline.settle()
        manifest = await pipeline.manifest("empty.stl")
        assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, "source-deleted")
        assert "Upload it again" in manifest.errors[0].message


async def test_a_model_deleted_in_mid_flight_before_it_was_read_fails(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    await pipeline.app.storage.delete(pipeline.app.settings.models_container, "cube.stl")
    await pipeline.settle()
    manifest = await pipeline.manifest("cube.stl")
    assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, "source-deleted")


async def test_a_model_deleted_after_it_was_read_is_converted_with_a_warning(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    [request] = await pipeline.requests()
    await pipeline.run(request)
    await pipeline.app.storage.delete(pipeline.app.settings.models_container, "cube.stl")
    await pipeline.settle()
    manifest = await pipeline.manifest("cube.stl")
    assert manifest.status is Status.SUCCESS
    assert [warning.code for warning in manifest.warnings] == ["source-deleted"]


class LosesReplies(AioHttpTransport):  # type: ignore[misc]
    """Performs requests, and loses the reply to one write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.lose: int | None = None

    async def send(self, request: Any, **kwargs: Any) -> Any:
        response = await super().send(request, **kwargs)
        # Messages are deleted by the platform.
        if request.method in ("PUT", "DELETE", "POST") and "/messages/" not in request.url:
            number = len(self.writes)
            self.writes.append(f"{request.method} {request.url.partition('?')[0]}")
            if number == self.lose:
                raise ServiceResponseError("the connection broke before the reply")
        return response

    async def __aexit__(self, *exception: object) -> None:
        """One of several clients that use it has ended."""


async def one_life(pipeline: Pipeline, path: str) -> None:
    """A model and then a new version of it: two jobs, and the manifest of the second."""
    await pipeline.convert(path, block(2))
    await pipeline.convert(path, block(3))
    manifest = await pipeline.manifest(path)
    assert await pipeline.read(manifest.derivatives[0].path) == block(3)
    assert list(await pipeline.outputs(path)) == [manifest.id]
    assert manifest.messages == ()


async def test_a_lost_reply_to_any_write_changes_nothing(azurite: Azurite) -> None:
    transport = LosesReplies()
    async with start(
        azurite, converter=Copier(), client_options={"transport": transport}, default_formats=GLB
    ) as pipeline:
        await one_life(pipeline, "first.stl")  # whose first tick also writes the lock
        begun = len(transport.writes)
        await one_life(pipeline, "whole.stl")
        writes = transport.writes[begun:]
        assert len(writes) > 15
        for number, write in enumerate(writes):
            transport.lose = len(transport.writes) + number
            try:
                await one_life(pipeline, f"{number}.stl")
            except AssertionError as error:
                raise AssertionError(f"after the lost reply to {write}: {error}") from error
            assert len(transport.writes) > transport.lose
        assert len(await pipeline.jobs()) == 2 * (len(writes) + 2)
