"""Requests are accepted once, started at least once, and ended exactly once."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.embedded.engine.job import Output
from shared.embedded.requests import Error, Lost, Mismatch, Request, Requests, State
from shared.storage import Conflict
from tests.embedded.bundle import Bundle, new_id

RESULT: dict[str, Any] = {"outputs": [], "warnings": [], "statistics": {}}


def request(bundle: Bundle, identity: str = "one", model: str = "box.obj") -> Request:
    return Request(
        api="remote-rendering",
        id=identity,
        source=bundle.source("in/"),
        model=model,
        target=bundle.target("out/"),
        outputs=(Output("thumbnail", "box.100x100.png", {"width": 100}),),
        callback="https://example.com/called",
    )


class Later(Requests):
    """The same requests, seen later."""

    delay = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.delay


def later(bundle: Bundle, seconds: float) -> Later:
    requests = Later(bundle.storage, bundle.settings)
    requests.delay = timedelta(seconds=seconds)
    return requests


async def test_a_new_request_is_recorded_and_enqueued(bundle: Bundle) -> None:
    asked = request(bundle)
    record, new = await bundle.requests.accept(asked)
    assert new
    assert (record.state, record.request) == (State.CREATED, asked)
    assert await bundle.record(asked.key) == record
    assert await bundle.messages() == ["remote-rendering/one"]


async def test_a_repeat_is_the_same_request_and_keeps_the_newest_sas(bundle: Bundle) -> None:
    first, _ = await bundle.requests.accept(request(bundle))
    newer = request(bundle).model_copy(update={"source": bundle.source("in/", sas="sig=newer")})
    again, new = await bundle.requests.accept(newer)
    assert not new
    assert again.created == first.created
    assert (await bundle.record(newer.key)).request.source.sas == "sig=newer"
    assert len(await bundle.messages()) == 2


async def test_the_same_id_for_other_content_is_refused(bundle: Bundle) -> None:
    await bundle.requests.accept(request(bundle))
    with pytest.raises(Mismatch):
        await bundle.requests.accept(request(bundle, model="ball.obj"))


async def test_many_repeats_at_once_make_one_request(bundle: Bundle) -> None:
    outcomes = await asyncio.gather(*(bundle.requests.accept(request(bundle)) for _ in range(20)))
    assert sum(new for _, new in outcomes) == 1
    listed, _ = await bundle.requests.list("remote-rendering", after=None, limit=50)
    assert len(listed) == 1


async def test_a_create_whose_reply_was_lost_is_known_as_ours(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = bundle.storage.create

    async def lose_the_reply(*args: object, **options: object) -> str:
        await create(*args, **options)  # type: ignore[arg-type]
        raise Conflict

    monkeypatch.setattr(bundle.storage, "create", lose_the_reply)
    _, new = await bundle.requests.accept(request(bundle))
    assert new
    assert len(await bundle.messages()) == 1


async def test_a_change_whose_reply_was_lost_is_known_as_ours(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bundle.requests.accept(request(bundle))
    replace = bundle.storage.replace

    async def lose_the_reply(*args: object, **options: object) -> str:
        await replace(*args, **options)  # type: ignore[arg-type]
        raise Conflict

    monkeypatch.setattr(bundle.storage, "replace", lose_the_reply)
    held = await bundle.requests.claim("remote-rendering/one", "m")
    assert held is not None
    assert held.record.tries == 1
    await bundle.requests.finish(held, State.SUCCEEDED, result=RESULT)
    assert (await bundle.record("remote-rendering/one")).state is State.SUCCEEDED


async def test_a_request_without_its_message_is_enqueued_by_a_repeat(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object, **__: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(bundle.storage, "enqueue", crash)
        await bundle.requests.accept(request(bundle))
    assert await bundle.messages() == []
    _, new = await bundle.requests.accept(request(bundle))
    assert not new
    assert len(await bundle.messages()) == 1


async def test_a_poll_enqueues_what_has_not_started_for_a_minute_and_then_less_often(bundle: Bundle) -> None:
    await bundle.requests.accept(request(bundle))
    await bundle.take()
    key = "remote-rendering/one"
    await later(bundle, 55).status(key)
    assert await bundle.messages() == []
    await later(bundle, 65).status(key)
    assert await bundle.messages() == [key]
    await later(bundle, 65 + 110).status(key)
    assert await bundle.messages() == [key]
    await later(bundle, 65 + 130).status(key)
    assert await bundle.messages() == [key, key]


async def test_a_poll_of_a_running_or_ended_request_enqueues_nothing(bundle: Bundle) -> None:
    await bundle.requests.accept(request(bundle))
    key = "remote-rendering/one"
    held = await bundle.requests.claim(key, "m")
    assert held is not None
    await bundle.take()
    await later(bundle, 300).status(key)
    await bundle.requests.finish(held, State.SUCCEEDED, result=RESULT)
    await later(bundle, 100_000).status(key)
    assert await bundle.messages() == []


async def test_a_poll_enqueues_a_run_that_never_came_back(bundle: Bundle) -> None:
    await bundle.requests.accept(request(bundle))
    key = "remote-rendering/one"
    await bundle.requests.claim(key, "m")
    await bundle.take()
    late = later(bundle, 100_000)
    await late.status(key)
    assert await bundle.messages() == [key]
    assert await late.claim(key, "another") is not None


async def test_an_unknown_request_has_no_status_and_cannot_be_claimed(bundle: Bundle) -> None:
    assert await bundle.requests.status("remote-rendering/nobody") is None
    assert await bundle.requests.claim("remote-rendering/nobody", "m") is None


async def test_one_of_many_deliveries_gets_the_request(bundle: Bundle) -> None:
    await bundle.requests.accept(request(bundle))
    claims = await asyncio.gather(
        *(bundle.requests.claim("remote-rendering/one", f"message {number}") for number in range(10))
    )
    assert sum(held is not None for held in claims) == 1


async def test_a_delivery_that_was_slow_between_its_look_and_its_claim_gets_nothing(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bundle.requests.accept(request(bundle))
    read = bundle.storage.read

    async def overtaken(container: str, name: str) -> Any:
        found = await read(container, name)
        monkeypatch.setattr(bundle.storage, "read", read)
        assert await bundle.requests.claim("remote-rendering/one", "fast") is not None
        return found

    monkeypatch.setattr(bundle.storage, "read", overtaken)
    assert await bundle.requests.claim("remote-rendering/one", "slow") is None
    claim = (await bundle.record("remote-rendering/one")).claim
    assert claim is not None and claim.message == "fast"


async def test_the_same_message_again_takes_over_from_its_dead_run(bundle: Bundle) -> None:
    await bundle.requests.accept(request(bundle))
    dead = await bundle.requests.claim("remote-rendering/one", "m")
    alive = await bundle.requests.claim("remote-rendering/one", "m")
    assert dead is not None
    assert alive is not None
    assert alive.record.tries == 2
    with pytest.raises(Lost):
        await bundle.requests.finish(dead, State.FAILED, result=RESULT)
    await bundle.requests.finish(alive, State.SUCCEEDED, result=RESULT)
    with pytest.raises(Lost):
        await bundle.requests.finish(dead, State.FAILED, result=RESULT)
    assert (await bundle.record("remote-rendering/one")).state is State.SUCCEEDED


async def test_a_repeat_with_a_newer_sas_does_not_end_the_run(bundle: Bundle) -> None:
    await bundle.requests.accept(request(bundle))
    held = await bundle.requests.claim("remote-rendering/one", "m")
    assert held is not None
    await bundle.requests.accept(
        request(bundle).model_copy(update={"target": bundle.target("out/", sas="sig=newer")})
    )
    await bundle.requests.finish(held, State.SUCCEEDED, result=RESULT)
    assert (await bundle.record("remote-rendering/one")).state is State.SUCCEEDED


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED])
async def test_the_end_erases_every_secret(bundle: Bundle, state: State) -> None:
    await bundle.requests.accept(request(bundle))
    held = await bundle.requests.claim("remote-rendering/one", "m")
    assert held is not None
    error = Error(code="empty", message="It is empty.") if state is State.FAILED else None
    await bundle.requests.finish(held, state, error=error, result=RESULT)
    container = bundle.settings.embedded_container
    blob = await bundle.storage.read(container, "remote-rendering/one.json")
    assert blob is not None
    assert b"sig=" not in blob.data
    assert b"example.com" not in blob.data
    assert await bundle.requests.claim("remote-rendering/one", "m") is None


async def test_a_repeat_after_the_end_is_known_and_starts_nothing(bundle: Bundle) -> None:
    await bundle.requests.accept(request(bundle))
    held = await bundle.requests.claim("remote-rendering/one", "m")
    assert held is not None
    await bundle.requests.finish(held, State.SUCCEEDED, result=RESULT)
    await bundle.take()
    record, new = await bundle.requests.accept(request(bundle))
    assert (record.state, new) == (State.SUCCEEDED, False)
    assert await bundle.messages() == []


async def test_a_released_request_can_be_claimed_by_anybody(bundle: Bundle) -> None:
    await bundle.requests.accept(request(bundle))
    held = await bundle.requests.claim("remote-rendering/one", "m")
    assert held is not None
    await bundle.requests.release(held, Error(code="service-unavailable", message="Storage was away."))
    again = await bundle.requests.claim("remote-rendering/one", "another")
    assert again is not None
    assert again.record.tries == 2
    assert again.record.fault is not None
    assert again.record.request.source.sas is not None


async def test_a_list_goes_on_where_it_stopped(bundle: Bundle) -> None:
    ids = [new_id() for _ in range(7)]
    for identity in ids:
        await bundle.requests.accept(request(bundle, identity))
    seen: list[str] = []
    token = None
    for size in (3, 3, 1):
        records, token = await bundle.requests.list("remote-rendering", after=token, limit=3)
        assert len(records) == size
        seen += [record.request.id for record in records]
    assert token is None
    assert seen == ids
    assert await bundle.requests.list("model-derivative", after=None, limit=3) == ([], None)


async def test_a_record_does_not_print_its_secrets(bundle: Bundle) -> None:
    record, _ = await bundle.requests.accept(request(bundle))
    assert "sig=" not in repr(record)
    assert "example.com" not in repr(record)
