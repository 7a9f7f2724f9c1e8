"""R1 and S1: many models under duplicate events, deaths, faults and lost replies, all at once."""

import base64
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from local.azurite import ACCOUNT, KEY
from shared.manifest import Manifest
from tests.faults.canaries import Canaries
from tests.faults.fleet import Platform
from tests.faults.proxy import Chances, seeded
from tests.faults.whole import (
    LONG,
    N,
    Scene,
    assert_whole,
    enduring_azurite,
    measured,
    models,
    polls_at_the_interval,
    scene,
    shards,
    upload,
)

SEED = 8001

pytestmark = LONG


@dataclass(frozen=True)
class Load:
    """What the run has left."""

    here: Scene
    made: dict[str, bytes]
    platform: Platform
    canaries: Canaries


@pytest.fixture(scope="module", params=enumerate(shards(N)), ids=lambda shard: f"shard-{shard[0]}")
async def load(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Load]:
    shard, count = request.param
    seed = SEED + shard
    folder = tmp_path_factory.mktemp("load")
    storage_key = base64.b64encode(secrets.token_bytes(64)).decode()
    account_key = f"the-account-key-{secrets.token_hex(16)}"
    with pytest.MonkeyPatch.context() as patch, seeded(seed) as lot:
        patch.setenv("AZURITE_ACCOUNTS", f"{ACCOUNT}:{storage_key}")
        with enduring_azurite() as azurite:
            patch.setattr("local.azurite.KEY", storage_key)
            async with scene(
                azurite, folder, seed=seed, lives=(30, 400), embedded_account_key=account_key
            ) as here:
                assert KEY not in here.storage.azurite.connection_string
                private = here.pipeline.app.settings.embedded_container
                canaries = Canaries({storage_key, account_key}, private)
                made = models(count)
                await upload(here.pipeline, made)
                here.service.plan = Chances(seed, busy=0.05, broken=0.15, lost=0.05, half=0.02, latency=0.01)
                here.service.watch = canaries.watch
                here.storage.follow(Chances(seed, lost=0.05, half=0.01), canaries.watch)
                platform = Platform(here.fleet, here.pipeline, lot)
                for path in made:
                    for _ in range(5 if lot.random() < 0.05 else 2):
                        platform.event(path, lot.uniform(0, 240))
                await platform.settle(swept=True)
                yield Load(here, made, platform, canaries)


async def test_every_model_is_converted_exactly_once_whatever_fails(load: Load) -> None:
    here = load.here
    manifests = await assert_whole(here.pipeline, load.made)
    calls = sum(count for (kind, _), count in here.service.counts.items() if "/callbacks/" not in kind)
    budget = sum(1 + polls(here, manifest) for manifest in manifests.values())
    measured(
        "R1",
        models=len(load.made),
        simulated_seconds=load.platform.seconds,
        deaths=here.fleet.deaths["-"],
        invocations=dict(load.platform.ended),
        given_up=len(load.platform.given_up),
        service_calls=calls,
        start_and_polls_at_the_interval=budget,
        service_faults=dict(here.service.faults),
        storage_requests=here.storage.blob.count() + here.storage.queue.count(),
        storage_faults=dict(here.storage.blob.faults + here.storage.queue.faults),
    )
    assert calls <= 2 * budget
    # It was as bad as it was meant to be.
    assert here.fleet.deaths["-"] >= len(load.made) // 20
    assert min(here.service.faults[word] for word in ("429", "500", "503", "lost", "half")) > 0
    assert here.storage.blob.faults["lost"] > len(load.made)


def polls(here: Scene, manifest: Manifest) -> int:
    return polls_at_the_interval(here.pipeline.app.tools.pace, manifest)


async def test_no_secret_of_all_that_travelled_is_told_or_kept(load: Load) -> None:
    for log in load.here.fleet.logs():
        load.canaries.look_at(log)
    leaked = await load.canaries.found(load.here.pipeline)
    measured("S1", secrets=len(load.canaries.secrets), words=load.canaries.searched, leaked=len(leaked))
    assert leaked == []
    assert len(load.canaries.at_rest()) >= 2 * len(load.made)
    # Two SAS and a callback's code for each, two keys and a token.
    assert len(load.canaries.secrets) >= 3 * len(load.made) + 3
