"""The Model Derivative client against a service that answers what a test says: manifests and downloads."""

import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.clients import Kept, Progress
from shared.clients.model_derivative import ModelDerivative
from shared.clients.model_derivative_download import packs_of
from shared.conversion import Status
from shared.problems import Code, Problem
from tests.clients import designs
from tests.clients.designs import (
    COOKIES,
    TOKEN,
    Files,
    derivative,
    derivative_urn,
    manifest,
    one_file,
    order,
    resource,
    serving,
    token,
)
from tests.clients.orders import fault_of
from tests.clients.service import Answer, Asked, Service, answer, running

URN = designs.source(one_file()).urn


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with running() as running_service:
        running_service.says["token"] = [token()]
        yield running_service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[ModelDerivative]:
    made = designs.client(service)
    yield made
    await made.close()


# --- The manifest -------------------------------------------------------------------------------


async def polled(service: Service, client: ModelDerivative, said: dict[str, Any]) -> Progress:
    service.says["manifest"] = [answer(200, said)]
    return await client.poll(URN)


def geometry(**more: Any) -> dict[str, Any]:
    return {"guid": "g1", "type": "geometry", "role": "3d", "name": "{3D}", **more}


STATES: list[tuple[str, dict[str, Any], Status, int | None]] = [
    ("pending", manifest(status="pending", progress="0% complete"), Status.PENDING, 0),
    ("half", manifest(status="inprogress", progress="50% complete"), Status.INPROGRESS, 50),
    ("finished children of what runs",
     manifest(derivative("obj", resource(derivative_urn("a.obj"))), status="inprogress", progress="99%"),
     Status.INPROGRESS, 99),
    ("success", manifest(derivative("obj")), Status.SUCCESS, 100),
    ("a child at 99% below a success",
     manifest(derivative("svf", geometry(status="inprogress", progress="99%"))), Status.SUCCESS, 100),
    ("a derivative that does not say", manifest({"outputType": "obj"}), Status.SUCCESS, 100),
    ("a derivative that runs below a success",
     manifest(derivative("obj", status="inprogress")), Status.INPROGRESS, 100),
    ("a derivative that failed below a success",
     manifest(derivative("obj"), derivative("stl", status="failed")), Status.FAILED, 100),
    ("failed, and complete", manifest(status="failed"), Status.FAILED, 100),
    ("its own timeout", manifest(status="timeout"), Status.TIMEOUT, 100),
    ("a word that nobody knows", manifest(status="partialsuccess"), Status.INPROGRESS, 100),
    ("another spelling", manifest(status="Success", progress="Complete"), Status.SUCCESS, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "status", "percent"), [case[1:] for case in STATES], ids=[case[0] for case in STATES]
)
async def test_root_and_derivatives_say_how_it_is(
    service: Service, client: ModelDerivative, said: dict[str, Any], status: Status, percent: int | None
) -> None:
    progress = await polled(service, client, said)
    assert (progress.status, progress.percent) == (status, percent)
    assert (progress.message is not None) is (status in (Status.FAILED, Status.TIMEOUT))
    assert service.asked_for("manifest")[0].headers["region"] == "US"


async def test_messages_are_told_word_by_word(service: Service, client: ModelDerivative) -> None:
    failed = derivative(
        "svf2",
        geometry(messages=[{"type": "warning", "code": "W-2", "message": ["The first", "The second"]}]),
        status="failed",
        messages=[
            {"type": "warning", "code": "W-1", "message": "A texture is missing."},
            {"type": "error", "code": "AutoCAD-InvalidFile", "message": "Sorry, the drawing is not valid."},
            {"type": "error", "code": "TranslationWorker-InternalFailure", "message": "Unrecoverable exit."},
        ],
    )
    progress = await polled(service, client, manifest(failed, status="failed"))
    assert (progress.code, progress.message) == ("AutoCAD-InvalidFile", "Sorry, the drawing is not valid.")
    assert [(one.code, one.title, one.is_error) for one in progress.warnings] == [
        ("W-1", "A texture is missing.", False),
        ("TranslationWorker-InternalFailure", "Unrecoverable exit.", True),
        ("W-2", "The first The second", False),
    ]


async def test_viewables_without_a_urn_are_kept_at_the_service(
    service: Service, client: ModelDerivative
) -> None:
    graphics = {"guid": "g2", "type": "resource", "role": "graphics", "mime": "application/autodesk-svf2"}
    progress = await polled(service, client, manifest(derivative("svf2", geometry(children=[graphics]))))
    assert progress.status is Status.SUCCESS
    assert progress.kept == (Kept("svf2", "g2", "car.ipt"),)


