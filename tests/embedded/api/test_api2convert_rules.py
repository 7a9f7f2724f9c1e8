"""What may be changed when, what a repeat is, and what the service offers."""

import json
from datetime import timedelta
from typing import Any

import pytest

from shared.embedded.api.api2convert.model import STATUSES
from shared.embedded.api.api2convert.service import tidy
from shared.embedded.engine.formats import WRITES
from tests.embedded.api.jobs import KEY, Service, target
from tests.embedded.models import obj


async def test_every_field_of_a_staged_job_can_be_patched(service: Service) -> None:
    job = await service.created(process=False, conversion=[target("glb")])
    changes: dict[str, Any] = {
        "conversion": [target("stl", format="ascii")],
        "limits": {"job": 3},
        "input": [await service.remote("box.obj", obj())],
        "callback": "https://service.test/hook",
        "notify_status": True,
        "fail_on_input_error": False,
        "fail_on_conversion_error": False,
    }
    reply = await service.call("PATCH", f"/jobs/{job['id']}", changes)
    changed = reply.json()
    assert reply.status_code == 200
    assert changed["status"]["code"] == "ready"
    assert [item["target"] for item in changed["conversion"]] == ["stl"]
    assert [item["type"] for item in changed["input"]] == ["remote"]
    for key in ("limits", "callback", "notify_status", "fail_on_input_error", "fail_on_conversion_error"):
        assert changed[key] == changes[key]
    started = await service.call("PATCH", f"/jobs/{job['id']}", {"process": True})
    assert started.json()["status"]["code"] == "pending"


