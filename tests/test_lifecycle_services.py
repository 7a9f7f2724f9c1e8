"""Services that refuse, break off, throttle, hang or lie: each conversion ends, and says what to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.clients import Progress, transport
from shared.conversion import Conversion, Status, Step
from shared.manifest import Manifest
from tests.clients.orders import jwt
from tests.clients.service import Asked, Service, answer, running
from tests.copier import Copier
from tests.pipeline import ACCOUNT_ID, Pipeline, start
from tests.shapes import sample

CUBE = sample("cube.stl")
CREATE = "createWithSharedAccessSignature"
CREATED = answer(200, {"conversionId": "job"}, MS_CV="trace.1")


def failure(**error: str) -> bytes:
    return answer(200, {"status": "Failure", "error": error})


def success(*outputs: dict[str, Any]) -> bytes:
    return answer(200, {"status": "Success", "result": {"outputs": list(outputs)} if outputs else None})


@asynccontextmanager
async def with_service(
    azurite: Azurite, create: Any = CREATED, poll: Any = None, **changes: Any
) -> AsyncIterator[tuple[Pipeline, Service]]:
    """A bundle whose conversion service answers what it is told to."""
    async with running() as service:
        service.says = {
            CREATE: create if isinstance(create, list) else [create],
            "job": poll if isinstance(poll, list) else [poll or answer(200, {"status": "Running"})],
        }
        async with start(
            azurite,
            http=httpx.AsyncHTTPTransport(),
            remote_rendering_endpoint=service.url,
            remote_rendering_account_id=ACCOUNT_ID,
            remote_rendering_token=jwt(),
            **changes,
        ) as pipeline:
            yield pipeline, service


async def record(pipeline: Pipeline, path: str = "cube.stl") -> Conversion:
    found = await pipeline.record(path)
    assert found is not None
    return found


async def wait(pipeline: Pipeline, path: str = "cube.stl") -> float:
    """How long until the conversion is due again."""
    return ((await record(pipeline, path)).due_at - pipeline.app.tools.now()).total_seconds()


async def end(pipeline: Pipeline) -> tuple[str, str]:
    """Drops a model; the code and message it fails with."""
    await pipeline.drop("cube.stl", CUBE)
    await pipeline.settle(rounds=40, seconds=400)
    manifest = await pipeline.manifest("cube.stl")
    assert manifest.status in (Status.FAILED, Status.TIMEOUT)
    assert "sig=" not in manifest.encode().decode()
    return str(manifest.errors[0].code), manifest.errors[0].message


REFUSALS: list[tuple[str, Any, Any, str, str]] = [
    ("401 to the start", answer(401), None, "service-unauthorized", "Check the account id"),
    ("403 to the start", answer(403, {"error": "no"}), None, "service-unauthorized", "Check the account id"),
    ("404 to the start", answer(404), None, "service-not-found", "Check REMOTE_RENDERING_ENDPOINT"),
    ("400 with a reason", answer(400, {"error": "no FBX today"}), None, "service-refused", "no FBX today"),
    ("400 in strange words", answer(400, {"error": "no \ud800 FBX"}), None, "service-refused", "FBX"),
    ("400 in the other shape", answer(400, {"error": {"code": "Bad", "message": "no FBX"}}), None,
     "service-refused", "no FBX"),
    ("a redirect", answer(302, Location="https://elsewhere.test"), None, "service-bad-reply", "endpoint"),
    ("HTML", answer(200, b"<html>hello</html>"), None, "service-bad-reply", "not JSON"),
    ("half a body", b'HTTP/1.1 200 X\r\nContent-Length: 90\r\n\r\n{"conv', None,
     "service-bad-reply", "broke off"),
    ("a list", answer(200, []), None, "service-bad-reply", "no object"),
    ("no id", answer(200, {}), None, "service-bad-reply", ""),
    ("HTML to a poll", CREATED, answer(200, b"<html>"), "service-bad-reply", "not JSON"),
    ("404 to a poll", CREATED, answer(404), "service-lost-conversion", ""),
    ("401 to a poll", CREATED, answer(401), "service-unauthorized", "Check the account id"),
    ("no status", CREATED, answer(200, {}), "service-bad-reply", ""),
    ("its own failure", CREATED, failure(code="7", message="Bad mesh"), "7", "Bad mesh"),
    ("a failure without words", CREATED, failure(), "conversion-failed", "no reason"),
    ("a failure in strange words", CREATED,
     failure(code="Ungültig\n\u20ac\ud800" + "x" * 5000, message="Schl\u00fcssel \ud800 fehlt\n!"),
     "Ungültig", "fehlt"),
    ("success without files", CREATED, success(), "missing-output", "wrote no output"),
    ("success with a file that is not there", CREATED,
     success({"path": "nowhere/cube.glb", "type": "glb"}), "missing-output", "cube.glb (missing)"),
    ("500 for ever", answer(500, {"error": "boom"}), None, "timeout", "boom"),
    ("429 for ever", answer(429), None, "timeout", ""),
    ("500 to polls for ever", CREATED, answer(500), "timeout", "500"),
    ("never an end", CREATED, answer(200, {"status": "Running"}), "timeout", "inprogress"),
    ("a word that nobody knows", CREATED, answer(200, {"status": "Pondering"}), "timeout", "inprogress"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("create", "poll", "code", "said"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
async def test_a_service_at_fault_ends_in_a_manifest(
    azurite: Azurite, create: Any, poll: Any, code: str, said: str
) -> None:
    async with with_service(azurite, create, poll, deadline_seconds=2000) as (pipeline, _):
        found, message = await end(pipeline)
    assert found.startswith(code)
    assert said in message
    assert len(found) <= 200
    assert len(message) < 2000


async def test_a_service_that_never_answers_ends_in_a_timeout(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_CALL_SECONDS", 0.05)
    async with with_service(azurite, [None], deadline_seconds=600) as (pipeline, _):
        code, message = await end(pipeline)
    assert code == "timeout"
    assert "did not answer in time" in message


async def test_a_transient_fault_is_tried_again_later_and_later(azurite: Azurite) -> None:
    async with with_service(azurite, answer(503)) as (pipeline, service):
        await pipeline.drop("cube.stl", CUBE)
        waits = []
        for _ in range(6):
            waits.append(await wait(pipeline))
            pipeline.later(waits[-1] + 1.5)
            await pipeline.app.tick.run()
        assert len(service.asked_for(CREATE)) == 7
        # A Date has whole seconds, so "now" may be one of them behind.
        assert all(2**n - 0.1 <= waits[n] <= 2 ** (n + 1) + 1.5 for n in range(6)), waits
        keys = {asked.headers["idempotency-key"] for asked in service.asked_for(CREATE)}
        assert keys == {(await record(pipeline)).id}


async def test_after_faults_a_service_may_still_succeed(azurite: Azurite) -> None:
    faults = [answer(503), answer(200, b"<html>"), answer(429), CREATED]
    polls = [answer(500), answer(200, b"<"), answer(200, {"status": "Running"})]
    async with with_service(azurite, faults, polls) as (pipeline, service):
        await pipeline.drop("cube.stl", CUBE)
        for _ in range(8):
            pipeline.later(40)
            await pipeline.app.tick.run()
        found = await record(pipeline)
        assert (found.step, found.faults, found.status) == (Step.POLL, 0, Status.INPROGRESS)
        assert len(service.asked_for(CREATE)) == 4


async def test_one_bad_reply_after_many_outages_is_not_the_last_straw(azurite: Azurite) -> None:
    faults = [*[answer(503)] * 6, answer(200, b"<html>"), CREATED]
    async with with_service(azurite, faults) as (pipeline, _):
        await pipeline.drop("cube.stl", CUBE)
        for _ in range(9):
            pipeline.later(300)
            await pipeline.app.tick.run()
        assert (await record(pipeline)).step is Step.POLL


async def test_retry_after_counts_first(azurite: Azurite) -> None:
    async with with_service(azurite, answer(429, Retry_After="77")) as (pipeline, _):
        await pipeline.drop("cube.stl", CUBE)
        assert 76 < await wait(pipeline) <= 77


async def test_a_429_holds_back_every_conversion_of_the_service(azurite: Azurite) -> None:
    creates = [answer(429, Retry_After="60"), CREATED]
    async with with_service(azurite, creates) as (pipeline, service):
        await pipeline.drop("a.stl", CUBE)
        await pipeline.drop("b.stl", CUBE)
        pipeline.later(30)
        await pipeline.app.tick.run()
        assert len(service.asked) == 1
        assert await wait(pipeline, "b.stl") > 29
        pipeline.later(35)
        await pipeline.app.tick.run()
        assert len(service.asked_for(CREATE)) == 3
        # It was never asked before, so nothing can have been started twice.
        assert (await record(pipeline, "b.stl")).messages == ()


async def test_a_repeated_start_at_a_service_without_keys_is_a_warning(azurite: Azurite) -> None:
    async with with_service(azurite, [answer(500), CREATED]) as (pipeline, _):
        await pipeline.drop("cube.stl", CUBE)
        pipeline.later(10)
        await pipeline.app.tick.run()
        assert [message.code for message in (await record(pipeline)).messages] == ["started-again"]


async def test_polls_get_rarer_with_age(azurite: Azurite) -> None:
    async with with_service(azurite, website_hostname=None) as (pipeline, _):
        await pipeline.drop("cube.stl", CUBE)
        assert 4 < await wait(pipeline) <= 5
        for age, expected in ((40, 5), (200, 20), (2000, 200), (9000, 300)):
            started = (await record(pipeline)).started_at
            assert started
            pipeline.later(age - (pipeline.app.tools.now() - started).total_seconds())
            await pipeline.app.tick.run()
            assert expected - 2 < await wait(pipeline) <= expected + 1, age


async def test_the_deadline_is_a_timeout_within_one_tick(azurite: Azurite) -> None:
    async with with_service(azurite, deadline_seconds=3600) as (pipeline, service):
        await pipeline.drop("cube.stl", CUBE)
        for seconds in (600, 1200, 1700):
            pipeline.later(seconds)
            await pipeline.app.tick.run()
        assert await pipeline.records() == ["cube.stl"]
        pipeline.later(101)
        await pipeline.app.tick.run()
        manifest = await pipeline.manifest("cube.stl")
        assert manifest.status is Status.TIMEOUT
        assert manifest.service and manifest.service.id == "job"
        assert manifest.service.trace_id == "trace.1"
        assert "3600 s" in manifest.errors[0].message
        assert "Delete the manifest" in manifest.errors[0].message
        assert service.asked


async def test_a_job_that_ended_before_a_late_tick_is_no_timeout(azurite: Azurite) -> None:
    async with start(azurite, converter=Copier(), deadline_seconds=600) as pipeline:
        pipeline.app.callbacks.url = lambda conversion: None  # type: ignore[method-assign]
        await pipeline.drop("cube.stl", CUBE)
        await pipeline.work()
        pipeline.later(650)
        await pipeline.app.tick.run()
        assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS


async def test_a_job_that_ended_while_nobody_ticked_for_long_is_no_timeout(azurite: Azurite) -> None:
    async with start(azurite, converter=Copier(), deadline_seconds=600) as pipeline:
        pipeline.app.callbacks.url = lambda conversion: None  # type: ignore[method-assign]
        await pipeline.drop("cube.stl", CUBE)
        await pipeline.work()
        pipeline.later(24 * 3600)
        await pipeline.app.tick.run()
        assert (await pipeline.manifest("cube.stl")).status is Status.SUCCESS


async def test_asking_that_fails_in_a_way_nobody_thought_of_ends_in_a_timeout(azurite: Azurite) -> None:
    async def broken(service_id: str) -> Progress:
        raise RuntimeError("a bug")

    async with with_service(azurite, deadline_seconds=600) as (pipeline, _):
        await pipeline.drop("cube.stl", CUBE)
        pipeline.app.services["remote-rendering"].poll = broken  # type: ignore[method-assign]
        pipeline.later(601)
        await pipeline.app.tick.run()
        assert await pipeline.records() == ["cube.stl"]
        pipeline.later(pipeline.app.settings.claim_seconds)
        await pipeline.app.tick.run()
        assert (await pipeline.manifest("cube.stl")).status is Status.TIMEOUT


async def test_what_a_job_had_written_when_its_time_was_over_is_in_the_manifest(azurite: Azurite) -> None:
    async with with_service(azurite, deadline_seconds=600) as (pipeline, _):
        await pipeline.drop("cube.stl", CUBE)
        folder = f"cube.stl/{(await record(pipeline)).id}"
        converted = pipeline.app.settings.converted_container
        await pipeline.app.storage.put(converted, f"{folder}/cube.glb", b"half")
        pipeline.later(601)
        await pipeline.app.tick.run()
        manifest = await pipeline.manifest("cube.stl")
        assert (manifest.status, manifest.derivatives) == (Status.TIMEOUT, ())
        assert [log.path for log in manifest.logs] == [f"{folder}/cube.glb"]


async def test_the_instances_own_clock_decides_nothing(azurite: Azurite) -> None:
    async with start(azurite, converter=Copier()) as pipeline:
        real = pipeline.clock._real
        real._date = real._date.replace(year=real._date.year + 1)  # an instance a year ahead
        await pipeline.drop("cube.stl", CUBE)
        await pipeline.settle()
        manifest = await pipeline.manifest("cube.stl")
        assert manifest.status is Status.SUCCESS
        assert (manifest.timings.ended - manifest.timings.accepted).total_seconds() < 600


async def test_a_start_that_died_is_repeated_also_after_the_service_asked_for_quiet(azurite: Azurite) -> None:
    async with with_service(azurite) as (pipeline, _):
        await pipeline.drop("cube.stl", CUBE)
        held = await pipeline.app.tools.in_flight.of("cube.stl")
        assert held
        now = pipeline.app.tools.now()
        # Whoever had ordered it died before the record said so.
        await pipeline.app.tools.in_flight.save(held, step=Step.START, tries=1, due_at=now, service_id=None)
        pipeline.app.tools.hold_back("remote-rendering", now + timedelta(seconds=5))
        await pipeline.app.tick.run()
        conversion = await record(pipeline)
        assert (conversion.step, conversion.tries) == (Step.START, 1)
        pipeline.later(30)
        await pipeline.app.tick.run()
        conversion = await record(pipeline)
        assert conversion.step is Step.POLL
        assert [message.code for message in conversion.messages] == ["started-again"]


async def test_three_deaths_of_a_step_are_the_end(azurite: Azurite) -> None:
    async with with_service(azurite) as (pipeline, service):
        await pipeline.upload("cube.stl", CUBE)
        held = await pipeline.app.lifecycle._accept("cube.stl")  # claimed, and dead at once
        assert held
        for _ in range(2):
            pipeline.later(121)
            held = await pipeline.app.tools.in_flight.of("cube.stl")
            assert held
            await pipeline.app.lifecycle._claim(held)
        await pipeline.app.tick.run()
        assert (await record(pipeline)).tries == 3  # the last claim still runs
        pipeline.later(121)
        await pipeline.app.tick.run()
        manifest = await pipeline.manifest("cube.stl")
        assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, "gave-up")
        assert "'intake' was begun 3 times" in manifest.errors[0].message
        assert service.asked == []


async def test_two_deaths_are_not_the_end(azurite: Azurite) -> None:
    async with with_service(azurite) as (pipeline, _):
        await pipeline.upload("cube.stl", CUBE)
        await pipeline.app.lifecycle._accept("cube.stl")
        pipeline.later(121)
        held = await pipeline.app.tools.in_flight.of("cube.stl")
        assert held
        await pipeline.app.lifecycle._claim(held)
        pipeline.later(121)
        await pipeline.app.tick.run()
        assert (await record(pipeline)).step is Step.POLL


async def test_at_most_so_many_conversions_are_at_a_service(azurite: Azurite) -> None:
    async with with_service(azurite, max_in_flight=2) as (pipeline, service):
        for name in "abcde":
            await pipeline.drop(f"{name}.stl", CUBE)
        assert service.asked == []
        for _ in range(3):
            await pipeline.app.tick.run()
            assert len(service.asked_for(CREATE)) == 2
        service.says["job"] = [answer(200, {"status": "Failure"})]
        pipeline.later(10)
        await pipeline.app.tick.run()
        await pipeline.app.tick.run()
        assert len(service.asked_for(CREATE)) == 4


async def test_outputs_shorter_than_stated_are_no_success(azurite: Azurite) -> None:
    def done(asked: Asked) -> bytes:
        path = f"{outputs}/cube.glb"
        return answer(
            200, {"status": "Success", "result": {"outputs": [{"path": path, "type": "glb", "size": 9}]}}
        )

    async with with_service(azurite, poll=[done]) as (pipeline, _):
        await pipeline.drop("cube.stl", CUBE)
        outputs = f"cube.stl/{(await record(pipeline)).id}"
        await pipeline.app.storage.put(
            pipeline.app.settings.converted_container, f"{outputs}/cube.glb", b"12345"
        )
        pipeline.later(6)
        await pipeline.app.tick.run()
        manifest: Manifest = await pipeline.manifest("cube.stl")
        assert manifest.errors[0].code == "missing-output"
        assert "cube.glb (5 bytes of 9)" in manifest.errors[0].message
        assert [log.path for log in manifest.logs] == [f"{outputs}/cube.glb"]