async def test_a_manifest_that_is_not_there_yet_is_a_fault_of_the_first_minutes_only(
    service: Service, client: ModelDerivative
) -> None:
    service.says["manifest"] = [answer(404, {"diagnostic": "no manifest"})]
    fault = await fault_of(client.poll(URN))
    assert (fault.code, fault.transient, fault.while_new) == (Code.SERVICE_LOST_CONVERSION, False, True)
    service.says["manifest"] = [answer(202, {"result": "success"})]
    assert (await client.poll(URN)).status is Status.PENDING


@pytest.mark.parametrize("said", [{}, {"status": 7}, {"status": ""}])
async def test_a_manifest_without_a_status_makes_no_sense(
    service: Service, client: ModelDerivative, said: dict[str, Any]
) -> None:
    fault = await fault_of(polled(service, client, said))
    assert (fault.code, fault.transient) == (Code.SERVICE_BAD_REPLY, True)


async def test_an_id_that_is_none_of_ours_is_lost(client: ModelDerivative) -> None:
    fault = await fault_of(client.poll("dXJuOm90aGVy"))
    assert (fault.code, fault.transient) == (Code.SERVICE_LOST_CONVERSION, False)


# --- The token ----------------------------------------------------------------------------------


async def test_a_token_that_ends_between_polls_is_replaced(service: Service, client: ModelDerivative) -> None:
    """The service refuses the old one, as it does an hour after."""
    current = [TOKEN]

    def issue(asked: Asked) -> Answer:
        current[0] = f"{TOKEN}{len(service.asked_for('token'))}"
        return token(text=current[0])

    def guard(asked: Asked) -> Answer:
        if asked.headers["authorization"] != f"Bearer {current[0]}":
            return answer(401, {"developerMessage": "The token has expired."})
        return answer(200, manifest(status="inprogress"))

    service.says |= {"token": [issue], "manifest": [guard]}
    await client.poll(URN)
    current[0] = "another"
    assert (await client.poll(URN)).status is Status.INPROGRESS
    assert len(service.asked_for("token")) == 2
    assert len(service.asked_for("manifest")) == 3


async def test_a_token_is_renewed_before_it_ends(service: Service) -> None:
    now = [0.0]
    client = designs.client(service, clock=lambda: now[0])
    service.says["manifest"] = [answer(200, manifest())]
    for at, tokens in ((0, 1), (3200, 1), (3301, 2), (6500, 2)):
        now[0] = at
        await client.poll(URN)
        assert len(service.asked_for("token")) == tokens
    await client.close()


@pytest.mark.parametrize("said", [{}, {"access_token": 7}, {"access_token": "with space", "expires_in": 9}])
async def test_a_token_that_is_none_is_asked_for_again_later(
    service: Service, client: ModelDerivative, said: dict[str, Any]
) -> None:
    service.says["token"] = [answer(200, said)]
    fault = await fault_of(client.poll(URN))
    assert (fault.code, fault.transient) == (Code.SERVICE_BAD_REPLY, True)


# --- Derivatives --------------------------------------------------------------------------------

OBJ = b"mtllib a b.mtl\n" * 100
MTL = b"map_Kd t.png"


async def collected(client: ModelDerivative, *kinds: str, **more: Any) -> tuple[Files, dict[str, Any]]:
    """Collects an order; the files, and each output by name."""
    files = one_file()
    formats = [{"type": kind} for kind in kinds]
    given = order(files, **{"formats": formats, "service_id": URN, **more})
    outputs = await client.collect(given)
    return files, {one.path.removeprefix("out/"): one for one in outputs}


async def test_files_are_named_after_the_model_and_keep_their_place_beside_each_other(
    service: Service, client: ModelDerivative
) -> None:
    said = manifest(
        derivative(
            "obj",
            resource(derivative_urn("geometry/f00d.obj")),
            resource(derivative_urn("geometry/a b.mtl")),
            resource(derivative_urn("geometry/textures/t.png"), mime="image/png"),
        ),
        derivative("thumbnail", resource(derivative_urn("x.png"), resolution=[200, 200], mime="image/png")),
    )
    service.says["manifest"] = [answer(200, said)]
    contents = {"f00d.obj": OBJ, "a%20b.mtl": MTL, "t.png": b"png", "x.png": b"picture"}
    serving(service, contents)
    files, outputs = await collected(client, "obj", "thumbnail")
    assert files.outputs == {
        "car.obj": OBJ,
        "a b.mtl": MTL,
        "textures/t.png": b"png",
        "car.200x200.png": b"picture",
    }
    roles = {name: (one.type, one.role) for name, one in outputs.items()}
    assert roles == {
        "car.obj": ("obj", None),
        "a b.mtl": ("obj", "companion"),
        "textures/t.png": ("obj", "companion"),
        "car.200x200.png": ("thumbnail", None),
    }
    assert outputs["car.obj"].sha256 == hashlib.sha256(OBJ).hexdigest()
    assert outputs["car.obj"].content_type == "model/obj"