@pytest.mark.parametrize("work", [False, True])
async def test_what_is_patched_too_late_is_a_conflict(service: Service, work: bool) -> None:
    job = await service.created(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    if work:
        await service.work()
    path = f"/jobs/{job['id']}"
    upload = await service.upload(job, "box.obj", obj())
    replies = [
        await service.call("PATCH", path, {"process": True}),
        await service.call("PATCH", path, {"limits": {}}),
        await service.call("PATCH", path, {"callback": ""}),
        await service.call("PATCH", path, {"notify_status": True}),
        await service.call("PATCH", f"{path}/conversions/{job['conversion'][0]['id']}", {"options": {}}),
        await service.call("PATCH", f"{path}/input/{job['input'][0]['id']}", {"credentials": {}}),
        await service.call("POST", f"{path}/conversions", target("stl")),
        await service.call("POST", f"{path}/input", {"type": "remote", "source": "https://a.test/x"}),
        upload,
    ]
    assert [reply.status_code for reply in replies] == [409] * len(replies)
    assert all("started" in reply.json()["message"] for reply in replies)


async def test_an_output_is_patched_after_completion_only(service: Service) -> None:
    job = await service.created(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    path = f"/jobs/{job['id']}"
    early = await service.call("PATCH", f"{path}/output", [{"filename": "other"}])
    assert early.status_code == 409
    assert (await service.call("PATCH", path, {"output": [{"id": "x"}]})).status_code == 409
    await service.work()
    output = (await service.job(job))["output"][0]
    renamed = await service.call("PATCH", f"{path}/output/{output['id']}", {"filename": "other"})
    assert renamed.status_code == 200
    assert renamed.json()["filename"] == "other.glb"
    assert renamed.json()["uri"].endswith("/other.glb")
    assert (await service.client.get(output["uri"])).status_code == 404
    download = await service.download(renamed.json()["uri"])
    assert "other.glb" in download.headers["Content-Disposition"]
    again = await service.call("PATCH", path, {"output": [{"id": output["id"], "filename": "third"}]})
    assert again.json()["output"][0]["filename"] == "third.glb"
    every = await service.call("PATCH", f"{path}/output?conversion_id=x", {"filename": "no"})
    assert (every.status_code, every.json()) == (200, [])
    for name in ("a/b", "..\\x", "x" * 300):
        reply = await service.call("PATCH", f"{path}/output/{output['id']}", {"filename": name})
        assert reply.status_code == 400


async def test_outputs_are_listed_by_conversion_and_input(service: Service) -> None:
    done = await service.convert(
        input=[await service.remote("a.obj", obj()), await service.remote("b.obj", obj())],
        conversion=[target("glb"), target("stl")],
    )
    assert len(done["output"]) == 4
    query = f"conversion_id={done['conversion'][1]['id']}&input_id={done['input'][0]['id']}"
    chosen = await service.call("GET", f"/jobs/{done['id']}/output?{query}")
    assert [output["filename"] for output in chosen.json()] == ["a.stl"]


@pytest.mark.parametrize("noun", ["conversion", "conversions"])
async def test_both_names_of_the_conversions_are_one_route(service: Service, noun: str) -> None:
    job = await service.created(process=False)
    path = f"/jobs/{job['id']}/{noun}"
    added = await service.call("POST", path, target("png", width=10))
    assert added.status_code == 201
    assert added.json()["options"] == {"width": 10}
    assert added.json()["category"] == "image"
    one = f"{path}/{added.json()['id']}"
    assert (await service.call("GET", one)).json() == added.json()
    patched = await service.call("PATCH", path, {"options": {"height": 20}})
    assert patched.json()[0]["options"] == {"width": 10, "height": 20}
    several = await service.call("POST", path, [target("glb"), target("stl")])
    assert [item["target"] for item in several.json()] == ["glb", "stl"]
    assert len((await service.call("GET", path)).json()) == 3
    assert (await service.call("DELETE", one)).status_code == 204
    assert len((await service.call("GET", path)).json()) == 2


async def test_an_input_is_read_changed_and_deleted(service: Service) -> None:
    job = await service.created(process=False, conversion=[target("glb")])
    path = f"/jobs/{job['id']}/input"
    added = await service.call("POST", path, await service.remote("box.obj", obj()))
    assert (added.status_code, added.json()["status"]) == (201, "ready")
    one = f"{path}/{added.json()['id']}"
    assert (await service.call("GET", one)).json() == added.json()
    changed = await service.call("PATCH", path, [{"id": added.json()["id"], "options": {"position": 1}}])
    assert changed.json()[0]["options"] == {"position": 1}
    assert (await service.job(job))["status"]["code"] == "ready"
    assert (await service.call("DELETE", one)).status_code == 204
    assert (await service.job(job))["status"]["code"] == "incomplete"


async def test_jobs_are_listed_newest_first_by_page_and_status(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.embedded.api.api2convert.jobs.PAGE", 2)
    empty = await service.call("GET", "/jobs")
    assert (empty.status_code, empty.content, empty.headers["X-Count"]) == (204, b"", "0")
    jobs = [await service.created(process=False) for _ in range(3)]
    jobs.append(await service.created(process=False, conversion=[target("glb")]))
    await service.upload(jobs[3], "box.obj", obj())
    pages = [await service.call("GET", f"/jobs?page={page}") for page in (1, 2, 3)]
    assert [[job["id"] for job in page.json()] for page in pages[:2]] == [
        [jobs[3]["id"], jobs[2]["id"]],
        [jobs[1]["id"], jobs[0]["id"]],
    ]
    assert pages[2].status_code == 204
    assert pages[0].headers["X-Count"] == "4"
    ready = await service.call("GET", "/jobs?status=ready")
    assert [job["id"] for job in ready.json()] == [jobs[3]["id"]]
    for query in ("status=unknown", "page=0", "page=x"):
        assert (await service.call("GET", f"/jobs?{query}")).status_code == 400


async def test_a_repeated_create_is_the_same_job(service: Service) -> None:
    headers = KEY | {"Idempotency-Key": "one order"}
    body = {
        "process": False,
        "input": [await service.remote("box.obj", obj())],
        "conversion": [target("glb")],
    }
    bad = await service.call("POST", "/jobs", body, headers=headers)
    assert bad.status_code == 400  # a space is no visible character
    headers["Idempotency-Key"] = "one-order"
    first = await service.call("POST", "/jobs", body, headers=headers)
    assert first.headers["Idempotency-Key"] == "one-order"
    newer = await service.remote("box.obj", obj())
    again = await service.call("POST", "/jobs", body | {"input": [newer]}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.json()["token"] == first.json()["token"]
    # The newest rights are kept.
    assert (await service.record(first.json())).inputs[0].source == newer["source"]
    other = await service.call("POST", "/jobs", body | {"conversion": [target("stl")]}, headers=headers)
    assert other.status_code == 409


async def test_an_upload_that_is_sent_twice_is_one_input(service: Service) -> None:
    job = await service.created(process=False, conversion=[target("glb")])
    headers = {"X-Oc-Upload-Uuid": "11111111-1111-1111-1111-111111111111"}
    first = await service.upload(job, "box.obj", obj(), **headers)
    again = await service.upload(job, "box.obj", obj(), **headers)
    assert first.json() == again.json()
    assert len((await service.job(job))["input"]) == 1
    await service.call("PATCH", f"/jobs/{job['id']}", {"process": True})
    # Also when the job has been started meanwhile.
    assert (await service.upload(job, "box.obj", obj(), **headers)).status_code == 200


async def test_an_announced_upload_is_filled_by_the_file(service: Service) -> None:
    job = await service.created(input=[{"type": "upload", "filename": "box.obj"}], conversion=[target("glb")])
    assert job["status"]["code"] == "incomplete"
    await service.upload(job, "whatever.obj", obj())
    await service.work()
    done = await service.job(job)
    assert len(done["input"]) == 1
    assert done["output"][0]["filename"] == "box.glb"


async def test_outputs_are_gone_after_a_day(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    done = await service.convert(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    now = service.bundle.storage.now()
    monkeypatch.setattr(service.bundle.storage.clock, "now", lambda: now + timedelta(hours=24, minutes=1))
    reply = await service.client.get(done["output"][0]["uri"])
    assert reply.status_code == 404
    assert "24 hours" in reply.json()["message"]


async def test_what_is_kept_no_longer_is_deleted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = await service.remote("box.obj", obj())
    done = await service.convert(input=[remote], conversion=[target("glb")])
    staged = await service.created(process=False, input=[remote])
    await service.upload(staged, "box.obj", obj())
    waiting = await service.created(input=[remote], conversion=[target("glb")])
    kept = (service.bundle.settings, service.bundle.storage, service.bundle.requests)
    assert await tidy(*kept) == 0
    now = service.bundle.storage.now()
    monkeypatch.setattr(service.bundle.storage.clock, "now", lambda: now + timedelta(hours=24, minutes=1))
    assert await tidy(*kept) == 2
    assert await tidy(*kept) == 0
    assert (await service.job(done))["output"] == done["output"]
    assert not [name for name in await service.files(done) if "/out/" in name]
    assert await service.files(staged) == []
    assert (await service.job(waiting))["status"]["code"] == "pending"


async def test_files_that_lost_their_job_are_deleted(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = await service.remote("box.obj", obj())
    done = await service.convert(input=[remote], conversion=[target("glb")])
    kept = (service.bundle.settings, service.bundle.storage, service.bundle.requests)
    jobs = f"api2convert-jobs/{done['id']}.json"
    await service.bundle.storage.delete(service.bundle.settings.embedded_container, jobs)
    assert await tidy(*kept) == 0
    now = service.bundle.storage.now()
    monkeypatch.setattr(service.bundle.storage.clock, "now", lambda: now + timedelta(hours=24, minutes=1))
    assert await service.files(done) != []
    assert await tidy(*kept) == 1
    assert await service.files(done) == []


async def test_the_statuses_are_the_guides(service: Service) -> None:
    rows = (await service.call("GET", "/statuses")).json()
    assert {row["code"]: row["info"] for row in rows} == dict(STATUSES)
    assert STATUSES["incomplete"] == "Missing information to run the job"


async def test_the_catalogue_has_everything_that_the_engine_writes(service: Service) -> None:
    reply = await service.call("GET", "/conversions", headers={})
    rows = {row["target"]: row for row in reply.json()}
    assert set(rows) == set(WRITES)
    assert reply.headers["X-Count"] == str(len(WRITES))
    assert rows["stl"]["options"]["format"] == {"type": "string", "enum": ["binary", "ascii"]}
    assert rows["stl"]["options"]["exportColor"] == {"type": "boolean", "enum": [True, False]}
    assert rows["obj"]["options"]["objectIds"] == {"type": "array", "items": {"type": "integer"}}
    assert rows["obj"]["options"]["modelGuid"] == {"type": "string"}
    assert rows["png"]["options"]["width"] == {"type": "integer", "minimum": 1, "maximum": 1024}
    assert all(isinstance(row["id"], str) and isinstance(row["options"], dict) for row in rows.values())


@pytest.mark.parametrize(
    ("query", "targets"),
    [
        ("target=glb", ["glb"]),
        ("target=docx", []),
        ("category=image", ["jpg", "png"]),
        ("source=png", ["jpg", "png"]),
        ("source=.STL&target=glb", ["glb"]),
        ("source=docx", []),
        ("page=2", []),
    ],
)
async def test_the_catalogue_is_filtered(service: Service, query: str, targets: list[str]) -> None:
    rows = (await service.call("GET", f"/conversions?{query}")).json()
    assert [row["target"] for row in rows] == targets


async def test_presets_are_kept_and_used(service: Service) -> None:
    body = {"name": "Small", "target": "png", "options": {"width": 10, "height": 10}}
    made = await service.call("POST", "/presets", body)
    assert made.status_code == 201
    preset = made.json()
    assert (preset["category"], preset["scope"]) == ("image", "private")
    listed = await service.call("GET", "/presets?target=png&filter=sma", headers={})
    assert listed.json() == [preset]
    assert (await service.call("GET", "/presets?target=glb", headers={})).json() == []
    changed = await service.call("PATCH", f"/presets/{preset['id']}", {"options": {"width": 20}})
    assert changed.json()["options"] == {"width": 20}
    wanted = target("png", preset=preset["id"], height=5)
    job = await service.created(process=False, conversion=[wanted])
    assert job["conversion"][0]["options"] == {"width": 20, "height": 5}
    for bad in ({}, {"name": "x", "target": "docx"}, {"name": "x", "target": "png", "options": {"a": 1}}):
        assert (await service.call("POST", "/presets", bad)).status_code == 400
    assert (await service.call("DELETE", f"/presets/{preset['id']}")).status_code == 204
    assert (await service.call("GET", f"/presets/{preset['id']}")).status_code == 404


async def test_the_schema_describes_every_route_there_is(service: Service) -> None:
    document = (await service.call("GET", "/schema")).json()
    described = {
        (method.upper(), path.replace("{server}", "web1"))
        for path, calls in document["paths"].items()
        for method in calls
    }
    for method, path in described:
        concrete = path
        for name in ("job_id", "conversion_id", "input_id", "output_id", "preset_id", "name", "period"):
            concrete = concrete.replace(f"{{{name}}}", "x")
        concrete = concrete.replace("{value}", "x").replace("{filter}", "all")
        reply = await service.call(method, concrete, headers={})
        # There is such a route: it asks for a key, or says that this one thing is not there.
        assert reply.status_code != 405, (method, path)
        assert reply.status_code != 404 or path.startswith(("/presets/", "/dl/web1/download")), path
    assert document["info"]["version"] == "2.0.1"
    assert json.dumps(document).count("http://service.test/v2") == 1
