"""The flows of the API's guide, step by step, with the calls as it prints them."""

import base64
import hashlib
import io
from typing import Any

import pytest
from PIL import Image

from tests.embedded.api.jobs import KEY, Service, shown, target
from tests.embedded.models import mtl, obj, packed, png, read_glb

STL = (
    b"solid t\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\n"
    b"endloop\nendfacet\nendsolid t\n"
)


async def test_a_remote_file_is_converted_and_downloaded(service: Service) -> None:
    job = await service.created(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    assert job["type"] == "job"
    assert len(job["token"]) == 32
    assert job["status"] == {"code": "pending", "info": "The file is waiting in the queue to be downloaded."}
    assert (job["process"], job["callback"], job["notify_status"], job["spent"]) == (True, "", False, 0)
    assert (job["errors"], job["output"]) == ([], [])
    assert "warnings" not in job
    assert job["server"] == "http://service.test/v2/dl/web1"
    await service.work()
    done = await service.job(job)
    assert done["status"] == {"code": "completed", "info": "The file has been successfully converted."}
    (output,) = done["output"]
    assert output["source"] == {
        "conversion": done["conversion"][0]["id"],
        "input": [done["input"][0]["id"]],
    }
    assert output["uri"] == f"{job['server']}/download-file/{job['id']}/box.glb"
    assert (output["status"], output["content_type"]) == ("enabled", "model/gltf-binary")
    assert output["downloads_counter"] == 0
    downloaded = await service.download(output["uri"])
    read_glb(downloaded.content)
    assert len(downloaded.content) == output["size"]
    assert hashlib.md5(downloaded.content, usedforsecurity=False).hexdigest() == output["checksum"]
    assert downloaded.headers["Content-Type"] == "model/gltf-binary"
    assert "box.glb" in downloaded.headers["Content-Disposition"]
    assert (await service.job(job))["output"][0]["downloads_counter"] == 1


async def test_a_local_file_is_uploaded_and_converted(service: Service) -> None:
    job = await service.created(process=False, conversion=[target("stl", format="ascii")])
    assert job["status"]["code"] == "incomplete"
    sent = await service.upload(job, "box.obj", obj())
    assert sent.status_code == 200
    assert sent.json()["filename"] == "box.obj"
    assert sent.json()["checksum"] == hashlib.md5(obj(), usedforsecurity=False).hexdigest()
    ready = await service.job(job)
    assert ready["status"]["code"] == "ready"
    assert ready["status"]["info"] == "The job is ready but not marked to be processed yet."
    started = await service.call("PATCH", f"/jobs/{job['id']}", {"process": True})
    assert (started.status_code, started.json()["status"]["code"]) == (200, "pending")
    await service.work()
    done = await service.job(job)
    assert done["status"]["code"] == "completed"
    assert (await service.download(done["output"][0]["uri"])).content.startswith(b"solid")


async def test_a_job_that_is_to_be_processed_starts_with_its_upload(service: Service) -> None:
    job = await service.created(conversion=[target("glb")])
    assert (job["status"]["code"], job["process"]) == ("incomplete", True)
    await service.upload(job, "box.obj", obj())
    assert (await service.job(job))["status"]["code"] == "pending"
    await service.work()
    assert (await service.job(job))["status"]["code"] == "completed"


@pytest.mark.parametrize("content", ["plain", "data-uri"])
async def test_a_file_is_uploaded_as_base64(service: Service, content: str) -> None:
    # More than any other text in a body may have.
    model = obj() + b"# a comment\n" * 10_000
    encoded = base64.b64encode(model).decode()
    if content == "data-uri":
        encoded = f"data:model/obj;base64,{encoded}"
    job = await service.created(process=False, conversion=[target("glb")])
    url = f"{job['server']}/upload-base64/{job['id']}"
    sent = await service.client.post(
        url, json={"content": encoded, "filename": "box.obj"}, headers={"X-Oc-Token": job["token"]}
    )
    assert (sent.status_code, sent.json()["size"]) == (200, len(model))
    inline = {"type": "base64", "content": encoded, "filename": "two.obj"}
    added = await service.call("POST", f"/jobs/{job['id']}/input", inline)
    assert (added.status_code, added.json()["size"]) == (201, len(model))
    await service.call("PATCH", f"/jobs/{job['id']}", {"process": True})
    await service.work()
    done = await service.job(job)
    assert sorted(output["filename"] for output in done["output"]) == ["box.glb", "two.glb"]


async def test_an_output_is_downloaded_as_base64(service: Service) -> None:
    done = await service.convert(input=[await service.remote("box.obj", obj())], conversion=[target("glb")])
    uri = done["output"][0]["uri"]
    plain = (await service.download(uri)).content
    for _ in range(2):
        encoded = await service.download(f"{uri}?encoding=base64")
        assert encoded.content == base64.b64encode(plain)
    other = await service.client.get(f"{uri}?encoding=hex")
    assert (other.status_code, other.json()["code"]) == (400, 400)
    assert (await service.job(done))["output"][0]["downloads_counter"] == 3


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_the_three_patches_as_the_guide_prints_them(service: Service, method: str) -> None:
    picture = await service.remote("photo.png", png(side=8))
    job = await service.created(process=False, input=[picture], conversion=[target("png")])
    path = f"/jobs/{job['id']}"
    sized = await service.call(
        method,
        f"{path}/conversions/{job['conversion'][0]['id']}",
        {"options": {"width": 800, "height": 600}},
    )
    assert (sized.status_code, sized.json()["options"]) == (200, {"width": 800, "height": 600})
    credentials = {"credentials": {"decrypt_password": "my_password"}}
    opened = await service.call(method, f"{path}/input/{job['input'][0]['id']}", credentials)
    assert (opened.status_code, opened.json()["credentials"]) == (200, {})
    started = await service.call(method, path, {"process": True})
    assert (started.status_code, started.json()["process"]) == (200, True)
    await service.work()
    done = await service.job(job)
    assert done["status"]["code"] == "completed"
    assert done["output"][0]["content_type"] == "image/png"
    image = Image.open(io.BytesIO((await service.download(done["output"][0]["uri"])).content))
    assert image.size == (800, 600)
    assert "my_password" not in shown(done)


async def test_a_model_is_rendered_as_png_and_jpg(service: Service) -> None:
    done = await service.convert(
        input=[await service.remote("box.obj", obj())],
        conversion=[target("png", width=80, height=60), target("jpg", width=40)],
    )
    images = [
        Image.open(io.BytesIO((await service.download(output["uri"])).content)) for output in done["output"]
    ]
    assert [(image.format, image.size) for image in images] == [("PNG", (80, 60)), ("JPEG", (40, 40))]
    assert images[0].getchannel("A").getextrema() == (0, 255)  # the model on a transparent ground


async def test_a_job_is_deleted_with_all_that_it_kept(service: Service) -> None:
    job = await service.created(process=False, conversion=[target("glb")])
    await service.upload(job, "box.obj", obj())
    await service.call("PATCH", f"/jobs/{job['id']}", {"process": True})
    await service.work()
    assert len(await service.files(job)) > 2
    deleted = await service.call("DELETE", f"/jobs/{job['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert await service.files(job) == []
    for method in ("GET", "DELETE"):
        assert (await service.call(method, f"/jobs/{job['id']}")).status_code == 404


async def test_parts_of_a_job_are_deleted(service: Service) -> None:
    job = await service.created(
        process=False,
        input=[await service.remote("a.obj", obj()), await service.remote("b.obj", obj())],
        conversion=[target("glb"), target("stl")],
    )
    path = f"/jobs/{job['id']}"
    assert (await service.call("DELETE", f"{path}/input/{job['input'][0]['id']}")).status_code == 204
    assert (
        await service.call("DELETE", f"{path}/conversions/{job['conversion'][1]['id']}")
    ).status_code == 204
    await service.call("PATCH", path, {"process": True})
    await service.work()
    (output,) = (await service.job(job))["output"]
    assert output["filename"] == "b.glb"
    assert (await service.call("DELETE", f"{path}/output/{output['id']}")).status_code == 204
    assert (await service.job(job))["output"] == []
    assert (await service.client.get(output["uri"])).status_code == 404
    assert not [name for name in await service.files(job) if "/out/" in name]


async def test_a_cloud_input_fails_the_job_with_code_17(service: Service) -> None:
    parameters = {"bucket": "b", "file": "f.stl"}
    done = await service.convert(
        input=[
            {
                "type": "cloud",
                "source": "amazons3",
                "parameters": parameters,
                "credentials": {"accesskeyid": "id", "secretaccesskey": "a secret"},
            }
        ],
        conversion=[target("glb")],
    )
    assert done["status"]["code"] == "failed"
    assert done["status"]["info"] == "The file has not been converted due to errors."
    assert done["errors"] == [
        {
            "source": "input",
            "id_source": done["input"][0]["id"],
            "code": 17,
            "message": "File not found, reasons for this error could be: bucket has incorrect permissions, "
            "you sent invalid credentials, or the file is really not there",
        }
    ]
    assert (done["input"][0]["status"], done["input"][0]["parameters"]) == ("failed", parameters)
    assert "a secret" not in shown(done)
    assert "a secret" not in (await service.record(done)).model_dump_json()


async def test_a_job_goes_on_with_warnings_where_it_may(service: Service) -> None:
    done = await service.convert(
        fail_on_input_error=False,
        fail_on_conversion_error=False,
        input=[
            {"type": "remote", "source": "https://nowhere.invalid/a.stl"},
            await service.remote("box.obj", obj()),
            await service.remote("text.docx", b"text"),
        ],
        conversion=[target("glb")],
    )
    assert done["status"]["code"] == "completed"
    assert done["errors"] == []
    input_warning, conversion_warning = done["warnings"]
    assert input_warning["source"] == "input"
    assert input_warning["id_source"] == done["input"][0]["id"]
    assert (input_warning["code"], input_warning["message"]) == (
        1,
        "The file could not be downloaded. We are unable to resolve the host address or the host is "
        "unreachable.",
    )
    assert conversion_warning == {
        "source": "conversion",
        "id_source": done["conversion"][0]["id"],
        "code": 6004,
        "message": "Unfortunately we can not convert your file yet from your source file format to this "
        "target file format.",
    }
    assert [output["filename"] for output in done["output"]] == ["box.glb"]


async def test_a_job_without_any_output_fails_all_the_same(service: Service) -> None:
    done = await service.convert(
        fail_on_input_error=False,
        input=[{"type": "cloud", "source": "ftp"}],
        conversion=[target("glb")],
    )
    assert done["status"]["code"] == "failed"
    (error,) = done["errors"]
    assert error["message"] == "The job produced no output."
    assert [warning["code"] for warning in done["warnings"]] == [17]


async def test_the_companions_of_a_model_come_as_inputs(service: Service) -> None:
    files = {"box.obj": obj("box.mtl"), "box.mtl": mtl("maps/skin.png"), "skin.png": png()}
    inputs: list[dict[str, Any]] = [await service.remote(name, data) for name, data in files.items()]
    inputs[2]["filename"] = "maps/skin.png"
    done = await service.convert(input=inputs, conversion=[target("glb"), target("obj")])
    assert done["status"]["code"] == "completed"
    names = [output["filename"] for output in done["output"]]
    assert names[:2] == ["box.glb", "box.obj"]
    document = read_glb((await service.download(done["output"][0]["uri"])).content)
    assert len(document["images"]) == 1
    companions = [item for item in done["output"] if item["metadata"].get("role") == "companion"]
    assert any(item["filename"].endswith(".mtl") for item in companions)


async def test_a_zip_is_a_model_with_its_companions(service: Service) -> None:
    files = {"a/box.obj": obj("box.mtl"), "a/box.mtl": mtl()}
    done = await service.convert(
        input=[await service.remote("box.zip", packed(files))], conversion=[target("glb")]
    )
    assert [output["filename"] for output in done["output"]] == ["box.glb"]


async def test_a_remote_name_may_lack_its_extension(service: Service) -> None:
    remote = await service.remote("blob.stl", STL)
    done = await service.convert(input=[remote | {"filename": "part"}], conversion=[target("glb")])
    assert done["input"][0]["filename"] == "part.stl"
    assert done["output"][0]["filename"] == "part.glb"


async def test_two_models_of_one_name_make_two_outputs(service: Service) -> None:
    one = await service.remote("one/box.stl", STL)
    two = await service.remote("two/box.stl", STL)
    done = await service.convert(input=[one, two], conversion=[target("glb")])
    assert [output["filename"] for output in done["output"]] == ["box.glb", "box-2.glb"]
    for output in done["output"]:
        read_glb((await service.download(output["uri"])).content)


async def test_the_rights_of_an_address_are_told_to_nobody_and_kept_no_longer_than_needed(
    service: Service,
) -> None:
    remote = await service.remote("box.obj", obj())
    job = await service.created(process=False, input=[remote], conversion=[target("glb")])
    assert job["input"][0]["source"] == remote["source"].partition("?")[0]
    assert "sig=" not in shown(job)
    assert "sig=" in (await service.record(job)).model_dump_json()
    await service.call("PATCH", f"/jobs/{job['id']}", {"process": True})
    await service.work()
    assert "sig=" not in (await service.record(job)).model_dump_json()


async def test_both_spellings_of_the_headers_open_the_api(service: Service) -> None:
    for name in ("X-Oc-Api-Key", "x-api2convert-api-key"):
        reply = await service.call("GET", "/contracts", headers={name: KEY["X-Oc-Api-Key"]})
        assert reply.status_code == 200
    job = await service.created(process=False)
    for name in ("X-Oc-Token", "X-Api2convert-Token"):
        reply = await service.call("GET", f"/jobs/{job['id']}", headers={name: job["token"]})
        assert reply.status_code == 200
