"""The life of a conversion, on real storage and with real conversions: one landing, one conversion."""

import asyncio

from local.azurite import Azurite
from shared.conversion import Status, Step
from shared.embedded.converter import Converter
from tests.pipeline import Pipeline, start
from tests.shapes import block, longest_side, sample

CUBE = sample("cube.stl")


async def test_a_model_that_lands_is_converted(azurite: Azurite, converter: Converter) -> None:
    async with start(azurite, converter=converter) as pipeline:
        manifest = await pipeline.convert("cube.stl", CUBE)
        assert manifest.status is Status.SUCCESS
        assert [item.output_type for item in manifest.derivatives] == ["thumbnail", "glb"]
        for item in manifest.derivatives:
            assert len(await pipeline.read(item.path)) == item.size
            assert item.sha256
        assert [log.path.rpartition("/")[2] for log in manifest.logs] == [
            "cube.info.json",
            "cube.result.json",
        ]
        assert manifest.has_thumbnail == "true"
        assert len(await pipeline.jobs()) == 1
        assert await pipeline.records() == []


async def test_the_trigger_alone_starts_a_conversion(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    record = await pipeline.record("cube.stl")
    assert record and record.step is Step.POLL
    assert record.service_id


async def test_a_callback_ends_a_conversion_without_a_tick(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    await pipeline.work()
    assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS
    assert await pipeline.records() == []


async def test_extensions_are_known_in_any_case(pipeline: Pipeline) -> None:
    assert (await pipeline.convert("Parts/CUBE.STL", CUBE)).status is Status.SUCCESS


async def test_companions_and_unknown_files_start_nothing(pipeline: Pipeline) -> None:
    for name in ("cube.mtl", "checks.png", "cube.bin", "notes.txt", "conversion.json", "no-extension"):
        await pipeline.drop(name, b"whatever")
    assert await pipeline.records() == []
    assert await pipeline.outputs("cube.mtl") == {}


async def test_the_same_event_at_once_and_again_later_is_one_conversion(pipeline: Pipeline) -> None:
    await pipeline.upload("cube.stl", CUBE)
    await asyncio.gather(*(pipeline.event("cube.stl") for _ in range(5)))
    await pipeline.settle()
    first = await pipeline.manifest("cube.stl")
    await asyncio.gather(*(pipeline.event("cube.stl") for _ in range(5)))
    await pipeline.settle()
    assert (await pipeline.manifest("cube.stl")) == first
    assert len(await pipeline.jobs()) == 1


async def test_an_event_that_comes_again_in_mid_flight_changes_nothing(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    before = await pipeline.record("cube.stl")
    assert before is not None and before.step is Step.POLL
    await pipeline.event("cube.stl")
    assert await pipeline.record("cube.stl") == before
    assert len(await pipeline.jobs()) == 1


async def test_a_repeated_event_does_not_convert_a_failed_model_again(pipeline: Pipeline) -> None:
    first = await pipeline.convert("cube.stl", b"solid but not an STL")
    assert first.status is Status.FAILED
    await pipeline.event("cube.stl")
    assert await pipeline.records() == []
    assert await pipeline.manifest("cube.stl") == first
    assert len(await pipeline.jobs()) == 1


async def test_a_deleted_manifest_lets_an_event_convert_again(pipeline: Pipeline) -> None:
    first = await pipeline.convert("cube.stl", CUBE)
    await pipeline.app.storage.delete(pipeline.app.settings.converted_container, "cube.stl/manifest.json")
    await pipeline.event("cube.stl")
    await pipeline.settle()
    assert (await pipeline.manifest("cube.stl")).id != first.id
    assert len(await pipeline.jobs()) == 2


async def test_the_same_bytes_under_a_new_etag_only_move_the_manifest(pipeline: Pipeline) -> None:
    first = await pipeline.convert("cube.stl", CUBE)
    await pipeline.drop("cube.stl", CUBE)
    second = await pipeline.manifest("cube.stl")
    assert second.source.etag != first.source.etag
    assert second.source.etag == (await pipeline.app.tools.head("cube.stl")).etag  # type: ignore[union-attr]
    assert second.id == first.id
    assert await pipeline.records() == []
    assert await pipeline.app.sweep.run() == 0
    assert len(await pipeline.jobs()) == 1


async def test_the_same_bytes_of_a_failed_model_are_tried_again(pipeline: Pipeline) -> None:
    first = await pipeline.convert("cube.stl", b"solid but not an STL")
    second = await pipeline.convert("cube.stl", b"solid but not an STL")
    assert first.id != second.id
    assert list(await pipeline.outputs("cube.stl")) == [second.id]


async def test_a_metadata_change_in_mid_flight_is_no_new_version(pipeline: Pipeline) -> None:
    await pipeline.drop("cube.stl", CUBE)
    await pipeline.upload("cube.stl", CUBE, colour="red")
    await pipeline.event("cube.stl")
    await pipeline.settle()
    head = await pipeline.app.tools.head("cube.stl")
    manifest = await pipeline.manifest("cube.stl")
    assert head and manifest.source.etag == head.etag
    assert manifest.status is Status.SUCCESS
    assert len(await pipeline.jobs()) == 1


async def test_a_new_version_replaces_the_manifest_and_the_old_files_go(pipeline: Pipeline) -> None:
    first = await pipeline.convert("a/block.stl", block(2))
    second = await pipeline.convert("a/block.stl", block(3))
    assert list(await pipeline.outputs("a/block.stl")) == [second.id]
    assert first.id != second.id
    assert longest_side(await pipeline.read(second.derivatives[0].path)) == 3


async def test_dropping_old_files_leaves_a_neighbour_whose_name_begins_alike(pipeline: Pipeline) -> None:
    neighbour = await pipeline.convert("block.stl.stl", block(2))
    await pipeline.convert("block.stl", block(2))
    await pipeline.convert("block.stl", block(3))
    assert longest_side(await pipeline.read(neighbour.derivatives[0].path)) == 2
