"""Translations from the job to the derivatives."""

from tests.embedded.api.derivative import Calls, only
from tests.embedded.models import obj


async def test_a_model_becomes_an_stl_and_a_picture(calls: Calls) -> None:
    urn = await calls.upload("box.obj", obj())
    started = await calls.job(urn, {"type": "stl"}, {"type": "thumbnail", "advanced": {"width": 100}})
    assert started.status_code == 200, started.text
    manifest = await calls.manifest(urn)
    print(manifest)
    await calls.work()
    manifest = await calls.manifest(urn)
    print(manifest)
    stl = only(manifest, "stl")
    data = await calls.file(urn, stl["children"][0]["urn"])
    assert len(data) == 84 + 4 * 50