async def test_files_of_several_derivatives_do_not_meet(service: Service, client: ModelDerivative) -> None:
    said = manifest(
        derivative("obj", resource(derivative_urn("1/a.obj")), resource(derivative_urn("1/t.png"))),
        derivative("stl", resource(derivative_urn("2/1.stl")), resource(derivative_urn("2/2.stl"))),
        derivative("step", resource(derivative_urn("3/a.stp")), resource(derivative_urn("3/t.png"))),
        derivative("svf2", resource(derivative_urn("../../4/t.png"))),
    )
    service.says["manifest"] = [answer(200, said)]
    serving(service, {name: name.encode() for name in ("a.obj", "t.png", "1.stl", "2.stl", "a.stp")})
    _, outputs = await collected(client, "obj", "stl", "step", "svf2")
    assert sorted(outputs) == [
        "1.stl",
        "2.stl",
        "car.obj",
        "step-3/car.stp",
        "step-3/t.png",
        "svf2/4/t.png",
        "t.png",
    ]
    assert outputs["1.stl"].role is outputs["2.stl"].role is None


async def test_a_file_other_than_stated_is_fetched_again(service: Service, client: ModelDerivative) -> None:
    service.says["manifest"] = [answer(200, manifest(derivative("obj", resource(derivative_urn("a.obj")))))]
    for stated in ({"size": 3}, {"etag": hashlib.sha256(b"another").hexdigest()}):
        serving(service, {"a.obj": OBJ}, **stated)
        fault = await fault_of(collected(client, "obj"))
        assert (fault.code, fault.transient) == (Code.SERVICE_BAD_REPLY, True)
    serving(service, {"a.obj": OBJ}, etag=hashlib.sha256(OBJ).hexdigest())
    assert (await collected(client, "obj"))[0].outputs == {"car.obj": OBJ}


async def test_a_compressed_download_may_state_either_size(service: Service, client: ModelDerivative) -> None:
    service.says["manifest"] = [answer(200, manifest(derivative("obj", resource(derivative_urn("a.obj")))))]
    squeezed = gzip.compress(OBJ)
    for size in (len(OBJ), len(squeezed)):
        serving(service, {"a.obj": OBJ}, size=size)
        service.says["file"] = [answer(200, squeezed, Content_Encoding="gzip")]
        assert (await collected(client, "obj"))[0].outputs == {"car.obj": OBJ}


@pytest.mark.parametrize(("status", "transient"), [(403, True), (503, True), (202, True), (404, False)])
async def test_a_download_that_is_refused(
    service: Service, client: ModelDerivative, status: int, transient: bool
) -> None:
    service.says["manifest"] = [answer(200, manifest(derivative("obj", resource(derivative_urn("a.obj")))))]
    serving(service, {"a.obj": OBJ})
    service.says["file"] = [answer(status, b"")]
    fault = await fault_of(collected(client, "obj"))
    assert fault.transient is transient
    assert "p1" not in fault.message and "http" not in fault.message


async def test_a_download_that_breaks_off_is_no_file(service: Service, client: ModelDerivative) -> None:
    service.says["manifest"] = [answer(200, manifest(derivative("obj", resource(derivative_urn("a.obj")))))]
    serving(service, {"a.obj": OBJ})
    service.says["file"] = [answer(200, OBJ)[:-10]]
    fault = await fault_of(collected(client, "obj"))
    assert fault.transient


async def test_a_redirect_is_followed_without_the_cookies(service: Service, client: ModelDerivative) -> None:
    service.says["manifest"] = [answer(200, manifest(derivative("obj", resource(derivative_urn("a.obj")))))]
    serving(service, {"a.obj": OBJ})
    service.says |= {
        "file": [answer(302, b"", Location=f"{service.url}/else?where=1")],
        "else": [answer(200, OBJ)],
    }
    assert (await collected(client, "obj"))[0].outputs == {"car.obj": OBJ}
    assert "cookie" not in service.asked_for("else")[0].headers
    assert service.asked_for("file")[0].headers["cookie"] == "; ".join(COOKIES)
    service.says["else"] = service.says["file"]
    assert (await fault_of(collected(client, "obj"))).code is Code.SERVICE_BAD_REPLY


