"""R10: callbacks forged, replayed, out of order, or before a start is answered make a model due, at most."""

import json
from random import Random
from urllib.parse import urlsplit

import httpx

from local.azurite import Azurite
from shared.conversion import Status
from tests.copier import Copier
from tests.faults.crowd import CREATE, Between, each, ended, seeded
from tests.pipeline import Pipeline, start

N = 20
ROUNDS = 4
SEED = 8101


def version(number: int) -> bytes:
    return f"solid {number}\nendsolid\n".encode()


class Early(Between):
    """Calls back before it answers to the start of some conversions, and hears all addresses."""

    def __init__(self, own: httpx.AsyncBaseTransport, chances: Random) -> None:
        super().__init__(own)
        self._chances = chances
        self.pipeline: Pipeline | None = None
        self.heard: list[str] = []
        self.early = 0

    async def answer(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path.endswith(CREATE):
            assert self.pipeline is not None
            self.heard.append(urlsplit(json.loads(request.content)["callback"]).path)
            if self._chances.random() < 0.5:
                self.early += 1
                for _ in range(2):
                    assert await call(self.pipeline, self.heard[-1]) == 204
        return response


async def call(pipeline: Pipeline, path: str, **body: str) -> int:
    async with pipeline.http() as client:
        return (await client.post(path, json={"status": "success", **body})).status_code


def forged(chances: Random, heard: list[str]) -> str:
    """An address that is not quite one that was given out."""
    root, record, conversion_id, mac = chances.choice(heard).rsplit("/", 3)
    _, record_2, id_2, mac_2 = chances.choice(heard).rsplit("/", 3)
    at = chances.randrange(len(mac))
    flipped = mac[:at] + ("0" if mac[at] != "0" else "1") + mac[at + 1 :]
    made = [(record, conversion_id, flipped), (record, conversion_id, ""), (record, "0" * 32, mac)]
    if id_2 != conversion_id:
        made += [(record, conversion_id, mac_2), (record, id_2, mac)]
    if record_2 != record:
        made += [(record_2, conversion_id, mac), (record_2, id_2, mac)]
    return "/".join((root, *chances.choice(made)))


async def test_callbacks_of_any_kind_change_nothing(azurite: Azurite) -> None:
    with seeded(SEED) as chances:
        models = [f"{number}.stl" for number in range(N)]
        wires: list[Early] = []

        def wrap(own: httpx.AsyncBaseTransport) -> Early:
            wires.append(Early(own, chances))
            return wires[0]

        async with start(azurite, converter=Copier(), wrap=wrap) as pipeline:
            [wire] = wires
            wire.pipeline = pipeline
            newest = dict.fromkeys(models, 0)
            for _ in range(ROUNDS):
                for path in chances.sample(models, N // 3) if any(newest.values()) else models:
                    newest[path] += 1
                    await pipeline.drop(path, version(newest[path]))
                await _storm(pipeline, wire, models, chances)
                requests = await pipeline.requests()
                for request in requests[::2]:
                    await pipeline.run(request)
                pipeline.later(30)
                await pipeline.app.tick.run()
                for request in requests[1::2]:
                    await pipeline.run(request)
                await pipeline.transfer()
            await pipeline.settle(rounds=30)
            before = {path: await pipeline.manifest(path) for path in models}
            await each([(path, {}) for path in wire.heard * 2], lambda one: call(pipeline, one[0]))
            await pipeline.transfer()
            await pipeline.app.tick.run()
            pipeline.later(pipeline.app.settings.deadline_seconds + 7200)
            await pipeline.app.sweep.run()
            assert await ended(pipeline, models) == before
            jobs = len(await pipeline.jobs())
        for path, manifest in before.items():
            assert (manifest.status, manifest.messages) == (Status.SUCCESS, ()), path
        assert jobs == len(set(wire.heard)) == sum(newest.values())
        assert wire.early > N // 3


async def _storm(pipeline: Pipeline, wire: Early, models: list[str], chances: Random) -> None:
    """Callbacks true and forged, of conversions in flight and of those that are over, in any order."""
    before = {path: await pipeline.record(path) for path in models}
    for _ in range(2 * N):
        assert await call(pipeline, forged(chances, wire.heard)) == 404
    assert {path: await pipeline.record(path) for path in models} == before
    for path in chances.sample(wire.heard, len(wire.heard)):
        assert await call(pipeline, path) == 204
    assert {path: await pipeline.record(path) for path in models} == before
    # What they enqueued is asked for now: nothing has ended, for nothing was worked off.
    await pipeline.transfer()
    assert {path: one and (one.id, one.step, one.service_id) for path, one in before.items()} == {
        path: (one := await pipeline.record(path)) and (one.id, one.step, one.service_id) for path in models
    }
