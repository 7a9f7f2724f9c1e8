"""From a model that lands to derivatives, by the bundle's own Model Derivative API: HTTP, storage, engine."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.clients.model_derivative_urn import Source
from shared.conversion import Status, Step
from shared.embedded.converter import Converter
from shared.manifest import Manifest
from shared.problems import Problem
from tests.copier import Copier
from tests.embedded.models import mtl, obj, packed, png
from tests.model_derivative import JOB, Outside, objects, sidecar, started, translating
from tests.pipeline import Pipeline

TOKEN = "what only the service and this app know"

Bundle = tuple[Pipeline, Outside]


@pytest.fixture
async def bundle(azurite: Azurite, converter: Converter) -> AsyncIterator[Bundle]:
    async with translating(azurite, converter=converter) as running:
        yield running


def names(manifest: Manifest) -> dict[str, list[str]]:
    """Output type -> its files' names, the companions' too."""
    found: dict[str, list[str]] = {}
    for one in manifest.derivatives:
        files = [one.path, *(child.path for child in one.children)]
        found.setdefault(one.output_type, []).extend(file.partition(f"/{manifest.id}/")[2] for file in files)
    return {kind: sorted(files) for kind, files in found.items()}


async def test_a_model_with_companions_becomes_an_obj_with_its_own(bundle: Bundle) -> None:
    pipeline, outside = bundle
    await pipeline.upload("toys/skins/skin.mtl", mtl("red.png"))
    await pipeline.upload("toys/skins/red.png", png())
    manifest = await pipeline.convert("toys/pyramid.obj", obj("skins/skin.mtl"))
    assert (manifest.status, manifest.warnings) == (Status.SUCCESS, ())
    made = names(manifest)
    assert made["thumbnail"] == ["pyramid.400x400.png"]
    assert {"pyramid.obj", "pyramid.mtl"} < set(made["obj"])
    folder = f"toys/pyramid.obj/{manifest.id}"
    written = (await pipeline.read(f"{folder}/pyramid.obj")).decode()
    library = next(line.split()[1] for line in written.splitlines() if line.startswith("mtllib"))
    material = (await pipeline.read(f"{folder}/{library}")).decode()
    texture = next(line.split()[1] for line in material.splitlines() if line.startswith("map_Kd"))
    assert await pipeline.read(f"{folder}/{texture}")
    assert outside.count("POST", "/references") == 1
    assert outside.count("POST", JOB) == 1
    assert await objects(pipeline) == []


async def test_the_model_in_a_zip_is_translated_as_its_root(bundle: Bundle) -> None:
    pipeline, outside = bundle
    await pipeline.upload("a.zip.conversion.json", sidecar({"type": "stl"}, {"type": "glb"}))
    files = {"in/A5.obj": obj("A5.mtl"), "in/A5.mtl": mtl("A5.png"), "in/A5.png": png()}
    manifest = await pipeline.convert("a.zip", packed(files))
    assert manifest.status is Status.SUCCESS
    assert manifest.source.model_in_zip == "in/A5.obj"
    assert names(manifest) == {"stl": ["A5.stl"], "glb": ["A5.glb"]}
    stl = await pipeline.read(f"a.zip/{manifest.id}/A5.stl")
    assert len(stl) == 84 + 4 * 50
    assert b"KHR" in (glb := await pipeline.read(f"a.zip/{manifest.id}/A5.glb")) or glb.startswith(b"glTF")
    assert outside.count("POST", "/references") == 0


async def test_many_formats_are_one_job(bundle: Bundle) -> None:
    pipeline, outside = bundle
    sizes: list[dict[str, Any]] = [{"type": "thumbnail", "advanced": {"width": side}} for side in (100, 200)]
    ascii_stl = {"type": "stl", "advanced": {"format": "ascii"}}
    formats: list[dict[str, Any]] = [{"type": "obj"}, ascii_stl, *sizes]
    await pipeline.upload("conversion.json", sidecar(*formats))
    manifest = await pipeline.convert("pyramid.obj", obj())
    assert manifest.status is Status.SUCCESS
    made = names(manifest)
    assert made["stl"] == ["pyramid.stl"]
    assert made["thumbnail"] == ["pyramid.100x100.png", "pyramid.200x200.png"]
    assert (await pipeline.read(f"pyramid.obj/{manifest.id}/pyramid.stl")).startswith(b"solid")
    assert outside.count("POST", JOB) == 1
    for derivative in manifest.derivatives:
        assert len(await pipeline.read(derivative.path)) == derivative.size
        assert derivative.sha256


async def test_what_cannot_be_read_fails_in_the_services_words(bundle: Bundle) -> None:
    pipeline, _ = bundle
    manifest = await pipeline.convert("broken.stl", b"this is no model")
    assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, "corrupt-model")
    assert manifest.derivatives == ()
    assert await objects(pipeline) == []


async def test_what_the_service_does_not_make_is_refused_with_what_it_makes(bundle: Bundle) -> None:
    pipeline, _ = bundle
    await pipeline.upload("conversion.json", sidecar({"type": "svf2", "views": ["3d"]}))
    manifest = await pipeline.convert("pyramid.obj", obj())
    assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, "service-refused")
    assert "406" in manifest.errors[0].message
    assert "glb, gltf, jpg, obj, " in manifest.errors[0].message


async def test_single_objects_are_extracted_from_the_translation(bundle: Bundle) -> None:
    pipeline, outside = bundle
    parts = obj().replace(b"f 1/1 3/2", b"o first\nf 1/1 3/2").replace(b"f 2/1", b"o second\nf 2/1")
    extraction = {"type": "obj", "advanced": {"modelGuid": "the only one", "objectIds": [3]}}
    await pipeline.upload("conversion.json", sidecar(extraction))
    manifest = await pipeline.convert("parts.obj", parts)
    assert (manifest.status, [one.code for one in manifest.warnings]) == (Status.SUCCESS, ["view-replaced"])
    made = (await pipeline.read(f"parts.obj/{manifest.id}/parts.obj")).decode()
    assert 0 < sum(line.startswith("f ") for line in made.splitlines()) < 4
    assert set(names(manifest)) == {"obj"}
    assert outside.count("POST", JOB) == 2


async def test_objects_that_are_not_there_fail_the_extraction(bundle: Bundle) -> None:
    pipeline, _ = bundle
    extraction = {"type": "obj", "advanced": {"modelGuid": "pyramid.obj", "objectIds": [2000]}}
    await pipeline.upload("conversion.json", sidecar(extraction))
    manifest = await pipeline.convert("pyramid.obj", obj())
    assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, "conversion-failed")
    assert "2000" in manifest.errors[0].message


async def test_the_region_of_a_model_is_its_own(bundle: Bundle) -> None:
    pipeline, _ = bundle
    await pipeline.upload("conversion.json", sidecar({"type": "stl"}, options={"region": "EMEA"}))
    manifest = await pipeline.convert("pyramid.obj", obj())
    assert manifest.status is Status.SUCCESS
    assert manifest.service is not None and manifest.service.id is not None
    source = Source.parse(manifest.service.id)
    assert source is not None and source.region == "EMEA"
    designs = pipeline.app.storage.list(pipeline.app.settings.embedded_container, "derivatives/")
    assert {head.name.split("/")[1] async for head in designs} == {"emea"}


async def test_the_same_model_again_is_another_translation(azurite: Azurite) -> None:
    async with translating(azurite, converter=Copier()) as (pipeline, outside):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        first = await pipeline.convert("pyramid.obj", obj())
        second = await pipeline.convert("pyramid.obj", obj(height=2))
        assert first.service is not None and second.service is not None
        assert first.service.id != second.service.id
        assert second.source.etag != first.source.etag
        assert set(await pipeline.outputs("pyramid.obj")) == {second.id}
        assert await pipeline.read(f"pyramid.obj/{second.id}/pyramid.stl") == obj(height=2)
        assert outside.count("POST", JOB) == 2


async def test_a_newer_version_in_mid_flight_ends_the_older_translation(azurite: Azurite) -> None:
    async with translating(azurite, converter=Copier()) as (pipeline, _):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await started(pipeline)
        older = await pipeline.record("pyramid.obj")
        assert older is not None and older.step is Step.POLL
        manifest = await pipeline.convert("pyramid.obj", obj(height=2))
        assert manifest.status is Status.SUCCESS
        assert await objects(pipeline) == []
        designs = pipeline.app.storage.list(pipeline.app.settings.embedded_container, "derivatives/")
        assert sum([head.name.endswith("design.json") async for head in designs]) == 1


# --- The webhook --------------------------------------------------------------------------------


async def test_the_end_is_told_by_a_signed_webhook(azurite: Azurite) -> None:
    hooked: dict[str, Any] = {
        "converter": Copier(),
        "model_derivative_webhook_token": f"{TOKEN},the one before it",
    }
    async with translating(azurite, **hooked) as (pipeline, outside):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await started(pipeline)
        record = await pipeline.record("pyramid.obj")
        assert record is not None and record.callback
        # No tick from here on: the delivery alone moves it.
        await pipeline.work()
        assert (await pipeline.manifest("pyramid.obj")).status is Status.SUCCESS
        assert outside.count("POST", "/callbacks/model-derivative") == 1
        await pipeline.convert("other.obj", obj(height=3))
        assert outside.count("POST", "/hooks") == 1


async def test_a_lost_webhook_only_costs_time(azurite: Azurite) -> None:
    hooked: dict[str, Any] = {"converter": Copier(), "model_derivative_webhook_token": TOKEN, "wrap": Deaf}
    async with translating(azurite, **hooked) as (pipeline, _):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await started(pipeline)
        await pipeline.settle(seconds=pipeline.app.settings.poll_ceiling_seconds)
        assert (await pipeline.manifest("pyramid.obj")).status is Status.SUCCESS


@pytest.mark.parametrize("tokens", [TOKEN, f"the newest token, {TOKEN}"])
async def test_a_delivery_makes_the_conversion_due_as_often_as_it_comes(
    azurite: Azurite, tokens: str
) -> None:
    hooked: dict[str, Any] = {"model_derivative_webhook_token": tokens, "wrap": Deaf}
    async with translating(azurite, converter=Copier(), **hooked) as (pipeline, outside):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await started(pipeline)
        body = await delivery(pipeline)
        polls = outside.count("GET", "/manifest")
        for _ in range(3):
            assert await deliver(pipeline, body, signed(body, TOKEN)) == 204
        await pipeline.transfer()
        assert outside.count("GET", "/manifest") > polls
        await pipeline.work()
        assert await deliver(pipeline, body, signed(body, TOKEN)) == 204
        await pipeline.transfer()
        assert (await pipeline.manifest("pyramid.obj")).status is Status.SUCCESS
        assert outside.count("POST", JOB) == 1
        # Late, when nothing is in flight any more.
        assert await deliver(pipeline, body, signed(body, TOKEN)) == 204
        assert await pipeline.records() == []


async def test_a_forged_delivery_moves_nothing(azurite: Azurite) -> None:
    hooked: dict[str, Any] = {"model_derivative_webhook_token": TOKEN, "wrap": Deaf}
    async with translating(azurite, converter=Copier(), **hooked) as (pipeline, outside):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await started(pipeline)
        body = await delivery(pipeline)
        before = await pipeline.record("pyramid.obj")
        right = signed(body, TOKEN)
        for signature in (None, "", "sha1hash=", signed(body, "a guess"), right[:-1], f"{right}0", "\u00e9"):
            assert await deliver(pipeline, body, signature) == 404
        assert await deliver(pipeline, body + b" ", right) == 404
        assert await pipeline.record("pyramid.obj") == before
        assert outside.count("GET", "/manifest") == 0
        assert await deliver(pipeline, b"x" * 300_000, right) == 413
        for other in (b"{}", b"no json", b"[]", b'{"resourceUrn": 7}', b'{"resourceUrn": "dXJuOm90aGVy"}'):
            assert await deliver(pipeline, other, signed(other, TOKEN)) == 204
        assert await pipeline.record("pyramid.obj") == before


async def test_nobody_delivers_where_no_webhook_is_wanted(azurite: Azurite) -> None:
    async with translating(azurite) as (pipeline, _):
        assert await deliver(pipeline, b"{}", signed(b"{}", "")) == 404


async def delivery(pipeline: Pipeline) -> bytes:
    """What the service would deliver of the conversion in flight."""
    record = await pipeline.record("pyramid.obj")
    assert record is not None
    return json.dumps({"version": "1.0", "resourceUrn": record.service_id, "payload": {}}).encode()


def signed(body: bytes, token: str) -> str:
    return f"sha1hash={hmac.new(token.encode(), body, hashlib.sha1).hexdigest()}"


async def deliver(pipeline: Pipeline, body: bytes, signature: str | None) -> int:
    headers = {} if signature is None else {b"x-adsk-signature": signature.encode()}
    async with pipeline.http() as client:
        return (await client.post("/callbacks/model-derivative", content=body, headers=headers)).status_code


class Deaf(httpx.AsyncBaseTransport):
    """No webhook arrives."""

    def __init__(self, own: httpx.AsyncBaseTransport) -> None:
        self._own = own

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/callbacks/model-derivative":
            return httpx.Response(503)
        return await self._own.handle_async_request(request)


# --- What a service may do ----------------------------------------------------------------------


class Manifests(httpx.AsyncBaseTransport):
    """Answers some of the calls for manifests by itself."""

    def __init__(self, own: httpx.AsyncBaseTransport, *answers: httpx.Response) -> None:
        self._own = own
        self._answers = list(answers)
        self.is_for_ever = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.url.path.endswith("/manifest") and self._answers:
            said = self._answers[0] if self.is_for_ever else self._answers.pop(0)
            return httpx.Response(said.status_code, headers=said.headers, content=said.content)
        return await self._own.handle_async_request(request)


async def test_a_manifest_that_comes_late_is_waited_for(azurite: Azurite) -> None:
    def wrap(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        answers = (httpx.Response(404, json={"diagnostic": "none"}), httpx.Response(202, json={}))
        throttled = httpx.Response(429, headers={"Retry-After": "40"}, json={"developerMessage": "Quota"})
        return Manifests(own, *answers, answers[0], httpx.Response(500), throttled)

    async with translating(azurite, converter=Copier(), wrap=wrap) as (pipeline, _):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await started(pipeline)
        await pipeline.settle(rounds=30)
        assert (await pipeline.manifest("pyramid.obj")).status is Status.SUCCESS


async def test_a_manifest_that_never_comes_is_a_lost_conversion(azurite: Azurite) -> None:
    made: list[Manifests] = []

    def wrap(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        made.append(Manifests(own, httpx.Response(404, json={"diagnostic": "none"})))
        made[0].is_for_ever = True
        return made[0]

    async with translating(azurite, converter=Copier(), wrap=wrap) as (pipeline, _):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await started(pipeline)
        begun = pipeline.app.tools.now()
        await pipeline.settle(rounds=60, seconds=15)
        manifest = await pipeline.manifest("pyramid.obj")
        assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, "service-lost-conversion")
        assert (manifest.timings.ended - begun).total_seconds() >= pipeline.app.settings.grace_seconds


async def test_what_stays_at_the_service_and_what_it_says_stand_in_the_manifest(azurite: Azurite) -> None:
    graphics = {"guid": "g-1", "type": "resource", "role": "graphics"}
    said = {
        "status": "success",
        "progress": "complete",
        "derivatives": [
            {
                "outputType": "svf2",
                "name": "{3D}",
                "children": [{"type": "geometry", "status": "inprogress", "children": [graphics]}],
                "messages": [{"type": "warning", "code": "Revit-Link", "message": "A link is missing."}],
            }
        ],
    }
    made: list[Manifests] = []

    def wrap(own: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        made.append(Manifests(own, httpx.Response(200, json=said)))
        made[0].is_for_ever = True
        return made[0]

    async with translating(azurite, converter=Copier(), wrap=wrap) as (pipeline, outside):
        settings = sidecar({"type": "svf2", "views": ["3d"]})
        await pipeline.upload("conversion.json", settings)
        # The service of these tests makes no SVF2: its answer to the job is played too.
        own = outside._own

        class Accepts(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.url.path.endswith(JOB):
                    return httpx.Response(200, json={"result": "success"})
                return await own.handle_async_request(request)

        outside._own = Accepts()
        manifest = await pipeline.convert("pyramid.obj", obj())
        assert manifest.status is Status.SUCCESS
        assert [(one.output_type, one.guid, one.name) for one in manifest.kept] == [("svf2", "g-1", "{3D}")]
        assert manifest.derivatives == ()
        assert [(one.type, one.code, one.message) for one in manifest.messages] == [
            ("warning", "Revit-Link", "A link is missing.")
        ]


async def test_a_service_that_is_set_up_no_more_ends_its_conversions(azurite: Azurite) -> None:
    async with translating(azurite, converter=Copier()) as (pipeline, _):
        await pipeline.upload("conversion.json", sidecar({"type": "stl"}))
        await pipeline.drop("pyramid.obj", obj())
        await started(pipeline)
        await pipeline.drop("waits.obj", obj())  # for the tick to hand it out
        services = dict(pipeline.app.services)
        del services["model-derivative"]
        pipeline.app.tools.__dict__["services"] = services
        await pipeline.settle()
        for path in ("pyramid.obj", "waits.obj"):
            manifest = await pipeline.manifest(path)
            assert (manifest.status, manifest.errors[0].code) == (Status.FAILED, "invalid-settings")
            assert "not set up" in manifest.errors[0].message


@pytest.mark.parametrize(
    ("changes", "makes_glb"),
    [
        ({"embedded_apis": "remote-rendering"}, None),
        ({"embedded_apis": "remote-rendering,model-derivative"}, True),
        ({"model_derivative_client_id": "id", "model_derivative_client_secret": "secret"}, False),
    ],
    ids=["not set up", "the bundle's own", "Autodesk's"],
)
async def test_the_service_is_the_bundles_own_or_autodesks(
    azurite: Azurite, changes: dict[str, Any], makes_glb: bool | None
) -> None:
    async with translating(azurite, **changes) as (pipeline, _):
        service = pipeline.app.services.get("model-derivative")
        assert (service is None) is (makes_glb is None)
        if service is not None:
            made = [{"type": "glb"}]
            if makes_glb:
                service.check(".ply", made, {})
            else:
                service.check(".rvt", [{"type": "dwg"}], {})
                with pytest.raises(Problem):
                    service.check(".rvt", made, {})
