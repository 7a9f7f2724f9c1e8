"""Who may call the API2Convert API, what they are told who may not, and the shape of every refusal."""

from typing import Any

import pytest

from tests.embedded.api.jobs import KEY, Service, target
from tests.embedded.models import obj

OTHER = "00000000-0000-4000-8000-000000000000"

#: Every call that needs a key or a token.
CALLS = [
    ("POST", "/jobs"),
    ("GET", "/jobs"),
    ("GET", "/jobs/{job}"),
    ("PATCH", "/jobs/{job}"),
    ("POST", "/jobs/{job}"),
    ("DELETE", "/jobs/{job}"),
    ("GET", "/jobs/{job}/threads"),
    ("GET", "/jobs/{job}/history"),
    ("GET", "/jobs/{job}/conversions"),
    ("POST", "/jobs/{job}/conversions"),
    ("PATCH", "/jobs/{job}/conversion"),
    ("GET", "/jobs/{job}/conversions/{other}"),
    ("PATCH", "/jobs/{job}/conversions/{other}"),
    ("DELETE", "/jobs/{job}/conversion/{other}"),
    ("GET", "/jobs/{job}/input"),
    ("POST", "/jobs/{job}/input"),
    ("PATCH", "/jobs/{job}/input"),
    ("GET", "/jobs/{job}/input/{other}"),
    ("POST", "/jobs/{job}/input/{other}"),
    ("DELETE", "/jobs/{job}/input/{other}"),
    ("GET", "/jobs/{job}/output"),
    ("PATCH", "/jobs/{job}/output"),
    ("GET", "/jobs/{job}/output/{other}"),
    ("PATCH", "/jobs/{job}/output/{other}"),
    ("DELETE", "/jobs/{job}/output/{other}"),
    ("POST", "/dl/web1/upload-file/{job}"),
    ("POST", "/dl/web1/upload-base64/{job}"),
    ("GET", "/contracts"),
    ("GET", "/stats/day/2026-11-22/all"),
    ("POST", "/presets"),
    ("PATCH", "/presets/{other}"),
    ("DELETE", "/presets/{other}"),
]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Oc-Api-Key": "wrong"},
        {"X-Api2convert-Api-Key": ""},
        {"X-Oc-Token": "wrong"},
        {"Authorization": f"Bearer {KEY['X-Oc-Api-Key']}"},
    ],
    ids=str,
)
async def test_nothing_opens_without_the_key_or_the_token(service: Service, headers: dict[str, str]) -> None:
    job = await service.created(process=False)
    for method, path in CALLS:
        path = path.format(job=job["id"], other=OTHER)
        reply = await service.call(method, path, headers=headers)
        assert reply.status_code == 401, (method, path)
        assert reply.json() in (
            {"code": 401, "message": "Invalid api key", "errors": {}},
            {"code": 401, "message": "Invalid token", "errors": {}},
        )
    assert (await service.job(job))["status"]["code"] == "incomplete"


async def test_a_token_opens_its_own_job_and_no_other(service: Service) -> None:
    mine, others = await service.created(process=False), await service.created(process=False)
    token = {"X-Oc-Token": mine["token"]}
    assert (await service.call("GET", f"/jobs/{mine['id']}", headers=token)).status_code == 200
    listed = await service.call("GET", "/jobs", headers=token)
    assert [job["id"] for job in listed.json()] == [mine["id"]]
    for method, path in CALLS:
        if "{job}" in path or path in ("/contracts", "/presets"):
            path = path.format(job=others["id"], other=OTHER)
            assert (await service.call(method, path, headers=token)).status_code == 401, (method, path)
    # A job that does not exist is refused as one that is another's.
    assert (await service.call("GET", f"/jobs/{OTHER}", headers=token)).status_code == 401


@pytest.mark.parametrize("path", ["/conversions", "/statuses", "/presets", "/schema", "/openapi.json"])
async def test_what_the_service_offers_is_told_to_everybody(service: Service, path: str) -> None:
    assert (await service.call("GET", path, headers={})).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/jobs/{OTHER}"),
        ("GET", "/jobs/..%2Fcontracts"),
        ("GET", "/jobs/x"),
        ("DELETE", f"/jobs/{OTHER}"),
        ("PATCH", f"/jobs/{OTHER}"),
        ("GET", f"/jobs/{{job}}/input/{OTHER}"),
        ("DELETE", f"/jobs/{{job}}/conversions/{OTHER}"),
        ("GET", f"/jobs/{{job}}/output/{OTHER}"),
        ("GET", f"/presets/{OTHER}"),
        ("GET", "/presets/..%2Fjobs"),
        ("GET", f"/dl/web1/download-file/{OTHER}/x.glb"),
        ("GET", "/dl/web1/download-file/{job}/x.glb"),
        ("GET", "/nothing"),
    ],
)
async def test_what_does_not_exist_is_told_in_the_apis_own_shape(
    service: Service, method: str, path: str
) -> None:
    job = await service.created(process=False)
    reply = await service.call(method, path.format(job=job["id"]), {} if method == "PATCH" else None)
    assert reply.status_code in (404, 405)
    assert set(reply.json()) == {"code", "message", "errors"}