async def test_a_file_that_is_not_ready_is_waited_for(service: Service, client: ModelDerivative) -> None:
    service.says["manifest"] = [answer(200, manifest(derivative("obj", resource(derivative_urn("a.obj")))))]
    service.says["signedcookies"] = [answer(202, {"result": "success"})]
    assert (await fault_of(collected(client, "obj"))).transient
    service.says["signedcookies"] = [answer(404)]
    fault = await fault_of(collected(client, "obj"))
    assert (fault.code, fault.transient) == (Code.MISSING_OUTPUT, False)


async def test_a_type_that_the_manifest_lacks_is_no_success(
    service: Service, client: ModelDerivative
) -> None:
    service.says["manifest"] = [answer(200, manifest(derivative("obj", resource(derivative_urn("a.obj")))))]
    serving(service, {"a.obj": OBJ})
    fault = await fault_of(collected(client, "obj", "stl"))
    assert (fault.code, fault.transient) == (Code.MISSING_OUTPUT, False)
    assert "no stl" in fault.message


async def test_a_picture_that_no_derivative_names_is_asked_for(
    service: Service, client: ModelDerivative
) -> None:
    service.says["manifest"] = [answer(200, manifest(derivative("thumbnail"), hasThumbnail="true"))]
    service.says["thumbnail"] = [answer(401), answer(200, b"picture")]
    formats = [{"type": "thumbnail", "advanced": {"width": 400}}]
    files, outputs = await collected(client, formats=formats)
    assert files.outputs == {"car.400x400.png": b"picture"}
    assert outputs["car.400x400.png"].type == "thumbnail"
    _, asked = service.asked_for("thumbnail")
    assert asked.path.endswith("?width=400&height=400")
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"


# --- SVF ----------------------------------------------------------------------------------------


def svf(*uris: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"assets": [{"id": uri, "URI": uri} for uri in uris]}))
    return data.getvalue()


def svf_manifest() -> bytes:
    graphics = resource(
        derivative_urn("Resource/3D/{3D}.svf"), role="graphics", mime="application/autodesk-svf"
    )
    database = resource(derivative_urn("Resource/model.sdb"), mime="application/autodesk-db")
    return answer(200, manifest(derivative("svf", geometry(children=[graphics]), database)))


async def test_an_svf_brings_the_packs_that_it_names(service: Service, client: ModelDerivative) -> None:
    service.says["manifest"] = [svf_manifest()]
    inner = svf("0.pf", "../objects_ids.json.gz", "embed:/metadata.json", "0.pf")
    contents = {"%7B3D%7D.svf": inner, "0.pf": b"pack", "objects_ids.json.gz": b"ids", "model.sdb": b"db"}
    serving(service, contents)
    files, outputs = await collected(client, formats=[{"type": "svf", "views": ["3d"]}])
    assert files.outputs == {
        "svf/Resource/3D/{3D}.svf": inner,
        "svf/Resource/3D/0.pf": b"pack",
        "svf/Resource/objects_ids.json.gz": b"ids",
        "svf/Resource/model.sdb": b"db",
    }
    assert files.warnings == []
    assert outputs["svf/Resource/3D/{3D}.svf"].role is None
    assert outputs["svf/Resource/3D/0.pf"].role == "companion"


@pytest.mark.parametrize(
    "inner", [svf("lost.pf"), svf("../../../../../else.pf"), b"no zip"], ids=["lost", "outside", "no zip"]
)
async def test_an_svf_without_its_packs_is_not_viewable_offline(
    service: Service, client: ModelDerivative, inner: bytes
) -> None:
    service.says["manifest"] = [svf_manifest()]
    serving(service, {"%7B3D%7D.svf": inner, "model.sdb": b"db", "else.pf": b"secret"})
    files, _ = await collected(client, formats=[{"type": "svf", "views": ["3d"]}])
    assert sorted(files.outputs) == ["svf/Resource/3D/{3D}.svf", "svf/Resource/model.sdb"]
    assert [one.code for one in files.warnings] == ["not-viewable-offline"]


def test_what_is_no_inner_manifest_names_nothing() -> None:
    for content in ("[]", "{}", '{"assets": 7}', "nothing"):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("manifest.json", content)
        assert packs_of(data.getvalue()) is None
    assert packs_of(svf()) == []


