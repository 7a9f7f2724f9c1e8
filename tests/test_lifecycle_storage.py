"""Storage that fails in the midst of a step: the step is taken again, and that is no death of it."""

import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import AioHttpTransport

from local.azurite import Azurite
from shared.conversion import Conversion, Status, Step
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import block, sample

CUBE = sample("cube.stl")


class Breaks(AioHttpTransport):  # type: ignore[misc]
    """The connection breaks at each request that ``what`` names by its method and URL: before the reply, or
    where ``unsent``, before storage has heard of it."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = False
        self.what: Callable[[str, str], bool] = lambda method, url: False

    async def send(self, request: Any, **kwargs: Any) -> Any:
        breaks = self.what(request.method, request.url)
        if breaks and self.unsent:
            raise ServiceRequestError(f"no way to {request.url}")
        response = await super().send(request, **kwargs)
        if breaks:
            raise ServiceResponseError(f"no reply from {request.url}")
        return response

    async def __aexit__(self, *exception: object) -> None:
        """One of several clients that use it has ended."""


@pytest.fixture
def breaks(no_back_off: None) -> Breaks:
    return Breaks()


@pytest.fixture
async def pipeline(azurite: Azurite, breaks: Breaks) -> AsyncIterator[Pipeline]:
    options = {"transport": breaks}
    async with start(
        azurite, converter=Copier(), client_options=options, default_formats='[{"type": "glb"}]'
    ) as opened:
        yield opened


async def record(pipeline: Pipeline) -> Conversion:
    found = await pipeline.record("cube.stl")
    assert found
    return found


async def rounds(pipeline: Pipeline, count: int) -> None:
    for _ in range(count):
        await pipeline.work()
        pipeline.later(70)
        await pipeline.app.tick.run()


def reads_settings(method: str, url: str) -> bool:
    return method == "GET" and "conversion.json" in url and "models-" in url


def lists_outputs(method: str, url: str) -> bool:
    return "comp=list" in url and "converted-" in url and "prefix=cube.stl" in url


def reads_manifests(method: str, url: str) -> bool:
    return method == "GET" and "converted-" in url and "comp=list" not in url


def record_writes(first: int, last: int) -> Callable[[str, str], bool]:
    """Those with these numbers, from now on; one that breaks is tried four times."""
    written = itertools.count(1)

    def is_one(method: str, url: str) -> bool:
        is_write = method == "PUT" and "in-flight-" in url and "tick.lock" not in url
        return is_write and first <= next(written) <= last

    return is_one


@pytest.mark.parametrize(
    ("what", "step"),
    [(reads_settings, Step.INTAKE), (lists_outputs, Step.COLLECT)],
    ids=["intake", "collect"],
)
async def test_a_step_that_storage_breaks_off_is_taken_again_however_often(
    pipeline: Pipeline, breaks: Breaks, what: Callable[[str, str], bool], step: Step
) -> None:
    breaks.what = what
    await pipeline.drop("cube.stl", CUBE)
    await rounds(pipeline, 6)
    conversion = await record(pipeline)
    assert (conversion.step, conversion.tries) == (step, 0)
    assert conversion.fault == "Storage did not answer (ServiceResponseError)."
    breaks.what = lambda method, url: False
    pipeline.later(70)
    await pipeline.settle()
    assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS
    assert len(await pipeline.jobs()) == 1


async def test_settings_that_storage_never_gives_are_a_timeout(pipeline: Pipeline, breaks: Breaks) -> None:
    breaks.what = reads_settings
    await pipeline.drop("cube.stl", CUBE)
    pipeline.later(pipeline.app.settings.deadline_seconds)
    for _ in range(4):
        await pipeline.app.tick.run()
        assert await pipeline.records() == ["cube.stl"]  # the app may have been stopped all the time
        pipeline.later(70)
    await pipeline.app.tick.run()
    manifest = await pipeline.manifest("cube.stl")
    assert (manifest.status, manifest.errors[0].code) == (Status.TIMEOUT, "timeout")
    assert "did not begin within 21600 s" in manifest.errors[0].message
    assert "Storage did not answer (ServiceResponseError)." in manifest.errors[0].message
    assert await pipeline.records() == []


async def test_a_job_that_is_found_to_have_ended_late_is_no_timeout_because_storage_fails(
    pipeline: Pipeline, breaks: Breaks
) -> None:
    await pipeline.drop("cube.stl", CUBE)
    [request] = await pipeline.requests()
    await pipeline.run(request)
    pipeline.later(pipeline.app.settings.deadline_seconds + 60)
    breaks.what, breaks.unsent = record_writes(1, 4), True
    await pipeline.app.tick.run()
    conversion = await record(pipeline)
    assert (conversion.step, conversion.faults) == (Step.POLL, 1)
    pipeline.later(10)
    await pipeline.app.tick.run()
    assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS


async def test_what_a_broken_run_warned_of_is_not_told_when_it_has_landed(
    pipeline: Pipeline, breaks: Breaks
) -> None:
    await pipeline.drop("box.obj", b"mtllib box.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    pipeline.later(pipeline.app.settings.grace_seconds + 1)
    breaks.what, breaks.unsent = record_writes(2, 5), True  # after the claim
    await pipeline.app.tick.run()
    [path] = await pipeline.records()
    assert path == "box.obj"
    breaks.what = lambda method, url: False
    await pipeline.upload("box.mtl", b"newmtl red\n")
    pipeline.later(10)
    await pipeline.app.tick.run()
    await pipeline.settle()
    manifest = await pipeline.manifest("box.obj")
    assert (manifest.status, manifest.messages) == (Status.SUCCESS, ())
    assert [companion.path for companion in manifest.source.companions] == ["box.mtl"]


async def test_a_newer_version_that_storage_breaks_off_is_taken_again(
    pipeline: Pipeline, breaks: Breaks
) -> None:
    await pipeline.drop("cube.stl", block(2))
    breaks.what = reads_manifests
    await pipeline.drop("cube.stl", CUBE)  # whose run is to tell the service of the one before, first of all
    conversion = await record(pipeline)
    assert (conversion.step, conversion.tries, conversion.faults) == (Step.INTAKE, 0, 1)
    breaks.what = lambda method, url: False
    await pipeline.settle()
    manifest = await pipeline.manifest("cube.stl")
    assert manifest.status is Status.SUCCESS
    assert await pipeline.read(manifest.derivatives[0].path) == CUBE


@pytest.mark.parametrize(("unsent", "step", "faults"), [(True, Step.START, 1), (False, Step.POLL, 0)])
async def test_a_start_that_could_not_be_recorded_is_one_start(
    pipeline: Pipeline, breaks: Breaks, unsent: bool, step: Step, faults: int
) -> None:
    # Accepted, entered the start, and then could not say that it was started.
    breaks.what, breaks.unsent = record_writes(3, 6), unsent
    await pipeline.drop("cube.stl", CUBE)
    conversion = await record(pipeline)
    assert (conversion.step, conversion.faults) == (step, faults)
    pipeline.later(30)
    await pipeline.app.tick.run()
    await pipeline.settle()
    assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS
    assert len(await pipeline.jobs()) == 1


async def test_an_error_that_no_later_try_would_mend_is_counted(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> None:
        error = HttpResponseError("an address?sig=secret")
        error.status_code = 400
        raise error

    monkeypatch.setattr("shared.intake.Intake.settings_of", refused)
    with pytest.raises(HttpResponseError):
        await pipeline.drop("cube.stl", CUBE)
    assert (await record(pipeline)).tries == 1
    for _ in range(3):
        pipeline.later(301)
        await pipeline.app.tick.run()
    manifest = await pipeline.manifest("cube.stl")
    assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, "gave-up")
