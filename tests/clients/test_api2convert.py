"""The API2Convert client against a service that says what a test tells it to say."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from shared.clients.api2convert import Api2Convert
from shared.conversion import Status
from shared.manifest import Manifest
from shared.problems import Problem, ServiceFault
from tests.clients.service import Answer, Asked, Service, answer, running
from tests.pipeline import Pipeline, start

CUBE = b"solid t\nendsolid t\n"
GLB = b"any bytes: nobody but the caller reads them"
KEY = "a vendor's key"
TARGET = {"id": "1", "target": "glb", "category": "cad", "options": {"quality": {"type": "integer"}}}


def job(status: str = "incomplete", **more: Any) -> bytes:
    return answer(200, {"id": "job", "token": "t" * 32, "status": {"code": status}, **more})


def output(service: Service, **more: Any) -> dict[str, Any]:
    return {
        "id": "o",
        "uri": f"{service.url}/cube.glb",
        "filename": "cube.glb",
        "size": len(GLB),
        "checksum": hashlib.md5(GLB, usedforsecurity=False).hexdigest(),
        "content_type": "model/gltf-binary",
        "source": {"conversion": "c", "input": ["i"]},
        **more,
    }


def completed(service: Service, **more: Any) -> bytes:
    return job("completed", conversion=[{"id": "c", "target": "glb"}], output=[output(service, **more)])


def said(*answers: Any) -> Any:
    """Answers by method, each list in its turn; the last one stays."""
    by_method: dict[str, list[Any]] = {}
    for method, reply in answers:
        by_method.setdefault(method, []).append(reply)

    def choose(asked: Asked) -> Answer:
        replies = by_method[asked.method]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        chosen: Answer = reply(asked) if callable(reply) else reply
        return chosen

    return [choose]


@asynccontextmanager
async def with_vendor(azurite: Azurite, **changes: Any) -> AsyncIterator[tuple[Pipeline, Service]]:
    """A bundle whose API2Convert service does a conversion well, as long as nothing else is said."""
    async with running() as service:
        service.says = {
            "conversions?target=glb": [answer(200, [TARGET])],
            "conversions?target=glb&source=stl": [answer(200, [TARGET])],
            "jobs": [answer(201, {"id": "job"})],
            "job": said(("PATCH", job("downloading")), ("GET", completed(service)), ("DELETE", answer(204))),
            "cube.glb": [answer(200, GLB)],
        }
        async with start(
            azurite,
            http=httpx.AsyncHTTPTransport(),
            api2convert_url=f"{service.url}/v2",
            api2convert_api_key=KEY,
            default_service="api2convert",
            **changes,
        ) as pipeline:
            yield pipeline, service


async def ended(pipeline: Pipeline, **pace: Any) -> Manifest:
    await pipeline.drop("cube.stl", CUBE)
    await pipeline.settle(**{"rounds": 40, "seconds": 400, **pace})
    manifest = await pipeline.manifest("cube.stl")
    assert KEY not in manifest.encode().decode()
    assert "sig=" not in manifest.encode().decode()
    return manifest


def calls(service: Service, method: str, last: str = "job") -> list[Asked]:
    return [asked for asked in service.asked_for(last) if asked.method == method]


async def test_a_job_is_made_of_an_address_and_started_afterwards(azurite: Azurite) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        manifest = await ended(pipeline)
        assert manifest.status is Status.SUCCESS, manifest.errors
        assert await pipeline.read(manifest.derivatives[0].path) == GLB
        (create,) = service.asked_for("jobs")
        assert create.body["process"] is False
        assert create.body["conversion"] == [{"target": "glb", "options": {}}]
        (given,) = create.body["input"]
        assert (given["type"], given["filename"]) == ("remote", "cube.stl")
        assert "sp=r&" in given["source"]
        assert "callback" not in create.body
        assert create.headers["x-oc-api-key"] == KEY
        assert create.headers["idempotency-key"] == manifest.id
        (patch,) = calls(service, "PATCH")
        assert patch.body == {"process": True}
        assert len(calls(service, "DELETE")) == 1
        assert "x-oc-api-key" not in service.asked_for("cube.glb")[0].headers


async def test_a_service_that_knows_no_patch_gets_a_post(azurite: Azurite) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        service.says["job"] = said(
            ("PATCH", answer(405)),
            ("POST", job("queued")),
            ("GET", completed(service)),
            ("DELETE", answer(204)),
        )
        assert (await ended(pipeline)).status is Status.SUCCESS
        assert (len(calls(service, "PATCH")), len(calls(service, "POST"))) == (1, 1)


async def test_a_job_that_has_been_started_is_not_an_error(azurite: Azurite) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        service.says["job"] = said(
            ("PATCH", answer(409, {"message": "wrong status"})),
            ("GET", completed(service)),
            ("DELETE", answer(404)),
        )
        assert (await ended(pipeline)).status is Status.SUCCESS


async def test_statuses_that_nobody_knows_go_on(azurite: Azurite) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        service.says["job"] = said(
            ("PATCH", job()),
            *(("GET", job(word)) for word in ("created", "ready", "pending", "running", "Pondering")),
            ("GET", completed(service)),
            ("DELETE", answer(204)),
        )
        assert (await ended(pipeline)).status is Status.SUCCESS


@pytest.mark.parametrize("key", ["id_source", "idSource"])
async def test_errors_and_warnings_keep_their_code_source_and_id(azurite: Azurite, key: str) -> None:
    errors = [
        {"source": "input", key: "in-1", "code": 17, "message": "File not found"},
        {"source": "conversion", key: "c-1", "code": 6004, "message": "No", "details": {"text_1": "x"}},
    ]
    async with with_vendor(azurite) as (pipeline, service):
        service.says["job"] = said(
            ("PATCH", job()),
            ("GET", job("failed", errors=errors, warnings=errors[1:])),
            ("DELETE", answer(204)),
        )
        manifest = await ended(pipeline)
        assert manifest.status is Status.FAILED
        found = [(one.source, one.id_source, one.code, one.message) for one in manifest.errors]
        assert found == [
            ("input", "in-1", 17, "File not found"),
            ("conversion", "c-1", 6004, "No"),
        ]
        # An input that was refused: its address was signed anew, once, and refused again.
        assert [one.code for one in manifest.warnings] == [6004, "sas-renewed"]


async def test_a_canceled_job_has_failed(azurite: Azurite) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        canceled = answer(200, {"id": "job", "status": {"code": "canceled", "info": "Canceled by you."}})
        service.says["job"] = said(("PATCH", job()), ("GET", canceled), ("DELETE", answer(204)))
        manifest = await ended(pipeline)
        assert (manifest.errors[0].code, manifest.errors[0].message) == (
            "conversion-failed",
            "Canceled by you.",
        )


FAULTS: list[tuple[str, str, Any, str, str]] = [
    ("401 to the create", "jobs", answer(401, {"message": "Invalid api key"}), "service-unauthorized", "Inv"),
    (
        "402 to the create",
        "jobs",
        answer(402, {"message": "Quota reached"}),
        "service-quota",
        "Quota reached",
    ),
    ("400 to the create", "jobs", answer(400, {"message": "no"}), "service-refused", "no"),
    ("409 to the create", "jobs", answer(409, {"message": "another"}), "service-refused", "another"),
    ("429 for ever", "jobs", answer(429), "timeout", ""),
    ("500 for ever", "jobs", answer(500, {"message": "boom"}), "timeout", "boom"),
    ("no id", "jobs", answer(201, {}), "service-bad-reply", "id"),
    ("a list", "jobs", answer(201, []), "service-bad-reply", ""),
    ("an id that is a path", "jobs", answer(201, {"id": "../x"}), "service-bad-reply", "id"),
    ("402 to the start", "PATCH", answer(402), "service-quota", "credits"),
    ("404 to a poll", "GET", answer(404), "service-lost-conversion", "no longer knows"),
    ("no status", "GET", answer(200, {"id": "job"}), "service-bad-reply", "status"),
    ("stuck for ever", "GET", job("processing"), "timeout", "inprogress"),
    ("incomplete for ever", "GET", job("incomplete"), "timeout", "pending"),
    ("expired output", "cube.glb", answer(404, {"message": "gone"}), "missing-output", "24 hours"),
    ("another output", "cube.glb", answer(200, GLB[:-1] + b"!"), "service-bad-reply", "checksum"),
    ("half an output", "cube.glb", answer(200, GLB[:-1]), "service-bad-reply", "bytes"),
    ("a redirect away", "cube.glb", answer(302, Location="http://10.0.0.1/"), "service-bad-reply", "https"),
    ("no output", "GET", job("completed", output=[]), "missing-output", "wrote no output"),
]


@pytest.mark.parametrize(
    ("where", "reply", "code", "words"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS]
)
async def test_a_service_at_fault_ends_in_a_manifest(
    azurite: Azurite, where: str, reply: bytes, code: str, words: str
) -> None:
    async with with_vendor(azurite, deadline_seconds=2000) as (pipeline, service):
        if where in ("PATCH", "GET"):
            replies = {"PATCH": job(), "GET": completed(service), "DELETE": answer(204), where: reply}
            service.says["job"] = said(*replies.items())
        else:
            service.says[where] = [reply]
        manifest = await ended(pipeline, rounds=80, seconds=60)
        assert manifest.errors[0].code == code
        assert words in manifest.errors[0].message
        if where != "jobs":
            # Whatever happened, nothing is left at the service.
            assert calls(service, "DELETE")


@pytest.mark.parametrize(
    ("where", "reply"),
    [
        ("jobs", answer(503, Retry_After="5")),
        ("jobs", answer(429, {"message": "slow down"}, Retry_After="7")),
        ("cube.glb", answer(503)),
        ("cube.glb", answer(200, GLB[:-3] + b"???")),
        ("conversions?target=glb", answer(500)),
    ],
    ids=str,
)
async def test_what_passes_is_tried_again(azurite: Azurite, where: str, reply: bytes) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        service.says[where].insert(0, reply)
        manifest = await ended(pipeline)
        assert manifest.status is Status.SUCCESS, manifest.errors
        assert await pipeline.read(manifest.derivatives[0].path) == GLB


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"filename": "cube.glb"}, "cube.glb"),
        ({"filename": None, "name": "other.glb"}, "other.glb"),
        ({"filename": None}, "cube.glb"),
        ({"filename": "../../evil"}, "evil"),
        ({"filename": "..\\evil.glb"}, "evil.glb"),
        ({"filename": ".."}, "cube.glb"),
        ({"filename": "a\nb"}, "cube.glb"),
    ],
)
async def test_an_output_has_the_name_that_the_service_gives_it_and_no_folder(
    azurite: Azurite, told: dict[str, Any], name: str
) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        service.says["job"] = said(
            ("PATCH", job()), ("GET", completed(service, **told)), ("DELETE", answer(204))
        )
        manifest = await ended(pipeline)
        assert [one.name for one in manifest.derivatives] == [name]


async def test_options_and_flags_reach_the_service(azurite: Azurite) -> None:
    sidecar = (
        b'{"formats": [{"type": "glb", "category": "cad"}], "options": {"conversion": {"quality": 5}, '
        b'"fail_on_input_error": false, "fail_on_conversion_error": false, "notify_status": true, '
        b'"limits": {"job": 1}}}'
    )
    async with with_vendor(azurite) as (pipeline, service):
        await pipeline.upload("cube.stl.conversion.json", sidecar)
        assert (await ended(pipeline)).status is Status.SUCCESS
        (create,) = service.asked_for("jobs")
        assert create.body["conversion"] == [{"target": "glb", "category": "cad", "options": {"quality": 5}}]
        given = {key: create.body[key] for key in ("fail_on_input_error", "fail_on_conversion_error")}
        assert given == {"fail_on_input_error": False, "fail_on_conversion_error": False}
        assert (create.body["notify_status"], create.body["limits"]) == (True, {"job": 1})


async def test_the_catalogue_is_asked_once(azurite: Azurite) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        for name in ("one.stl", "two.stl"):
            manifest = await pipeline.convert(name, CUBE)
            assert manifest.status is Status.SUCCESS
        assert len(service.asked_for("conversions?target=glb")) == 1


async def test_a_pair_that_the_catalogue_lacks_costs_nothing(azurite: Azurite) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        service.says["conversions?target=glb&source=stl"] = [answer(200, [])]
        manifest = await ended(pipeline)
        assert manifest.errors[0].code == "unsupported-format"
        assert not service.asked_for("jobs")


async def test_a_catalogue_that_is_not_there_stops_nothing(azurite: Azurite) -> None:
    async with with_vendor(azurite) as (pipeline, service):
        service.says["conversions?target=glb"] = [answer(404)]
        assert (await ended(pipeline)).status is Status.SUCCESS


async def test_an_upload_goes_to_the_jobs_server_with_its_token(azurite: Azurite) -> None:
    async with with_vendor(azurite, api2convert_upload=True) as (pipeline, service):
        made = answer(201, {"id": "job", "token": "the token", "server": f"{service.url}/dl"})
        service.says["jobs"] = [made]
        uploads: list[Asked] = []

        def upload(asked: Asked) -> bytes:
            uploads.append(asked)
            return answer(503) if len(uploads) == 1 else answer(200, {"id": "i"})

        service.says["job"] = said(
            ("POST", upload),
            ("GET", made),
            ("PATCH", job()),
            ("DELETE", answer(204)),
        )
        await pipeline.drop("cube.stl", CUBE)
        for _ in range(6):
            await pipeline.work()
            pipeline.later(10)
            await pipeline.app.tick.run()
        assert [asked.path for asked in uploads] == ["/dl/upload-file/job"] * 2
        assert {asked.headers["x-oc-upload-uuid"] for asked in uploads} != set()
        assert len({asked.headers["x-oc-upload-uuid"] for asked in uploads}) == 1
        assert uploads[0].headers["x-oc-token"] == "the token"
        assert "x-oc-api-key" not in uploads[0].headers
        assert CUBE in uploads[0].raw
        assert b'filename="cube.stl"' in uploads[0].raw
        assert service.asked_for("jobs")[0].body["input"] == []


async def test_an_output_comes_decoded_from_base64() -> None:
    data = bytes(range(256)) * 1000
    encoded = base64.encodebytes(data)
    async with running() as service:
        service.says = {"x.glb?encoding=base64": [answer(200, encoded)]}
        client = Api2Convert(f"{service.url}/v2", KEY)
        pieces = [piece async for piece in client.content(f"{service.url}/x.glb", encoded=True)]
        assert b"".join(pieces) == data
        service.says = {"x.glb?encoding=base64": [answer(200, b"%%%%")]}
        with pytest.raises(ServiceFault, match="not base64"):
            async for _ in client.content(f"{service.url}/x.glb", encoded=True):
                pass
        await client.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"limits": 3}, "limits"),
        ({"notify_status": "yes"}, "notify_status"),
        ({"password_setting": "PATH"}, "INPUT_PASSWORD"),
        ({"password_setting": "INPUT_PASSWORD_X"}, "not set"),
    ],
)
def test_options_that_are_none_are_refused(options: dict[str, Any], words: str) -> None:
    client = Api2Convert("https://api.test/v2", KEY)
    with pytest.raises(Problem, match=words):
        client.check(".stl", [{"type": "glb"}], options)


def test_what_the_service_cannot_read_is_refused() -> None:
    client = Api2Convert("https://api.test/v2", KEY)
    with pytest.raises(Problem, match="cannot read"):
        client.check(".nwd", [{"type": "glb"}], {})
    with pytest.raises(Problem, match="same"):
        client.check(".stl", [{"type": "glb"}, {"type": "glb"}], {})


async def test_a_key_never_travels_unencrypted() -> None:
    client = Api2Convert("http://api.test/v2", KEY, transport=httpx.MockTransport(lambda _: 1 / 0))  # type: ignore[arg-type]
    with pytest.raises(ServiceFault, match="https"):
        await client.dispose("job")
    await asyncio.gather(client.close())
