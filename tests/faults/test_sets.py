"""R11: companions that land in any order over minutes, some of them never: one conversion of each set."""

from dataclasses import dataclass
from random import Random

from local.azurite import Azurite
from shared.conversion import Status
from tests.copier import Copier
from tests.faults.crowd import ended, seeded, stop_clock
from tests.pipeline import Pipeline, start
from tests.shapes import sample

N = 24
SEED = 8111
GRACE = 300
SECONDS = 180
TICK = 20


@dataclass(frozen=True)
class Files:
    """A model and its companions, in a folder of their own: name -> when it lands, None for never."""

    folder: str
    model: str
    contents: dict[str, bytes]
    lands: dict[str, int | None]

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.model}"

    @property
    def missing(self) -> str | None:
        return next((name for name, when in self.lands.items() if when is None), None)


def _files(number: int, chances: Random) -> Files:
    kinds = {
        "cube.obj": ("cube.mtl", "checks.png"),
        "cube.gltf": ("cube.bin", "checks.png"),
    }
    model = ("cube.obj", "cube.gltf")[number % 2]
    contents = {name: sample(name) for name in (model, *kinds[model])}
    lands: dict[str, int | None] = {name: chances.randrange(0, SECONDS, TICK) for name in contents}
    if number % 3 == 0:
        lands[chances.choice(kinds[model])] = None
    return Files(f"set {number}", model, contents, lands)


async def test_each_set_is_one_conversion_and_what_never_lands_is_named(azurite: Azurite) -> None:
    with seeded(SEED) as chances:
        sets = [_files(number, chances) for number in range(N)]
        async with start(
            azurite, converter=Copier(), default_formats='[{"type": "glb"}]', grace_seconds=GRACE
        ) as pipeline:
            stop_clock(pipeline)
            for now in range(0, SECONDS, TICK):
                landing = [(one, name) for one in sets for name, when in one.lands.items() if when == now]
                chances.shuffle(landing)
                for one, name in landing:
                    await pipeline.drop(f"{one.folder}/{name}", one.contents[name])
                await _pass(pipeline, TICK)
            # What is whole is not held up by what is missing elsewhere, whose grace time is not over yet.
            await _pass(pipeline, 100)
            waiting = {path for path in await pipeline.records() if path}
            assert waiting == {one.path for one in sets if one.missing}
            await _pass(pipeline, GRACE)
            await pipeline.settle()
            manifests = await ended(pipeline, [one.path for one in sets])
            jobs = [job["settings"]["inputLocation"]["blobPrefix"] for job in await pipeline.jobs()]
        for one in sets:
            manifest = manifests[one.path]
            fails = one.missing == "cube.bin"
            assert manifest.status is (Status.FAILED if fails else Status.SUCCESS), one
            assert jobs.count(f"{one.folder}/") == (0 if fails else 1), one
            told = [message.message for message in manifest.messages]
            assert len(told) == (1 if one.missing else 0), one
            assert all(f"'{one.missing}'" in message for message in told)
            found = {companion.path.rpartition("/")[2] for companion in manifest.source.companions}
            # A texture is named by the material file, which must be there to name it.
            there = {name for name, when in one.lands.items() if when is not None} - {one.model}
            assert found == (there if one.missing != "cube.mtl" else set()) or fails, one
        assert {one.missing for one in sets} == {None, "cube.mtl", "cube.bin", "checks.png"}


async def _pass(pipeline: Pipeline, seconds: int) -> None:
    for _ in range(seconds // TICK):
        pipeline.later(TICK)
        await pipeline.app.tick.run()
        for request in await pipeline.requests():
            await pipeline.run(request)
        await pipeline.transfer()
