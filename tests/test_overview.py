"""The list of conversions, over pages of listings."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.azurite import Azurite
from shared.conversion import Issue, Status
from shared.overview import Overview
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import sample

CUBE = sample("cube.stl")


@pytest.fixture
async def pipeline(azurite: Azurite) -> AsyncIterator[Pipeline]:
    async with start(azurite, converter=Copier()) as running:
        yield running


class SmallPages:
    """A container client whose listings have pages of three blobs, where Azure's have 5,000."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def list_blobs(self, **options: Any) -> Any:
        return self._client.list_blobs(**(options | {"results_per_page": 3}))


async def every(overview: Overview, prefix: str, status: Status | None, limit: int) -> tuple[list[str], int]:
    """The paths on all pages, and how many pages there were."""
    paths: list[str] = []
    pages = 0
    cursor = None
    while True:
        page = await overview.page(prefix, status, limit, cursor)
        paths += [item["path"] for item in page.conversions]
        pages += 1
        cursor = page.next
        if cursor is None:
            return paths, pages


async def test_pages_go_on_where_the_last_one_ended(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.stl" for number in range(5)]
    for name in names:
        await pipeline.convert(name, CUBE)
    await pipeline.convert("failed.rvt", b"x")
    await pipeline.drop("running.stl", CUBE)
    service = pipeline.app.storage.blob_service
    real = service.get_container_client
    monkeypatch.setattr(service, "get_container_client", lambda name: SmallPages(real(name)))
    overview = pipeline.app.overview
    paths, pages = await every(overview, "", None, 1)
    assert paths == ["running.stl", *names, "failed.rvt"]  # what is in flight comes first, and once
    assert pages > 3
    paths, pages = await every(overview, "", Status.SUCCESS, 1000)
    assert (paths, pages) == (names, 1)
    assert await every(overview, "", Status.PENDING, 1) == (["running.stl"], 1)
    assert (await every(overview, "f", None, 1))[0] == ["failed.rvt"]


async def test_a_model_with_a_long_name_is_told_by_its_whole_name_in_flight(pipeline: Pipeline) -> None:
    name = "ü" * 1020 + ".stl"
    await pipeline.drop(name, CUBE)
    page = await pipeline.app.overview.page("ü", None, 10, None)
    assert [item["path"] for item in page.conversions] == [name]


@pytest.mark.parametrize("name", ["ü" * 600 + "x" * 200 + ".stl", "a/" * 210 + "cube.stl"])
async def test_a_model_with_a_long_name_is_told_by_it_in_the_end_too(pipeline: Pipeline, name: str) -> None:
    await pipeline.convert(name, CUBE)
    [told] = (await pipeline.app.overview.page("", None, 10, None)).conversions
    assert told["path"] == name
    assert told["manifest"].startswith("~long/")


async def test_a_name_that_no_metadata_can_hold_is_told_by_its_folder(pipeline: Pipeline) -> None:
    await pipeline.convert("ü" * 1020 + ".stl", CUBE)
    [told] = (await pipeline.app.overview.page("", None, 10, None)).conversions
    assert told["path"] == told["manifest"].removesuffix("/manifest.json")


async def test_a_service_in_strange_words_is_listed_as_it_is(pipeline: Pipeline) -> None:
    await pipeline.convert("cube.stl", CUBE)
    stored = await pipeline.app.tools.manifests.of("cube.stl")
    assert stored and stored.manifest
    issue = Issue(source="conversion", id_source="x", code="Ungültig %", message="m")
    changed = stored.manifest.model_copy(update={"errors": (issue,)})
    await pipeline.app.tools.manifests.write(changed, stored.etag, changed.timings.accepted)
    [told] = (await pipeline.app.overview.page("", None, 10, None)).conversions
    assert told["code"] == "Ungültig %"
