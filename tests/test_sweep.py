"""The sweep: what no event told of, and what nobody refers to any more."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from local.azurite import Azurite
from shared import paths
from shared.conversion import Status
from shared.intake import ResolvedSettings
from shared.storage import Blob, BlobHead
from tests.copier import Copier
from tests.pipeline import Pipeline, settings_for, start
from tests.processes import memory_of_a_sweep
from tests.shapes import block, sample
from tests.test_tick import Counts

CUBE = sample("cube.stl")
ID = "0123456789abcdef" * 2


@pytest.fixture
async def pipeline(azurite: Azurite) -> AsyncIterator[Pipeline]:
    async with start(azurite, converter=Copier(), default_formats='[{"type": "glb"}]') as running:
        await running.app.tick.run()  # the installation
        yield running


async def swept(pipeline: Pipeline) -> int:
    begun = await pipeline.app.sweep.run()
    await pipeline.settle()
    return begun


async def test_a_model_whose_event_never_came_is_found(pipeline: Pipeline) -> None:
    await pipeline.upload("a/b/CUBE.STL", CUBE)
    await pipeline.upload("a/b/readme.txt", b"no model")
    assert await swept(pipeline) == 1
    assert (await pipeline.manifest("a/b/CUBE.STL")).status is Status.SUCCESS
    assert await swept(pipeline) == 0


async def test_a_model_whose_manifest_was_deleted_is_converted_again(pipeline: Pipeline) -> None:
    first = await pipeline.convert("cube.stl", CUBE)
    await pipeline.app.storage.delete(pipeline.app.settings.converted_container, "cube.stl/manifest.json")
    assert await swept(pipeline) == 1
    assert (await pipeline.manifest("cube.stl")).id != first.id


async def test_a_failed_model_is_not_tried_at_every_sweep(pipeline: Pipeline) -> None:
    await pipeline.convert("house.rvt", b"unreadable")
    assert await swept(pipeline) == 0


async def test_a_newer_version_whose_event_was_lost_is_found(pipeline: Pipeline) -> None:
    first = await pipeline.convert("block.stl", block(2))
    await pipeline.upload("block.stl", block(3))
    assert await swept(pipeline) == 1
    manifest = await pipeline.manifest("block.stl")
    assert list(await pipeline.outputs("block.stl")) == [manifest.id] != [first.id]


async def test_what_is_in_flight_is_left_alone(pipeline: Pipeline) -> None:
    await pipeline.drop("block.stl", block(2))
    await pipeline.upload("block.stl", block(3))
    assert await pipeline.app.sweep.run() == 0


async def test_a_sidecar_whose_event_was_lost_is_found(pipeline: Pipeline) -> None:
    await pipeline.convert("cube.stl", CUBE)
    pipeline.later(2)
    await _after_a_second()
    await pipeline.upload("cube.stl.conversion.json", b'{"formats": [{"type": "stl"}]}')
    assert await swept(pipeline) == 1
    assert [item.output_type for item in (await pipeline.manifest("cube.stl")).derivatives] == ["stl"]
    assert await swept(pipeline) == 0


async def test_a_sidecar_lost_in_mid_flight_is_found(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    await _after_a_second()
    await pipeline.upload("cube.stl.conversion.json", b'{"formats": [{"type": "stl"}]}')
    await _after_a_second()
    await pipeline.settle()
    assert await swept(pipeline) == 1
    assert [item.output_type for item in (await pipeline.manifest("cube.stl")).derivatives] == ["stl"]


async def test_a_sidecar_that_says_the_same_makes_no_new_conversion(pipeline: Pipeline) -> None:
    first = await pipeline.convert("cube.stl", CUBE)
    await _after_a_second()
    await pipeline.upload("cube.stl.conversion.json", b'{"formats": [{"type": "glb"}]}')
    await swept(pipeline)
    assert await pipeline.manifest("cube.stl") == first


async def test_a_sidecar_lost_once_the_settings_were_read_is_found(
    pipeline: Pipeline, monkeypatch: Any
) -> None:
    intake = pipeline.app.tools.intake
    read = intake.settings_of

    async def stalls(path: str) -> ResolvedSettings:
        """The sidecar lands while the process that has read the settings stands still."""
        resolved = await read(path)
        monkeypatch.undo()
        await _after_a_second()
        await pipeline.upload("cube.stl.conversion.json", b'{"formats": [{"type": "stl"}]}')
        await _after_a_second()
        return resolved

    monkeypatch.setattr(intake, "settings_of", stalls)
    await pipeline.convert("cube.stl", CUBE)
    assert await swept(pipeline) == 1
    assert [item.output_type for item in (await pipeline.manifest("cube.stl")).derivatives] == ["stl"]


async def _after_a_second() -> None:
    """Last-Modified has whole seconds."""
    await asyncio.sleep(1.1)


async def test_what_landed_before_the_installation_is_an_archive(azurite: Azurite) -> None:
    async with start(azurite, converter=Copier()) as pipeline:
        await pipeline.upload("old.stl", CUBE)
        assert await pipeline.app.sweep.run() == 0
        await _after_a_second()
        await pipeline.app.tick.run()
        assert await swept(pipeline) == 0
        await pipeline.upload("new.stl", CUBE)
        assert await swept(pipeline) == 1
        assert (await pipeline.manifest("new.stl")).status is Status.SUCCESS


async def test_convert_since_says_from_when_on(azurite: Azurite) -> None:
    for since, found in (("2000-01-01T00:00:00Z", 1), ("2100-01-01T00:00:00Z", 0)):
        async with start(azurite, converter=Copier(), convert_since=since) as pipeline:
            await pipeline.upload("cube.stl", CUBE)
            assert await swept(pipeline) == found


async def stray(pipeline: Pipeline, name: str) -> None:
    await pipeline.app.storage.put(pipeline.app.settings.converted_container, name, b"late")


async def test_orphans_go_when_they_are_old_and_nothing_names_them(pipeline: Pipeline) -> None:
    manifest = await pipeline.convert("cube.stl", CUBE)
    await stray(pipeline, f"cube.stl/{ID}/cube.glb")
    await stray(pipeline, f"gone.stl/{ID}/gone.glb")
    await stray(pipeline, f"~long/{'0' * 64}/{ID}/long.glb")
    await stray(pipeline, "cube.stl/notes.txt")
    await pipeline.app.sweep.run()
    assert set(await pipeline.outputs("cube.stl")) == {manifest.id, ID}
    pipeline.later(pipeline.app.settings.deadline_seconds + 3700)
    await pipeline.app.sweep.run()
    left = [blob.name async for blob in pipeline.app.storage.list(pipeline.app.settings.converted_container)]
    names = [item.path for item in manifest.derivatives] + [log.path for log in manifest.logs]
    assert sorted(left) == sorted([*names, "cube.stl/manifest.json", "cube.stl/notes.txt"])


async def test_what_a_job_writes_when_its_conversion_has_ended_goes(azurite: Azurite) -> None:
    async with start(azurite, converter=Copier(), deadline_seconds=60) as pipeline:
        await pipeline.drop("block.stl", block(2))
        pipeline.later(200)
        await pipeline.app.tick.run()
        manifest = await pipeline.manifest("block.stl")
        assert manifest.status is Status.TIMEOUT
        await asyncio.sleep(1.1)  # a Last-Modified has no fraction
        await stray(pipeline, f"block.stl/{manifest.id}/block.glb")
        await pipeline.app.sweep.run()
        assert await pipeline.outputs("block.stl") == {manifest.id: [f"block.stl/{manifest.id}/block.glb"]}
        pipeline.later(3700)
        await pipeline.app.sweep.run()
        assert not await pipeline.outputs("block.stl")


async def test_what_the_manifest_names_stays_when_a_late_job_wrote_beside_it(pipeline: Pipeline) -> None:
    manifest = await pipeline.convert("cube.stl", CUBE)
    await asyncio.sleep(1.1)
    await stray(pipeline, f"cube.stl/{manifest.id}/late.glb")
    pipeline.later(pipeline.app.settings.deadline_seconds + 3700)
    await pipeline.app.sweep.run()
    (left,) = (await pipeline.outputs("cube.stl")).values()
    assert set(left) == manifest.names()


async def test_outputs_of_a_conversion_in_flight_are_no_orphans(pipeline: Pipeline) -> None:
    await pipeline.drop("block.stl", block(2))
    old = await pipeline.record("block.stl")
    await pipeline.work()
    await pipeline.drop("block.stl", block(3))
    new = await pipeline.record("block.stl")
    assert old and new
    for conversion_id in (new.id, *new.drop):
        await stray(pipeline, f"block.stl/{conversion_id}/x.glb")
    pipeline.later(pipeline.app.settings.deadline_seconds + 3700)
    before = await pipeline.outputs("block.stl")
    await pipeline.app.sweep.run()
    assert await pipeline.outputs("block.stl") == before


async def test_outputs_of_a_conversion_that_ends_beside_the_sweep_are_no_orphans(
    azurite: Azurite, monkeypatch: Any
) -> None:
    async with start(
        azurite,
        converter=Copier(),
        default_formats='[{"type": "glb"}]',
        deadline_seconds=60,
        claim_seconds=4000,
    ) as pipeline:
        await pipeline.drop("block.stl", block(2))
        [request] = await pipeline.requests()
        await pipeline.run(request)
        pipeline.later(60 + 3600)
        read = pipeline.app.storage.read

        async def ends_then(container: str, name: str) -> Blob | None:
            """What was there before the conversion had its manifest."""
            found = await read(container, name)
            if name == "block.stl/manifest.json":
                monkeypatch.undo()
                await pipeline.settle()
            return found

        monkeypatch.setattr(pipeline.app.storage, "read", ends_then)
        await pipeline.app.sweep.run()
        monkeypatch.undo()
        await pipeline.settle()
        manifest = await pipeline.manifest("block.stl")
        assert manifest.status is Status.SUCCESS
        assert list(await pipeline.outputs("block.stl")) == [manifest.id]


async def test_beside_a_record_that_cannot_be_read_nothing_is_an_orphan(pipeline: Pipeline) -> None:
    await stray(pipeline, f"cube.stl/{ID}/cube.glb")
    names = pipeline.app.settings
    await pipeline.app.storage.put(names.in_flight_container, paths.record("cube.stl"), b"edited")
    pipeline.later(names.deadline_seconds + 3700)
    await pipeline.upload("box.stl", CUBE)
    assert await pipeline.app.sweep.run() == 1
    assert list(await pipeline.outputs("cube.stl")) == [ID]


async def test_no_order_of_a_listing_makes_orphans(pipeline: Pipeline, monkeypatch: Any) -> None:
    manifest = await pipeline.convert("cube.stl", CUBE)
    await stray(pipeline, f"cube.stl/{ID}/cube.glb")
    pipeline.later(pipeline.app.settings.deadline_seconds + 3700)
    real = pipeline.app.storage.list

    async def backwards(container: str, prefix: str = "", **options: Any) -> AsyncIterator[BlobHead]:
        for blob in reversed([blob async for blob in real(container, prefix, **options)]):
            yield blob

    monkeypatch.setattr(pipeline.app.storage, "list", backwards)
    assert await pipeline.app.sweep.run() == 0
    assert list(await pipeline.outputs("cube.stl")) == [manifest.id]


async def test_one_broken_model_does_not_end_the_sweep(pipeline: Pipeline, monkeypatch: Any) -> None:
    consider = pipeline.app.lifecycle.consider

    async def breaks(path: str) -> bool:
        if path == "a.stl":
            raise RuntimeError("broken")
        return await consider(path)

    monkeypatch.setattr(pipeline.app.lifecycle, "consider", breaks)
    for name in ("a.stl", "b.stl"):
        await pipeline.upload(name, CUBE)
    assert await pipeline.app.sweep.run() == 1
    await pipeline.settle()
    assert (await pipeline.manifest("b.stl")).status is Status.SUCCESS


async def test_a_sweep_lists_each_container_once(azurite: Azurite) -> None:
    counts = Counts()
    async with start(
        azurite,
        converter=Copier(),
        client_options={"transport": counts},
        convert_since="2000-01-01T00:00:00Z",
    ) as pipeline:
        for number in range(3):
            await pipeline.convert(f"{number}.stl", CUBE)
        before = len(counts.requests)
        await pipeline.app.sweep.run()
        sent = [request for request in counts.requests[before:] if "queue" not in request.lower()]
        listings = [request for request in sent if "comp=list" in request]
        blob_reads = [request for request in sent if ".stl" in request]
    assert len(listings) == 3
    assert blob_reads == []


@pytest.mark.parametrize("layout", ["done", "lost", "in flight", "unnamed"])
async def test_a_sweep_needs_little_memory_for_each_model(azurite: Azurite, layout: str) -> None:
    settings = settings_for(azurite, convert_since="2020-01-01T00:00:00Z")
    loop = asyncio.get_running_loop()
    # In a process of its own, where nothing else asks for memory.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        needed = await loop.run_in_executor(process, memory_of_a_sweep, settings, layout, 20_000)
    assert needed < 250 * 20_000
