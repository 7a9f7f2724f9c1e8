"""R12: storage that is down for a while, and conditional writes that are refused without a reason."""

from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError

from local.azurite import Azurite
from shared.app import App
from shared.settings import read_settings
from tests.faults.fleet import Platform
from tests.faults.proxy import Call, Chances, Fault, before, seeded
from tests.faults.whole import LONG, N, assert_whole, measured, models, scene, upload
from tests.pipeline import settings_for

SEED = 8012
COUNT = max(20, N // 4)
DOWN = (40, 70)


@LONG
async def test_storage_that_is_down_for_half_a_minute_loses_nothing(azurite: Azurite, tmp_path: Path) -> None:
    with seeded(SEED) as lot:
        async with scene(azurite, tmp_path, seed=SEED) as here:
            platform = Platform(here.fleet, here.pipeline, lot, work_seconds=(0, 60))

            def down(call: Call) -> Fault | None:
                return Fault(status=503) if DOWN[0] <= platform.seconds < DOWN[1] else None

            made = models(COUNT)
            await upload(here.pipeline, made)
            here.storage.follow(down)
            for path in made:
                for _ in range(2):
                    platform.event(path, lot.uniform(0, 90))
            await platform.settle(swept=True)
            await assert_whole(here.pipeline, made)
            refused = here.storage.blob.faults["503"] + here.storage.queue.faults["503"]
            measured(
                "R12",
                models=COUNT,
                simulated_seconds=platform.seconds,
                answered_503=refused,
                invocations=dict(platform.ended),
                given_up=len(platform.given_up),
            )
            assert refused > COUNT
            assert platform.ended["start_conversion failed"] > 0
            assert platform.ended["poll_conversions failed"] > 0


async def test_an_app_that_starts_while_storage_is_down_is_ready_when_it_is_back(
    azurite: Azurite, no_back_off: None
) -> None:
    async with before(azurite) as storage:
        app = App(read_settings(**settings_for(storage.azurite)))
        storage.follow(lambda call: Fault(status=503))
        with pytest.raises(HttpResponseError):
            await app.ready()
        storage.follow()
        assert await app.ready() is app
        assert await app.storage.head(app.settings.models_container, "nothing.stl") is None
        await app.close()


@LONG
async def test_writes_that_are_refused_without_a_reason_lose_nothing(
    azurite: Azurite, tmp_path: Path
) -> None:
    with seeded(SEED) as lot:
        async with scene(azurite, tmp_path, seed=SEED) as here:
            platform = Platform(here.fleet, here.pipeline, lot, work_seconds=(0, 60))
            made = models(COUNT)
            await upload(here.pipeline, made)
            here.storage.follow(Chances(SEED, refused=0.1))
            for path in made:
                for _ in range(2):
                    platform.event(path, lot.uniform(0, 90))
            await platform.settle(swept=True)
            await assert_whole(here.pipeline, made)
            faults = here.storage.blob.faults
            measured(
                "R12",
                models=COUNT,
                simulated_seconds=platform.seconds,
                refused={word: faults[word] for word in ("409", "412")},
                invocations=dict(platform.ended),
                given_up=len(platform.given_up),
            )
            assert min(faults["409"], faults["412"]) > COUNT // 10
