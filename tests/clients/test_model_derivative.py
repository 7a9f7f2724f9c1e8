"""The Model Derivative client against a service that answers what a test says: orders, uploads and jobs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared import model_derivative_formats as table
from shared.clients import model_derivative_upload, transport
from shared.clients.model_derivative import ModelDerivative
from shared.clients.model_derivative_urn import Source
from shared.clients.model_derivative_webhook import Webhook
from shared.problems import Code, Problem
from tests.clients import designs
from tests.clients.designs import BUCKET, MODEL, SECRET, TOKEN, Files, accepting, one_file, order, wanted
from tests.clients.orders import fault_of
from tests.clients.service import Answer, Asked, Service, answer, running


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with running() as running_service:
        yield running_service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[ModelDerivative]:
    made = designs.client(service)
    yield made
    await made.close()


# --- Uploads and the job ------------------------------------------------------------------------


async def test_a_model_is_uploaded_under_its_own_urn_and_translated(
    service: Service, client: ModelDerivative
) -> None:
    parts: dict[int, bytes] = {}
    accepting(service, parts)
    files = one_file()
    started = await client.start(order(files))
    source = Source.parse(started.service_id)
    assert source == designs.source(files)
    assert source.key.startswith(order(files).id)
    assert started.service_id == client.id_ahead(order(files).id, order(files).files, {})
    assert b"".join(parts[number] for number in sorted(parts)) == MODEL
    [made] = service.asked_for("buckets")
    assert made.body == {"bucketKey": BUCKET, "policyKey": "temporary"}
    ended = service.asked_for("signeds3upload")[-1]
    assert ended.body == {"uploadKey": "the-upload", "size": len(MODEL), "eTags": ['"1"']}
    [job] = service.asked_for("job")
    assert job.path == "/modelderivative/v2/designdata/job"
    assert job.body == {"input": {"urn": source.urn}, "output": {"formats": [{"type": "obj"}]}}
    assert job.headers["x-ads-force"] == "false"
    assert "x-ads-derivative-format" not in job.headers
    assert "=" not in started.service_id
    own = [one for one in service.asked if not one.path.endswith("/part")]
    assert {one.headers["region"] for one in own[1:]} == {"US"}
    assert {one.headers["authorization"] for one in own[1:]} == {f"Bearer {TOKEN}"}
    assert not started.calls_back


async def test_the_token_is_asked_for_once_with_every_scope_it_needs(
    service: Service, client: ModelDerivative
) -> None:
    accepting(service, {})
    await client.start(order(one_file()))
    await client.start(order(one_file()))
    [asked] = service.asked_for("token")
    assert asked.raw.startswith(b"grant_type=client_credentials&scope=data%3Aread+data%3Awrite+data%3Acreate")
    assert asked.headers["authorization"].startswith("Basic ")
    assert len(service.asked_for("buckets")) == 1


async def test_companions_are_objects_of_their_own_that_the_job_refers_to(
    service: Service, client: ModelDerivative
) -> None:
    accepting(service, {})
    files = Files({"cars/car.obj": MODEL, "cars/skins/car.mtl": b"newmtl a", "cars/no.png": b""})
    started = await client.start(order(files))
    source = Source.parse(started.service_id)
    assert source is not None and source.companions == 1
    [asked] = service.asked_for("references")
    assert asked.body == {
        "urn": source.object_id(source.key),
        "region": "US",
        "filename": "car.obj",
        "references": [
            {
                "urn": source.object_id(source.companion_keys[0]),
                "relativePath": "skins/car.mtl",
                "filename": "car.mtl",
            }
        ],
    }
    assert service.asked_for("job")[0].body["input"] == {"urn": source.urn, "checkReferences": True}


async def test_references_that_are_not_to_be_checked_are_not_sent(
    service: Service, client: ModelDerivative
) -> None:
    accepting(service, {})
    files = Files({"cars/car.obj": MODEL, "cars/car.mtl": b"newmtl a"})
    await client.start(order(files, options={"checkReferences": False}))
    assert service.asked_for("references") == []
    assert "checkReferences" not in service.asked_for("job")[0].body["input"]


async def test_a_zip_names_its_root(service: Service, client: ModelDerivative) -> None:
    accepting(service, {})
    await client.start(order(one_file(name="a.zip"), root_filename="in/A5.iam"))
    given = service.asked_for("job")[0].body["input"]
    assert (given["compressedUrn"], given["rootFilename"]) == (True, "in/A5.iam")


async def test_a_model_that_is_called_a_zip_and_is_none_is_refused(
    service: Service, client: ModelDerivative
) -> None:
    accepting(service, {})
    with pytest.raises(Problem, match="compressedUrn"):
        await client.start(order(one_file(), options={"compressedUrn": True}))
    assert service.asked_for("job") == []


async def test_region_derivative_format_and_misc_are_sent(service: Service) -> None:
    accepting(service, {})
    client = designs.client(service, emea_path=True)
    misc = {"workflow": "my-workflow", "workflowAttribute": {"myfoo": 33}}
    options = {"region": "EMEA", "derivativeFormat": "fallback", "misc": misc}
    started = await client.start(order(one_file(), options=options))
    [job] = service.asked_for("job")
    assert job.path == "/modelderivative/v2/regions/eu/designdata/job"
    assert job.headers["x-ads-derivative-format"] == "fallback"
    assert job.body["misc"] == misc
    [bucket] = service.asked_for("buckets")
    assert (bucket.headers["region"], bucket.headers["x-ads-region"]) == ("EMEA", "EMEA")
    service.says["manifest"] = [answer(200, designs.manifest())]
    await client.poll(started.service_id)
    [asked] = service.asked_for("manifest")
    assert asked.path.startswith("/modelderivative/v2/regions/eu/designdata/")
    assert asked.headers["region"] == "EMEA"
    await client.close()


async def test_the_manifest_can_be_forced_anew(service: Service, client: ModelDerivative) -> None:
    accepting(service, {})
    await client.post_job({"input": {"urn": "dXJu"}, "output": {"formats": []}}, "US", force=True)
    assert service.asked_for("job")[0].headers["x-ads-force"] == "true"


async def test_large_files_go_in_parts_whose_addresses_come_in_batches(
    service: Service, client: ModelDerivative, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_derivative_upload, "_PART", 150)
    parts: dict[int, bytes] = {}
    accepting(service, parts)
    await client.start(order(one_file()))
    assert sorted(parts) == list(range(1, 29))
    assert b"".join(parts[number] for number in sorted(parts)) == MODEL
    batches = [one.path.partition("?")[2] for one in service.asked_for("signeds3upload")[:-1]]
    assert batches == [
        "parts=25&firstPart=1&minutesExpiration=60",
        "parts=3&firstPart=26&minutesExpiration=60&uploadKey=the-upload",
    ]
    assert len(service.asked_for("signeds3upload")[-1].body["eTags"]) == 28


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_a_part_that_is_refused_is_sent_again_and_no_other(
    service: Service, client: ModelDerivative, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(model_derivative_upload, "_PART", 1500)
    parts: dict[int, bytes] = {}
    accepting(service, parts)
    [put] = service.says["part"]
    service.says["part"] = [put, answer(status, b"<Error>expired</Error>"), put]
    await client.start(order(one_file()))
    assert b"".join(parts[number] for number in sorted(parts)) == MODEL
    assert [one.path.split("/")[2] for one in service.asked_for("part")] == ["1", "2", "2", "3"]
    asked = [one.path.partition("?")[2] for one in service.asked_for("signeds3upload")[:-1]]
    again = "parts=2&firstPart=2&minutesExpiration=60&uploadKey=the-upload"
    assert asked[1:] == ([again] if status == 403 else [])


async def test_a_part_that_is_never_taken_is_tried_again_later(
    service: Service, client: ModelDerivative
) -> None:
    accepting(service, {})
    service.says["part"] = [answer(500)]
    fault = await fault_of(client.start(order(one_file())))
    assert (fault.code, fault.transient) == (Code.SERVICE_UNAVAILABLE, True)
    assert len(service.asked_for("part")) == 5
    service.says["part"] = [answer(400)]
    fault = await fault_of(client.start(order(one_file())))
    assert (fault.code, fault.transient) == (Code.SERVICE_REFUSED, False)


async def test_what_is_uploaded_already_is_not_uploaded_again(
    service: Service, client: ModelDerivative
) -> None:
    accepting(service, {})
    files = one_file()
    service.says["job"] = [answer(500, {"diagnostic": "Oops"}), service.says["job"][0]]
    fault = await fault_of(client.start(order(files)))
    assert (fault.code, fault.transient) == (Code.SERVICE_UNAVAILABLE, True)
    service.says["details"] = [answer(200, {"size": len(MODEL)})]
    started = await client.start(order(files, repeated=True))
    assert started.service_id == designs.source(files).urn
    assert len(service.asked_for("part")) == 1
    assert len(service.asked_for("job")) == 2


async def test_half_an_upload_is_done_again(service: Service, client: ModelDerivative) -> None:
    accepting(service, {})
    files = one_file()
    service.says["details"] = [answer(200, {"size": len(MODEL) - 1})]
    await client.start(order(files, service_id=designs.source(files).urn, repeated=True))
    assert len(service.asked_for("part")) == 1


async def test_a_bucket_that_exists_is_used(service: Service, client: ModelDerivative) -> None:
    accepting(service, {})
    service.says["buckets"] = [answer(409, {"reason": "Bucket already exists"})]
    assert (await client.start(order(one_file()))).service_id


async def test_a_bucket_that_went_is_made_again(service: Service, client: ModelDerivative) -> None:
    accepting(service, {})
    [upload] = service.says["signeds3upload"]
    service.says["signeds3upload"] = [answer(404, {"reason": "Bucket not found"}), upload]
    fault = await fault_of(client.start(order(one_file())))
    assert fault.transient
    await client.start(order(one_file()))
    assert len(service.asked_for("buckets")) == 2


EXISTS: list[tuple[str, bytes]] = [
    ("200", answer(200, {"result": "success", "acceptedJobs": {"output": {"formats": []}}})),
    ("201", answer(201, {"result": "created", "acceptedJobs": {"output": {"formats": []}}})),
    ("201 as printed", answer(201, {"result": "created", "acceptedJobs": {"formats": []}})),
    ("409", answer(409, {"diagnostic": "in progress"})),
]


@pytest.mark.parametrize("said", [case[1] for case in EXISTS], ids=[case[0] for case in EXISTS])
async def test_each_way_to_say_that_the_job_exists_is_good(
    service: Service, client: ModelDerivative, said: bytes
) -> None:
    accepting(service, {})
    service.says["job"] = [said]
    files = one_file()
    assert (await client.start(order(files))).service_id == designs.source(files).urn


REFUSALS: list[tuple[bytes, Code, bool, str]] = [
    (answer(400, {"diagnostic": "The values of 'objectIds'"}), Code.SERVICE_REFUSED, False, "objectIds"),
    (answer(400, {"diagnostics": "Invalid URN"}), Code.SERVICE_REFUSED, False, "Invalid URN"),
    (answer(401, {"developerMessage": "expired"}), Code.SERVICE_UNAUTHORIZED, False, "expired"),
    (answer(403, {"developerMessage": "no scope"}), Code.SERVICE_UNAUTHORIZED, False, "no scope"),
    (answer(404, {"diagnostic": "gone"}), Code.SERVICE_NOT_FOUND, False, "MODEL_DERIVATIVE_URL"),
    (answer(406, {"diagnostic": "not svf"}), Code.SERVICE_REFUSED, False, "not svf"),
    (answer(429, {"developerMessage": "Quota limit exceeded."}, Retry_After="25"), Code.SERVICE_THROTTLED,
     True, "Quota limit exceeded."),
    (answer(500, {"diagnostic": "oops"}), Code.SERVICE_UNAVAILABLE, True, "oops"),
    (answer(200, {"urn": "b3RoZXI"}), Code.SERVICE_BAD_REPLY, True, "another source"),
    (answer(200, b"<html>"), Code.SERVICE_BAD_REPLY, True, "not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "code", "transient", "words"), REFUSALS)
async def test_a_refused_job_says_why(
    service: Service, client: ModelDerivative, said: bytes, code: Code, transient: bool, words: str
) -> None:
    accepting(service, {})
    service.says["job"] = [said]
    fault = await fault_of(client.start(order(one_file())))
    assert (fault.code, fault.transient) == (code, transient)
    assert words in fault.message
    assert fault.retry_after == (25 if code is Code.SERVICE_THROTTLED else None)


async def test_the_name_of_an_exception_at_the_service_is_kept(
    service: Service, client: ModelDerivative
) -> None:
    accepting(service, {})
    service.says["job"] = [answer(400, {"diagnostic": "no"}, x_ads_exception_id="53ff8a6f")]
    assert (await fault_of(client.start(order(one_file())))).trace_id == "53ff8a6f"


async def test_no_secret_is_repeated_from_an_answer(service: Service, client: ModelDerivative) -> None:
    accepting(service, {})

    def echo(asked: Asked) -> Answer:
        return answer(400, {"diagnostic": f"You sent {dict(asked.headers)} {asked.raw!r}"})

    service.says["job"] = [echo]
    fault = await fault_of(client.start(order(one_file())))
    assert TOKEN not in fault.message
    service.says["token"] = [echo]
    other = designs.client(service)
    fault = await fault_of(other.start(order(one_file())))
    assert SECRET not in fault.message
    basic = service.asked_for("token")[-1].headers["authorization"].removeprefix("Basic ")
    assert basic not in fault.message
    await other.close()


NOTES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "car.obj",
        wanted("obj", objectIds=[1], modelGuid="g", exportFileStructure="multiple"),
        {},
        "extraction",
    ),
    ("car.f3d", wanted("obj", unit="foot"), {}, "F3D"),
    ("car.obj", wanted("obj"), {"workflowAttribute": {"a": 1}}, "'workflowAttribute' is ignored"),
    ("car.obj", wanted("svf2", generateMasterViews=True), {}, "RVT"),
    ("car.ifc", wanted("svf2", spaces="hide"), {}, "legacy"),
    ("car.ifc", wanted("svf2", switchLoader=True, conversionMethod="v3"), {}, "'switchLoader' is ignored"),
]


@pytest.mark.parametrize(("name", "one", "misc", "said"), NOTES)
async def test_what_has_no_effect_is_sent_with_a_warning(
    service: Service, client: ModelDerivative, name: str, one: dict[str, Any], misc: dict[str, Any], said: str
) -> None:
    accepting(service, {})
    started = await client.start(order(one_file(name=name), formats=[one], options={"misc": misc}))
    assert [warning.code for warning in started.warnings] == ["option-ignored"]
    assert said in started.warnings[0].title
    sent = service.asked_for("job")[0].body
    assert sent.get("misc", {}) == misc
    if "objectIds" not in one["advanced"]:
        assert sent["output"]["formats"] == [one]


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("car.rvt", wanted("svf2", generateMasterViews=True)),
        ("car.ifc", wanted("svf2", spaces="hide", conversionMethod="v4")),
        ("car.ifc", wanted("svf2", spaces="hide", switchLoader=True)),
        ("car.ipt", wanted("obj", unit="foot", exportFileStructure="multiple")),
    ],
)
async def test_what_has_an_effect_has_no_warning(
    service: Service, client: ModelDerivative, name: str, one: dict[str, Any]
) -> None:
    accepting(service, {})
    assert (await client.start(order(one_file(name=name), formats=[one]))).warnings == ()


# --- The webhook --------------------------------------------------------------------------------


async def test_one_hook_a_region_ties_jobs_to_this_app(service: Service) -> None:
    accepting(service, {})
    service.says["hooks"] = [answer(201, b""), answer(409)]
    webhook = Webhook("https://app.test/callbacks/model-derivative", ("the newest", "the old one"))
    client = designs.client(service, webhook=webhook)
    for options in ({}, {}, {"region": "EMEA"}, {"misc": {"workflow": "my-own"}}):
        started = await client.start(order(one_file(), options=options))
        assert started.calls_back is ("misc" not in options)
    assert [one.headers["region"] for one in service.asked_for("hooks")] == ["US", "EMEA"]
    assert service.asked_for("hooks")[0].body == {
        "callbackUrl": webhook.url,
        "scope": {"workflow": webhook.workflow},
        "token": "the newest",
    }
    flows = [one.body["misc"]["workflow"] for one in service.asked_for("job")]
    assert flows == [webhook.workflow] * 3 + ["my-own"]
    table.check(service.asked_for("job")[0].body, None)
    await client.close()


async def test_a_hook_that_is_refused_leaves_it_to_polling(service: Service) -> None:
    accepting(service, {})
    service.says["hooks"] = [answer(503), answer(403, {"developerMessage": "no"})]
    client = designs.client(service, webhook=Webhook("https://app.test/hook", ("t",)))
    for asked in (1, 2, 2):  # a service that is down may take it later, one that refuses it will not
        assert not (await client.start(order(one_file()))).calls_back
        assert len(service.asked_for("hooks")) == asked
    assert "misc" not in service.asked_for("job")[0].body
    await client.close()


async def test_a_service_that_hangs_is_left(
    service: Service, client: ModelDerivative, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_CALL_SECONDS", 0.2)
    accepting(service, {})
    service.says["job"] = [None]
    fault = await fault_of(client.start(order(one_file())))
    assert (fault.code, fault.transient) == (Code.SERVICE_UNAVAILABLE, True)