# --- Extraction ---------------------------------------------------------------------------------

EXTRACTION = {"type": "obj", "advanced": {"modelGuid": "{3D}", "objectIds": [2, 3]}}


def views(*named: str, role: str = "3d") -> bytes:
    listed = [{"name": name, "role": role, "guid": f"guid-{name}"} for name in named]
    return answer(200, {"data": {"type": "metadata", "metadata": listed}})


async def test_objects_are_extracted_by_a_second_job(service: Service, client: ModelDerivative) -> None:
    designs.accepting(service, {})
    await client.start(order(one_file(), formats=[EXTRACTION]))
    [first] = service.asked_for("job")
    assert first.body["output"]["formats"] == [{"type": "svf2", "views": ["3d"]}]
    graphics = {"guid": "g2", "type": "resource", "role": "graphics"}
    viewable = derivative("svf2", geometry(children=[graphics]), resource(derivative_urn("p.db")))
    extracted = derivative("obj", resource(derivative_urn("a.obj")))
    service.says["manifest"] = [
        answer(200, manifest(viewable)),
        answer(200, manifest(viewable, {**extracted, "status": "inprogress"}, status="inprogress")),
        answer(200, manifest(viewable, extracted)),
    ]
    service.says["metadata"] = [answer(202, {"result": "success"}), views("{3D}", "Roof")]
    serving(service, {"a.obj": OBJ})
    assert (await fault_of(collected(client, formats=[EXTRACTION]))).transient
    service.says["manifest"].insert(0, answer(200, manifest(viewable)))
    assert (await fault_of(collected(client, formats=[EXTRACTION]))).transient
    assert (await fault_of(collected(client, formats=[EXTRACTION]))).transient
    files, _ = await collected(client, formats=[EXTRACTION])
    assert files.outputs == {"car.obj": OBJ}
    second = service.asked_for("job")[1]
    advanced = {"modelGuid": "guid-{3D}", "objectIds": [2, 3]}
    assert second.body["output"]["formats"] == [{"type": "obj", "advanced": advanced}]


async def test_a_view_that_is_not_there_is_named_with_those_that_are(
    service: Service, client: ModelDerivative
) -> None:
    service.says |= {
        "manifest": [answer(200, manifest(derivative("svf2")))],
        "metadata": [views("Roof", "Floor")],
    }
    with pytest.raises(Problem, match="'Roof', 'Floor'"):
        await collected(client, formats=[EXTRACTION])


async def test_an_extraction_that_fails_says_why(service: Service, client: ModelDerivative) -> None:
    said = {"type": "error", "code": "No-Objects", "message": "There are no such objects."}
    failed = derivative("obj", status="failed", messages=[said])
    service.says["manifest"] = [answer(200, manifest(derivative("svf2"), failed, status="failed"))]
    fault = await fault_of(collected(client, formats=[EXTRACTION]))
    assert (fault.code, fault.transient) == (Code.CONVERSION_FAILED, False)
    assert "There are no such objects." in fault.message


# --- What is left -------------------------------------------------------------------------------


async def test_the_uploads_go_and_the_manifest_stays(service: Service, client: ModelDerivative) -> None:
    source = designs.source(one_file(), region="EMEA", companions=2)
    keys = [key.replace("/", "%2F") for key in (source.key, *source.companion_keys)]
    service.says |= dict(zip(keys, ([answer(200, b"")], [answer(404)], [answer(204, b"")]), strict=True))
    await client.dispose(source.urn)
    deleted = [one for one in service.asked if one.method == "DELETE"]
    assert [one.path.rpartition("/")[2] for one in deleted] == keys
    assert {one.headers["region"] for one in deleted} == {"EMEA"}


async def test_the_uploads_stay_where_a_setting_says_so(service: Service) -> None:
    client = designs.client(service, delete_uploads=False)
    await client.dispose(URN)
    assert service.asked == []
    await client.close()


@pytest.mark.parametrize(
    "manifest_is", [answer(200, {"result": "success"}), answer(404)], ids=["there", "not there yet, or gone"]
)
async def test_what_nobody_wants_any_more_is_deleted_as_a_whole(
    service: Service, client: ModelDerivative, manifest_is: bytes
) -> None:
    service.says["manifest"] = [manifest_is]
    service.says[designs.source(one_file()).key.replace("/", "%2F")] = [answer(200, b"")]
    await client.cancel(URN)
    assert [one.method for one in service.asked] == ["POST", "DELETE", "DELETE"]
