"""The Remote Rendering API's v1 as its contract has it, call by call."""

import json

import pytest

from local.azurite import ACCOUNT
from shared.embedded.requests import Error
from tests.embedded.api.rendering import LINKED, SAS, V1, end
from tests.embedded.bundle import Bundle


async def test_v1_with_sas_accepts_and_says_created(bundle: Bundle) -> None:
    async with bundle.client() as client:
        started = await client.post(SAS, json=bundle.v1_body("box.obj"))
        assert started.status_code == 200
        assert list(started.json()) == ["conversionId"]
        polled = await client.get(f"{V1}/{started.json()['conversionId']}")
        assert (polled.status_code, polled.json()) == (200, {"status": "Created"})
    key = f"remote-rendering/{started.json()['conversionId']}"
    assert await bundle.messages() == [key]
    request = (await bundle.record(key)).request
    assert (request.model, [output.name for output in request.outputs]) == ("box.obj", ["box.arrAsset"])


async def test_v1_linked_storage_is_accepted_when_the_settings_link_it(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    del body["input"]["containerReadListSas"], body["output"]["containerWriteSas"]
    async with bundle.client() as client:
        started = await client.post(LINKED, json=body)
    record = await bundle.record(f"remote-rendering/{started.json()['conversionId']}")
    assert record.request.source.linked
    assert record.request.target.linked


@pytest.mark.parametrize("container", ["another", "embedded", "in-flight"])
async def test_v1_storage_that_is_not_linked_is_400_with_an_error_string(
    bundle: Bundle, container: str
) -> None:
    body = bundle.v1_body("box.obj")
    body["output"]["blobContainerName"] = bundle.converted.replace("converted", container)
    async with bundle.client() as client:
        refused = await client.post(LINKED, json=body)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("Unable to start conversion: ")
    assert list(refused.json()) == ["error"]


async def test_v1_sas_does_not_open_the_bundles_own_state(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    body["output"]["blobContainerName"] = bundle.settings.in_flight_container
    async with bundle.client() as client:
        assert (await client.post(SAS, json=body)).status_code == 400


async def test_v1_property_names_compare_case_insensitively(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    body["Input"] = {name.upper(): value for name, value in body.pop("input").items()}
    body["output"]["storageAccountName"] = body["output"].pop("storageAccountname")
    async with bundle.client() as client:
        assert (await client.post(SAS, json=body)).status_code == 200


async def test_v1_unknown_keys_are_tolerated(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj", sceneGraph={"anything": 1})
    body["input"]["more"] = None
    async with bundle.client() as client:
        assert (await client.post(SAS, json=body)).status_code == 200


async def test_v1_takes_a_sas_with_or_without_its_question_mark(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    body["input"]["containerReadListSas"] = "?" + body["input"]["containerReadListSas"]
    async with bundle.client() as client:
        started = await client.post(SAS, json=body)
    record = await bundle.record(f"remote-rendering/{started.json()['conversionId']}")
    assert record.request.source.sas is not None
    assert not record.request.source.sas.startswith("?")


@pytest.mark.parametrize(
    ("section", "name", "value", "said"),
    [
        ("input", "containerReadListSas", "https://a.blob.core.windows.net/c?sig=x", "not the full URI"),
        ("input", "containerReadListSas", "no signature", "containerReadListSas is not a shared access"),
        ("output", "containerWriteSas", None, "output.containerWriteSas is missing"),
        ("output", "containerWriteSas", 7, "output.containerWriteSas is not a string"),
        ("output", "outputAssetFileName", "box.glb", ".arrAsset"),
        ("output", "outputAssetFileName", "../box.arrAsset", ".arrAsset"),
        ("input", "storageAccountname", "acct.blob.core.windows.net", "3 to 24"),
        ("input", "storageAccountname", "acct@evil/x", "3 to 24"),
        ("input", "blobContainerName", "a/../b", "container"),
        ("input", "blobContainerName", "", "input.blobContainerName is missing"),
        ("input", "folderPath", "../in-flight", "'..'"),
        ("output", "folderPath", "../in-flight", "'..'"),
        ("output", "folderPath", "a/./b", "'.'"),
        ("output", "folderPath", "a\nb", "control character"),
        ("output", "folderPath", "x" * 1020, "longer than 1024"),
        ("input", "inputAssetPath", "", "input.inputAssetPath is missing"),
        ("input", "inputAssetPath", "..\\box.obj", "'..'"),
        ("input", "inputAssetPath", "box.txt", ".glb"),
    ],
)
async def test_v1_refuses_in_words(bundle: Bundle, section: str, name: str, value: object, said: str) -> None:
    body = bundle.v1_body("box.obj")
    body[section][name] = value
    async with bundle.client() as client:
        refused = await client.post(SAS, json=body)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("Unable to start conversion: ")
    assert said in refused.json()["error"]
    assert await bundle.messages() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
async def test_v1_refuses_a_body_that_is_no_json_object(bundle: Bundle, content: bytes) -> None:
    async with bundle.client() as client:
        refused = await client.post(SAS, content=content)
    assert refused.status_code == 400
    assert isinstance(refused.json()["error"], str)


async def test_v1_formats_become_one_file_each(bundle: Bundle) -> None:
    formats = [{"type": "glb"}, {"type": "thumbnail", "advanced": {"width": 400, "height": 400}}]
    async with bundle.client() as client:
        started = await client.post(SAS, json=bundle.v1_body("a/box.obj", formats=formats))
    record = await bundle.record(f"remote-rendering/{started.json()['conversionId']}")
    assert [output.name for output in record.request.outputs] == ["box.glb", "box.400x400.png"]


@pytest.mark.parametrize(
    ("formats", "said"),
    [
        ([], "formats"),
        ("glb", "formats"),
        ([{"type": 1}], "formats[0]"),
        ([{"type": "dwg"}], "'dwg'"),
        ([{"type": "glb", "extra": 1}], "formats[0].extra"),
        ([{"type": "thumbnail", "advanced": {"width": 1}}], "advanced.width"),
        ([{"type": "glb"}, {"type": "glb"}], "'box.glb'"),
        ([{"type": "\ud800"}], "ud800"),
    ],
)
async def test_v1_refuses_formats_that_cannot_be_made(bundle: Bundle, formats: object, said: str) -> None:
    async with bundle.client() as client:
        content = json.dumps(bundle.v1_body("box.obj", formats=formats))
        refused = await client.post(SAS, content=content)
    assert refused.status_code == 400
    assert said in refused.json()["error"]


@pytest.mark.parametrize(
    "callback", ["http://example.com/x", "https://10.0.0.1/", "ftp://example.com", "https://u@example.com/"]
)
async def test_v1_refuses_a_callback_to_nowhere_public(bundle: Bundle, callback: str) -> None:
    async with bundle.client() as client:
        refused = await client.post(SAS, json=bundle.v1_body("box.obj", callback=callback))
    assert refused.status_code == 400
    assert "callback" in refused.json()["error"]


async def test_the_same_idempotency_key_is_the_same_conversion_with_the_newest_sas(bundle: Bundle) -> None:
    key = {"Idempotency-Key": "one"}
    async with bundle.client() as client:
        first = await client.post(SAS, json=bundle.v1_body("box.obj"), headers=key)
        again = bundle.v1_body("box.obj")
        again["input"]["containerReadListSas"] = bundle.sas(bundle.models, "rl", hours=2)
        second = await client.post(SAS, json=again, headers=key)
        other = await client.post(SAS, json=bundle.v1_body("ball.obj"), headers=key)
        another = await client.post(SAS, json=bundle.v1_body("box.obj"), headers={"Idempotency-Key": "two"})
    assert second.json() == first.json() != another.json()
    assert first.headers["Idempotency-Key"] == "one"
    assert other.status_code == 409
    assert other.json()["error"].startswith("Unable to start conversion: ")
    record = await bundle.record(f"remote-rendering/{first.json()['conversionId']}")
    assert record.request.source.sas == again["input"]["containerReadListSas"]


async def test_v1_success_names_the_asset_and_its_files(bundle: Bundle) -> None:
    body = bundle.v1_body("box.obj")
    body["output"] |= {"folderPath": "out", "outputAssetFileName": "other.arrAsset"}
    async with bundle.client() as client:
        conversion = (await client.post(SAS, json=body)).json()["conversionId"]
        await end(bundle, f"remote-rendering/{conversion}")
        polled = (await client.get(f"{V1}/{conversion}")).json()
    assert polled["status"] == "Success"
    assert polled["convertedAsset"] == {
        "storageAccountName": ACCOUNT,
        "blobContainerName": bundle.converted,
        "assetFilePath": "out/other.arrAsset",
    }
    assert polled["result"]["statistics"] == {"triangles": 12}
    assert "error" not in polled


async def test_v1_failure_has_a_message(bundle: Bundle) -> None:
    async with bundle.client() as client:
        conversion = (await client.post(SAS, json=bundle.v1_body("box.obj"))).json()["conversionId"]
        await end(bundle, f"remote-rendering/{conversion}", Error(code="empty", message="It is empty."))
        polled = (await client.get(f"{V1}/{conversion}")).json()
    assert polled["status"] == "Failure"
    assert polled["error"] == {"code": "empty", "message": "It is empty."}


async def test_v1_unknown_conversion_is_404(bundle: Bundle) -> None:
    async with bundle.client() as client:
        for unknown in ("nobody", "..", "a%20b", "x" * 300):
            missing = await client.get(f"{V1}/{unknown}")
            assert missing.status_code == 404
            assert isinstance(missing.json()["error"], str)
