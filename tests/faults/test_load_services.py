"""R1 again, smaller, at the services that cannot reach blobs: files go by way of the pipeline too."""

from pathlib import Path

import pytest

from local.azurite import Azurite
from tests.faults.fleet import Platform
from tests.faults.proxy import Call, Chances, Fault, seeded
from tests.faults.whole import LONG, N, assert_whole, measured, models, scene, upload

SEED = 8101
COUNT = max(10, N // 20)

pytestmark = LONG


class Jobs:
    """The jobs that the service has begun: each is a record that was not there before."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.begun: list[str] = []

    def watch(self, call: Call, fault: Fault | None, status: int) -> None:
        is_new = call.kind == "Put Blob" and "if-none-match" in call.headers and status == 201
        if is_new and call.target.startswith("embedded-") and call.name.startswith(f"{self._service}/"):
            self.begun.append(call.name)


@pytest.mark.parametrize("service", ["model-derivative", "api2convert"])
async def test_every_model_is_converted_exactly_once_at_the_other_services(
    azurite: Azurite, tmp_path: Path, service: str
) -> None:
    with seeded(SEED) as lot:
        async with scene(
            azurite,
            tmp_path,
            seed=SEED,
            lives=(60, 600),
            embedded_apis="remote-rendering,model-derivative,api2convert",
            default_service=service,
            default_formats='[{"type": "obj"}]',
        ) as here:
            made = {path: data for path, data in models(COUNT * 2).items() if path.endswith(".stl")}
            made = dict(list(made.items())[:COUNT])
            await upload(here.pipeline, made)
            here.service.plan = Chances(SEED, busy=0.05, broken=0.15, lost=0.05, half=0.02)
            jobs = Jobs(service)
            here.storage.follow(Chances(SEED, lost=0.05), jobs.watch)
            platform = Platform(here.fleet, here.pipeline, lot)
            for path in made:
                for _ in range(5 if lot.random() < 0.05 else 2):
                    platform.event(path, lot.uniform(0, 240))
            await platform.settle(swept=True)
            await assert_whole(here.pipeline, made)
            assert len(jobs.begun) == COUNT
            measured(
                "R1",
                service=service,
                models=COUNT,
                simulated_seconds=platform.seconds,
                deaths=here.fleet.deaths["-"],
                invocations=dict(platform.ended),
                given_up=len(platform.given_up),
                service_faults=dict(here.service.faults),
                storage_faults=dict(here.storage.blob.faults + here.storage.queue.faults),
            )
