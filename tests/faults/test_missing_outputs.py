"""R9: services that report success with outputs missing or short: that is never a success."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.conversion import Status
from tests.copier import Copier
from tests.faults.crowd import Between, answering, each, ended, said, seeded
from tests.model_derivative import Outside
from tests.pipeline import Pipeline, start
from tests.shapes import sample

N = 24
SEED = 8091
MODEL = b"solid any\nendsolid\n"
TWO = '[{"type": "glb"}, {"type": "stl"}]'


class Lies(Between):
    """Changes answers that say how a conversion ended: `lie` gets their JSON and changes it."""

    def __init__(self, own: httpx.AsyncBaseTransport, lie: Callable[[str, Any], None]) -> None:
        super().__init__(own)
        self._lie = lie

    async def answer(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.method != "GET" or "json" not in response.headers.get("content-type", ""):
            return response
        body = await said(response)
        if isinstance(body, dict):
            self._lie(request.url.path, body)
        return answering(response, body)


# --- Remote Rendering, which writes its outputs itself ------------------------------------------------


def drop_one(result: dict[str, Any]) -> None:
    result["outputs"] = [one for one in result["outputs"] if one["type"] != "stl"]


def drop_all(result: dict[str, Any]) -> None:
    result["outputs"] = []


def longer(result: dict[str, Any]) -> None:
    result["outputs"][0]["size"] += 1


def elsewhere(result: dict[str, Any]) -> None:
    result["outputs"][0]["path"] = "elsewhere/model.glb"


def nothing(result: dict[str, Any]) -> None:
    """As it should be."""


RESULTS = (drop_one, longer, elsewhere, nothing)
FILES = ("deleted", "short", "all deleted", "whole")


async def test_no_success_without_every_output_at_remote_rendering(azurite: Azurite) -> None:
    with seeded(SEED) as chances:
        models = [f"{number}.stl" for number in range(N)]
        lies = {path: RESULTS[number % len(RESULTS)] for number, path in enumerate(models)}
        files = {path: chances.choice(FILES) for path in models}
        of_request: dict[str, str] = {}

        def lie(path: str, body: dict[str, Any]) -> None:
            if body.get("status") == "Success":
                lies[of_request[path.rpartition("/")[2]]](body["result"])

        async with start(
            azurite, converter=Copier(), wrap=lambda own: Lies(own, lie), default_formats=TWO
        ) as pipeline:
            await each(models, lambda path: pipeline.drop(path, MODEL))
            for request in await pipeline.requests():
                record = await pipeline.app.requests.status(request)
                assert record
                of_request[record.request.id] = record.request.model
                await pipeline.run(request)
                await _damage(pipeline, record.request.model, files[record.request.model])
            await pipeline.settle()
            manifests = await ended(pipeline, models)
        for path, manifest in manifests.items():
            if lies[path] is nothing and files[path] == "whole":
                assert manifest.status is Status.SUCCESS, (path, manifest.errors)
                continue
            what = (path, lies[path].__name__, files[path])
            assert (manifest.status, manifest.derivatives) == (Status.FAILED, ()), what
            assert [error.code for error in manifest.errors] == ["missing-output"], what
        assert len({one.status for one in manifests.values()}) == 2


async def _damage(pipeline: Pipeline, path: str, how: str) -> None:
    """Something happens to the outputs before the pipeline looks at them."""
    storage, container = pipeline.app.storage, pipeline.app.settings.converted_container
    [names] = (await pipeline.outputs(path)).values()
    outputs = [name for name in names if name.endswith((".glb", ".stl"))]
    if how == "short":
        await storage.put(container, outputs[0], MODEL[:-1])
    gone = {"deleted": outputs[:1], "all deleted": names}.get(how, [])
    await each(gone, lambda name: storage.delete(container, name))


async def test_a_remote_rendering_that_names_no_outputs_must_have_written_some(azurite: Azurite) -> None:
    def lie(path: str, body: dict[str, Any]) -> None:
        body.pop("result", None)

    async with start(azurite, converter=Copier(), wrap=lambda own: Lies(own, lie)) as pipeline:
        await pipeline.drop("a.stl", MODEL)
        await pipeline.drop("b.stl", MODEL)
        for request in await pipeline.requests():
            await pipeline.run(request)
        await _damage(pipeline, "b.stl", "all deleted")
        await pipeline.settle()
        manifests = await ended(pipeline, ("a.stl", "b.stl"))
    assert manifests["a.stl"].status is Status.SUCCESS
    assert [error.code for error in manifests["b.stl"].errors] == ["missing-output"]


# --- API2Convert, whose outputs are brought -----------------------------------------------------------


def _job(change: Callable[[list[dict[str, Any]]], None]) -> Callable[[str, Any], None]:
    def lie(path: str, body: dict[str, Any]) -> None:
        status = body.get("status")
        if isinstance(status, dict) and status.get("code") == "completed":
            change(body["output"])

    return lie


def one_less(outputs: list[dict[str, Any]]) -> None:
    outputs.pop()


def none(outputs: list[dict[str, Any]]) -> None:
    outputs.clear()


def one_less_and_nobodys(outputs: list[dict[str, Any]]) -> None:
    outputs.pop()
    for output in outputs:
        del output["source"]


def more_bytes(outputs: list[dict[str, Any]]) -> None:
    outputs[0]["size"] += 1


def other_bytes(outputs: list[dict[str, Any]]) -> None:
    outputs[0]["checksum"] = "0" * 32


@pytest.mark.parametrize("change", [one_less, none, one_less_and_nobodys, more_bytes, other_bytes])
async def test_no_success_without_every_output_at_api2convert(
    azurite: Azurite, change: Callable[[list[dict[str, Any]]], None]
) -> None:
    async with start(
        azurite,
        converter=Copier(),
        wrap=lambda own: Lies(own, _job(change)),
        embedded_apis="remote-rendering,api2convert",
        default_service="api2convert",
        default_formats=TWO,
    ) as pipeline:
        await pipeline.drop("a.stl", MODEL)
        await pipeline.settle(rounds=40, seconds=20)
        manifest = (await ended(pipeline, ["a.stl"]))["a.stl"]
    assert (manifest.status, manifest.derivatives) == (Status.FAILED, ())
    assert manifest.errors[0].code in ("missing-output", "service-bad-reply")


async def test_a_job_that_was_to_go_on_without_a_conversion_is_a_success(azurite: Azurite) -> None:
    async with start(
        azurite,
        converter=Copier(),
        wrap=lambda own: Lies(own, _job(one_less)),
        embedded_apis="remote-rendering,api2convert",
        default_service="api2convert",
    ) as pipeline:
        await pipeline.upload(
            "a.stl.conversion.json",
            f'{{"formats": {TWO}, "options": {{"fail_on_conversion_error": false}}}}'.encode(),
        )
        manifest = await pipeline.convert("a.stl", MODEL)
    assert (manifest.status, len(manifest.derivatives)) == (Status.SUCCESS, 1)


# --- Model Derivative, whose outputs are brought ------------------------------------------------------


def no_stl(manifest: dict[str, Any]) -> None:
    manifest["derivatives"] = [one for one in manifest["derivatives"] if one["outputType"] != "stl"]


def no_children(manifest: dict[str, Any]) -> None:
    for one in manifest["derivatives"]:
        one["children"] = []


def no_derivatives(manifest: dict[str, Any]) -> None:
    manifest["derivatives"] = []


def other_urn(manifest: dict[str, Any]) -> None:
    for one in manifest["derivatives"]:
        for child in one["children"]:
            if "urn" in child:
                child["urn"] += "x"


def short(manifest: dict[str, Any]) -> None:
    """As it should be; but the files are shorter than is said where they are had."""


@pytest.mark.parametrize("change", [no_stl, no_children, no_derivatives, other_urn, short])
async def test_no_success_without_every_output_at_model_derivative(
    azurite: Azurite, change: Callable[[dict[str, Any]], None]
) -> None:
    def lie(path: str, body: dict[str, Any]) -> None:
        if path.endswith("/manifest") and body.get("status") == "success":
            change(body)
        if path.endswith("/signedcookies") and change is short:
            body["size"] += 1

    def wrap(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return Lies(Outside(own, azurite.blob_url), lie)

    async with start(
        azurite,
        converter=Copier(),
        wrap=wrap,
        embedded_apis="remote-rendering,model-derivative",
        default_service="model-derivative",
        default_formats='[{"type": "obj"}, {"type": "stl"}]',
    ) as pipeline:
        await pipeline.drop("cube.stl", sample("cube.stl"))
        await pipeline.settle(rounds=40, seconds=20)
        manifest = (await ended(pipeline, ["cube.stl"]))["cube.stl"]
    assert (manifest.status, manifest.derivatives) == (Status.FAILED, ()), manifest