@pytest.mark.parametrize("path", ["/jobs", "/conversions", "/jobs/x/input"])
async def test_a_method_that_is_none_is_told_in_the_apis_own_shape(service: Service, path: str) -> None:
    reply = await service.call("PUT", path, {})
    assert reply.status_code == 405
    assert set(reply.json()) == {"code", "message", "errors"}


BAD: list[tuple[Any, int]] = [
    ([], 400),
    ({"conversion": 3}, 400),
    ({"conversion": [3]}, 400),
    ({"conversion": [{}]}, 400),
    ({"conversion": [{"target": "docx"}]}, 400),
    ({"conversion": [{"target": "glb", "category": "image"}]}, 400),
    ({"conversion": [{"target": "png", "options": {"width": 0}}]}, 400),
    ({"conversion": [{"target": "png", "options": {"colour": "red"}}]}, 400),
    ({"conversion": [{"target": "png", "options": {"preset": OTHER}}]}, 400),
    ({"conversion": [{"target": "png", "options": 3}]}, 400),
    ({"conversion": [{"target": "glb", "output_target": [{"type": "azure"}]}]}, 400),
    ({"conversion": [{"target": "glb"}] * 101}, 400),
    ({"input": [{"type": "remote"}]}, 400),
    ({"input": [{"type": "remote", "source": "ftp://x/y"}]}, 400),
    ({"input": [{"type": "remote", "source": "/etc/passwd"}]}, 400),
    ({"input": [{"type": "remote", "source": 3}]}, 400),
    ({"input": [{"type": "remote", "source": "https://x/y", "filename": "../y.stl"}]}, 400),
    ({"input": [{"type": "remote", "source": "https://x/y", "engine": "screenshot"}]}, 400),
    ({"input": [{"type": "output", "source": OTHER}]}, 400),
    ({"input": [{"type": "base64", "content": "%"}]}, 400),
    ({"input": [{"type": "base64", "content": "A" * 2_000_000}]}, 413),
    ({"process": "yes"}, 400),
    ({"callback": "http://10.0.0.1/"}, 400),
    ({"callback": "https://169.254.169.254/"}, 400),
    ({"limits": "none"}, 400),
    ({"download_passwords": [3]}, 400),
]


@pytest.mark.parametrize(("body", "status"), BAD, ids=[str(body)[:60] for body, _ in BAD])
async def test_a_body_that_cannot_be_right_is_refused(service: Service, body: Any, status: int) -> None:
    reply = await service.call("POST", "/jobs", body)
    assert reply.status_code == status
    assert reply.json()["code"] == status
    assert reply.json()["message"]
    assert (await service.call("GET", "/jobs")).status_code == 204


@pytest.mark.parametrize(("content", "code"), [(b"", 8), (b" ", 8), (b"{", 400), (b"[" * 100_000, 400)])
async def test_a_body_that_is_no_json_is_refused(service: Service, content: bytes, code: int) -> None:
    reply = await service.client.post("/v2/jobs", content=content, headers=KEY)
    assert (reply.status_code, reply.json()["code"]) == (400, code)


async def test_an_upload_over_the_setting_points_to_a_remote_input(service: Service) -> None:
    job = await service.created(process=False, conversion=[target("glb")])
    reply = await service.upload(job, "box.obj", b"#" * (1024 * 1024 + 1))
    assert reply.status_code == 413
    assert "'remote'" in reply.json()["message"]
    far = await service.upload(job, "box.obj", b"#" * (3 * 1024 * 1024))
    assert far.status_code == 413
    assert (await service.upload(job, "box.obj", b"#" * (1024 * 1024))).status_code == 200


async def test_an_upload_without_a_file_is_refused(service: Service) -> None:
    job = await service.created(process=False)
    url = f"{job['server']}/upload-file/{job['id']}"
    for more in ({"data": {"file": "x"}}, {"files": {"other": ("a", b"b")}}, {"content": b"no form"}):
        reply = await service.client.post(url, headers={"X-Oc-Token": job["token"]}, **more)
        assert reply.status_code == 400, more
        assert set(reply.json()) == {"code", "message", "errors"}


async def test_a_password_guards_a_download(service: Service) -> None:
    done = await service.convert(
        input=[await service.remote("box.obj", obj())],
        conversion=[target("glb")],
        download_passwords=["open", "sesame"],
    )
    assert "sesame" not in str(done)
    uri = done["output"][0]["uri"]
    assert (await service.client.get(uri)).status_code == 401
    for headers in (
        {"X-Oc-Download-Password": "wrong, sesame"},
        {"X-Api2convert-Download-Password": "open"},
        {"Cookie": "x-oc-download-password=open"},
    ):
        assert (await service.client.get(uri, headers=headers)).status_code == 302, headers
    path = f"/jobs/{done['id']}/output/{done['output'][0]['id']}"
    await service.call("PATCH", path, {"download_password": "another"})
    assert (await service.client.get(uri, headers={"X-Oc-Download-Password": "open"})).status_code == 401
    assert (await service.client.get(uri, headers={"X-Oc-Download-Password": "another"})).status_code == 302
    assert "another" not in (await service.record(done)).model_dump_json()
