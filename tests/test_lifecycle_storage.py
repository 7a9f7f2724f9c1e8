"""Storage that fails in the midst of a step: the step is taken again, and that is no death of it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport

from local.azurite import Azurite
from shared.conversion import Conversion, Status, Step
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import sample

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
def breaks(monkeypatch: pytest.MonkeyPatch) -> Breaks:
    async def at_once(transport: object, seconds: float) -> None:
        """No back-off between the storage client's tries."""

    monkeypatch.setattr(AsyncHttpTransport, "sleep", at_once)
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
    assert conversion.fault == "Storage did not answer (ServiceResponseError), 5 times."
    breaks.what = lambda method, url: False
    pipeline.later(70)
    await pipeline.settle()
    assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS
    assert len(await pipeline.jobs()) == 1


async def test_settings_that_storage_never_gives_are_a_timeout(pipeline: Pipeline, breaks: Breaks) -> None:
    breaks.what = reads_settings
    await pipeline.drop("cube.stl", CUBE)
    pipeline.later(pipeline.app.settings.deadline_seconds)
    await pipeline.app.tick.run()
    manifest = await pipeline.manifest("cube.stl")
    assert (manifest.status, manifest.errors[0].code) == (Status.TIMEOUT, "timeout")
    assert "did not begin within 21600 s" in manifest.errors[0].message
    assert "Storage did not answer (ServiceResponseError), 5 times." in manifest.errors[0].message
    assert await pipeline.records() == []


@pytest.mark.parametrize(("unsent", "step", "faults"), [(True, Step.START, 1), (False, Step.POLL, 0)])
async def test_a_start_that_could_not_be_recorded_is_one_start(
    pipeline: Pipeline, breaks: Breaks, unsent: bool, step: Step, faults: int
) -> None:
    writes: list[str] = []

    def enters_poll(method: str, url: str) -> bool:
        if method == "PUT" and "in-flight-" in url:
            writes.append(url)
        return method == "PUT" and "in-flight-" in url and 2 < len(writes) <= 7

    breaks.what, breaks.unsent = enters_poll, unsent
    await pipeline.drop("cube.stl", CUBE)
    conversion = await record(pipeline)
    # Accepted, entered the start, and then could not say that it was started.
    assert (len(writes), conversion.step, conversion.faults) == (8, step, faults)
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
