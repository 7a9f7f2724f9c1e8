"""R5: SAS tokens that end early. A conversion is started once more with new ones, and once only."""

import contextlib
import json
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from local.azurite import Azurite
from shared.clients import Order, Progress, Started
from shared.conversion import Status
from shared.manifest import Manifest
from tests.copier import Copier
from tests.faults.crowd import CREATE, Between, asking, each, ended, seeded
from tests.pipeline import ACCOUNT_KEY, Pipeline, start

N = 30
SEED = 8052
PAST = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = b"solid any\nendsolid\n"
API2CONVERT: dict[str, Any] = {"embedded_apis": "remote-rendering,api2convert"}
#: The same API, as if it were somebody else's: model and companions go there as a zip, made for it.
VENDOR: dict[str, Any] = {"api2convert_api_key": ACCOUNT_KEY, "api2convert_url": "http://127.0.0.1:1/v2"}


class Dies(Exception):
    """The process is gone."""


class Expires(Between):
    """Hands on SAS tokens that have expired: `times` says with how many orders of a model.

    ``sides`` are the tokens, "in" and "out"; `deaths` are models whose second order kills who gives it.
    """

    def __init__(self, own: httpx.AsyncBaseTransport) -> None:
        super().__init__(own)
        self.pipeline: Pipeline | None = None
        self.times: dict[str, int] = {}
        self.sides: dict[str, tuple[str, ...]] = {}
        self.orders: dict[str, list[str]] = {}
        self.deaths: set[str] = set()

    async def ask(self, request: httpx.Request) -> httpx.Request:
        path = request.url.path
        if request.method != "POST" or not path.endswith((CREATE, "/v2/jobs")):
            return request
        body = json.loads(request.content)
        model = _model(body)
        keys = self.orders.setdefault(model, [])
        if len(keys) == 1 and model in self.deaths:
            self.deaths.remove(model)
            raise Dies
        keys.append(request.headers["Idempotency-Key"])
        if len(set(keys)) > self.times.get(model, 0):
            return request
        if path.endswith(CREATE):
            await self._expire(body, self.sides.get(model, ("in",)))
        else:
            for one in body["input"]:
                one["source"] = await self._expired(one["source"])
        return asking(request, body)

    async def _expire(self, body: dict[str, Any], sides: tuple[str, ...]) -> None:
        assert self.pipeline is not None
        app = self.pipeline.app
        if "in" in sides:
            sas = await app.signer.container_sas(app.settings.models_container, "rl", PAST)
            body["input"]["containerReadListSas"] = sas
        if "out" in sides:
            sas = await app.signer.container_sas(app.settings.converted_container, "cw", PAST)
            body["output"]["containerWriteSas"] = sas

    async def _expired(self, url: str) -> str:
        assert self.pipeline is not None
        app = self.pipeline.app
        container, name = unquote(urlsplit(url).path).split("/", 3)[2:]
        return f"{url.partition('?')[0]}?{await app.signer.blob_sas(container, name, 'r', PAST)}"


def _model(body: dict[str, Any]) -> str:
    if isinstance(body["input"], dict):
        return str(body["input"]["inputAssetPath"])
    source = urlsplit(body["input"][0]["source"]).path
    # What was made of a model and its companions for another service has only the model's stem.
    return unquote(source).rpartition("/")[2].replace(".zip", ".obj")


def warned(manifest: Manifest) -> list[str]:
    return [str(warning.code) for warning in manifest.warnings]


