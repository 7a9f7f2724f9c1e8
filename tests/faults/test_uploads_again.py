"""R4: models that land again, before the start, while they are converted and after the end."""

from collections import defaultdict
from datetime import timedelta
from random import Random

import pytest

from local.azurite import Azurite
from shared.conversion import Status
from tests.copier import Copier
from tests.faults.crowd import each, ended, seeded
from tests.pipeline import Pipeline, start

N = 30
ROUNDS = 6
SEED = 8041
TWO = '[{"type": "glb"}, {"type": "stl"}]'


def version(path: str, number: int) -> bytes:
    """The bytes of one version of a model; what is made of it is a copy."""
    return f"solid {path} {number}\nendsolid\n".encode()


class Uploads:
    """What has landed, and which events are still to be told."""

    def __init__(self, pipeline: Pipeline, chances: Random) -> None:
        self._pipeline = pipeline
        self._chances = chances
        self.newest: dict[str, int] = defaultdict(int)
        self._late: list[str] = []
        self.moments: dict[str, int] = defaultdict(int)

    async def land(self, path: str) -> None:
        """A new version, whose event comes at once, later, twice or never."""
        record = await self._pipeline.record(path)
        self.moments[record.step if record else "end" if self.newest[path] else "first"] += 1
        self.newest[path] += 1
        await self._pipeline.upload(path, version(path, self.newest[path]))
        events = self._chances.choice((0, 1, 1, 2))
        for _ in range(events):
            if self._chances.random() < 0.7:
                await self._pipeline.event(path)
            else:
                self._late.append(path)

    async def tell(self) -> None:
        """Some of the late events, in any order."""
        self._chances.shuffle(self._late)
        told, self._late = self._late[::2], self._late[1::2]
        await each(told, self._pipeline.event)


@pytest.mark.parametrize("most", [0, 8], ids=["at-once", "by-the-tick"])
async def test_the_newest_upload_is_what_there_is_in_the_end(azurite: Azurite, most: int) -> None:
    with seeded(SEED + most) as chances:
        async with start(
            azurite,
            converter=Copier(),
            default_formats=TWO,
            max_in_flight=most,
            convert_since="2020-01-01T00:00:00Z",
        ) as pipeline:
            uploads = Uploads(pipeline, chances)
            models = [f"{number % 5}/{number}.stl" for number in range(N)]
            requests: list[str] = []
            for round_ in range(ROUNDS):
                landing = models if round_ == 0 else chances.sample(models, N // 4)
                await each(landing, uploads.land)
                await uploads.tell()
                requests += await pipeline.requests()
                chances.shuffle(requests)
                # What is superseded is worked off as well, before or after the newer one.
                for request in requests[::2]:
                    await pipeline.run(request)
                requests = requests[1::2]
                await pipeline.transfer()
                pipeline.later(chances.choice((1, 6, 20)))
                await pipeline.app.tick.run()
            for request in requests:
                await pipeline.run(request)
            await pipeline.app.sweep.run()  # the events that never came
            await pipeline.settle(rounds=40)
            # Nobody's outputs go once nobody can write there any more.
            pipeline.later(pipeline.app.settings.deadline_seconds + timedelta(hours=2).total_seconds())
            assert await pipeline.app.sweep.run() == 0
            manifests = await ended(pipeline, models)
            jobs = len(await pipeline.jobs())
            for path, manifest in manifests.items():
                assert (manifest.status, manifest.messages) == (Status.SUCCESS, ()), path
                head = await pipeline.app.tools.head(path)
                assert head and manifest.source.etag == head.etag
                assert len(manifest.derivatives) == 2
                for derivative in manifest.derivatives:
                    assert await pipeline.read(derivative.path) == version(path, uploads.newest[path])
        print(dict(uploads.moments), f"{sum(uploads.newest.values())} uploads, {jobs} jobs")
        assert {"first", "poll", "end"} <= uploads.moments.keys()
        assert most == 0 or "start" in uploads.moments
        assert N <= jobs <= sum(uploads.newest.values())