async def test_a_sas_that_ends_early_is_one_restart_and_one_that_always_does_is_a_failure(
    azurite: Azurite,
) -> None:
    with seeded(SEED) as chances:
        models = [f"{number}.stl" for number in range(N)]
        wires: list[Expires] = []

        def wrap(own: httpx.AsyncBaseTransport) -> Expires:
            wires.append(Expires(own))
            return wires[0]

        async with start(azurite, converter=Copier(), wrap=wrap, claim_seconds=30) as pipeline:
            [wire] = wires
            wire.pipeline = pipeline
            wire.times = {path: chances.choice((0, 0, 1, 1, 9)) for path in models}
            wire.sides = {path: chances.choice((("in",), ("out",), ("in", "out"))) for path in models}
            once = [path for path in models if wire.times[path] == 1]
            wire.deaths = set(chances.sample(once, len(once) // 2))
            await each(models, lambda path: pipeline.drop(path, MODEL))
            await _settle(pipeline, chances)
            manifests = await ended(pipeline, models)
            jobs = {job["id"] for job in await pipeline.jobs()}
        assert set(wire.times.values()) == {0, 1, 9}
        for path, manifest in manifests.items():
            times = wire.times[path]
            assert len(set(wire.orders[path])) == (1 if times == 0 else 2), path
            assert warned(manifest) == ([] if times == 0 else ["sas-renewed"]), path
            assert manifest.status is (Status.FAILED if times == 9 else Status.SUCCESS), path
            assert [str(error.code) for error in manifest.errors] == (["storage-denied"] * (times == 9))
            assert manifest.service and manifest.service.id in jobs
            assert manifest.id == wire.orders[path][-1]
            assert "sig=" not in manifest.encode().decode()
        assert len(jobs) == sum(len(set(keys)) for keys in wire.orders.values())
        assert not wire.deaths


async def _settle(pipeline: Pipeline, chances: Random) -> None:
    """Work and ticks, some of which die, until nothing is in flight."""
    for _ in range(20):
        for request in await pipeline.requests():
            if chances.random() < 0.9:
                await pipeline.run(request)
        for _ in range(N):
            with contextlib.suppress(Dies):  # its message is lost as well
                await pipeline.transfer()
                break
        pipeline.later(40)
        await pipeline.app.tick.run()
        if not await pipeline.records():
            return
    raise AssertionError(f"still in flight: {await pipeline.records()}")


@pytest.mark.parametrize("settings", [{}, VENDOR], ids=["own", "vendor"])
async def test_a_job_whose_inputs_were_refused_is_one_restart(
    azurite: Azurite, settings: dict[str, Any]
) -> None:
    wires: list[Expires] = []

    def wrap(own: httpx.AsyncBaseTransport) -> Expires:
        wires.append(Expires(own))
        return wires[0]

    options = {**API2CONVERT, **settings, "default_service": "api2convert", "max_in_flight": 2}
    async with start(azurite, converter=Copier(), wrap=wrap, **options) as pipeline:
        wires[0].pipeline = pipeline
        wires[0].times = {"once.obj": 1, "always.obj": 9}
        await pipeline.upload("once.mtl", b"newmtl red\n")
        for path in ("once.obj", "always.obj", "never.obj"):
            await pipeline.drop(path, b"mtllib once.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        await pipeline.settle(rounds=30)
        manifests = await ended(pipeline, ("once.obj", "always.obj", "never.obj"))
    assert {path: (one.status, warned(one)) for path, one in manifests.items()} == {
        "once.obj": (Status.SUCCESS, ["sas-renewed"]),
        "always.obj": (Status.FAILED, ["sas-renewed"]),
        "never.obj": (Status.SUCCESS, []),
    }
    assert str(manifests["always.obj"].errors[0].code) == "17"
    assert {path: len(keys) for path, keys in wires[0].orders.items()} == {
        "once.obj": 2,
        "always.obj": 2,
        "never.obj": 1,
    }


class Denied:
    """Remote Rendering, which storage refuses each time."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.orders: list[Order] = []
        service = pipeline.app.services["remote-rendering"]
        service.start = self._start  # type: ignore[method-assign]
        service.poll = self._poll  # type: ignore[method-assign]

    async def _start(self, order: Order) -> Started:
        self.orders.append(order)
        return Started(f"job-{len(self.orders)}")

    async def _poll(self, service_id: str) -> Progress:
        return Progress(Status.FAILED, "Failure", code="7", message="Storage said no.", denied=True)


async def test_linked_storage_has_no_sas_to_renew(azurite: Azurite) -> None:
    async with start(azurite) as pipeline:
        denied = Denied(pipeline)
        await pipeline.upload("a.stl.conversion.json", b'{"options": {"access": "linked"}}')
        manifest = await pipeline.convert("a.stl", MODEL)
        assert (manifest.status, warned(manifest), len(denied.orders)) == (Status.FAILED, [], 1)


async def test_a_model_that_is_gone_is_not_ordered_again(azurite: Azurite) -> None:
    async with start(azurite) as pipeline:
        denied = Denied(pipeline)
        await pipeline.drop("a.stl", MODEL)
        await pipeline.app.storage.delete(pipeline.app.settings.models_container, "a.stl")
        await pipeline.settle()
        manifest = await pipeline.manifest("a.stl")
        assert (manifest.status, warned(manifest), len(denied.orders)) == (
            Status.FAILED,
            ["source-deleted"],
            1,
        )


async def test_the_second_order_keeps_the_deadline_and_brings_other_tokens(azurite: Azurite) -> None:
    async with start(azurite) as pipeline:
        denied = Denied(pipeline)
        await pipeline.drop("a.stl", MODEL)
        before = await pipeline.record("a.stl")
        pipeline.later(300)
        await pipeline.app.tick.run()
        after = await pipeline.record("a.stl")
        assert before and after
        assert after.id != before.id
        assert after.deadline == before.deadline
        first, second = denied.orders
        assert {first.input.sas, first.output.sas}.isdisjoint({second.input.sas, second.output.sas})
        assert first.output.folder != second.output.folder
        assert not second.repeated
