"""The Remote Rendering API as the client speaks it, against a server on real sockets."""

import socket
from dataclasses import replace
from typing import Any

import httpx
import pytest

from shared.clients import ConversionService, OutputFile, Progress, Status, Warned
from shared.clients.remote_rendering import REGIONS, RemoteRendering
from shared.problems import Code, Problem
from tests.clients.orders import (
    ACCOUNT,
    CONVERSION,
    CV,
    KEY,
    ORDER,
    READ_SAS,
    SAS_CREATE,
    WRITE_SAS,
    fault_of,
    jwt,
)
from tests.clients.service import Service, answer


def test_it_is_a_conversion_service() -> None:
    client: ConversionService = RemoteRendering("westeurope", ACCOUNT, account_key=KEY)
    assert client.name == "remote-rendering"


# --- Starting ----------------------------------------------------------------------------------


async def test_a_start_with_sas_sends_the_documented_body_and_the_additions(
    service: Service, client: RemoteRendering
) -> None:
    started = await client.start(ORDER)
    assert (started.service_id, started.trace_id, started.warnings) == (CONVERSION, CV, ())
    (asked,) = service.asked_for(SAS_CREATE)
    assert (asked.method, asked.path) == ("POST", f"/v1/accounts/{ACCOUNT}/conversions/{SAS_CREATE}")
    assert asked.headers["idempotency-key"] == ORDER.id
    assert asked.headers["content-type"] == "application/json"
    assert asked.body == {
        "input": {
            "storageAccountname": "modelsaccount",
            "blobContainerName": "models",
            "folderPath": "cars",
            "inputAssetPath": "car.obj",
            "containerReadListSas": READ_SAS,
        },
        "output": {
            "storageAccountname": "modelsaccount",
            "blobContainerName": "converted",
            "folderPath": "cars/car.obj/5f2b",
            "containerWriteSas": WRITE_SAS,
        },
        "formats": [{"type": "glb"}, {"type": "thumbnail", "advanced": {"width": 400, "height": 400}}],
        "callback": "https://example.com/callbacks/remote-rendering",
    }


async def test_a_start_with_linked_storage_sends_no_sas(service: Service, client: RemoteRendering) -> None:
    options = {"access": "linked", "outputAssetFileName": "my car.arrAsset"}
    await client.start(replace(ORDER, options=options, formats=(), callback=None))
    (asked,) = service.asked_for("create")
    assert asked.path == f"/v1/accounts/{ACCOUNT}/conversions/create"
    assert asked.body == {
        "input": {
            "storageAccountname": "modelsaccount",
            "blobContainerName": "models",
            "folderPath": "cars",
            "inputAssetPath": "car.obj",
        },
        "output": {
            "storageAccountname": "modelsaccount",
            "blobContainerName": "converted",
            "folderPath": "cars/car.obj/5f2b",
            "outputAssetFileName": "my car.arrAsset",
        },
    }


async def test_the_model_in_a_zip_is_named(service: Service, client: RemoteRendering) -> None:
    await client.start(replace(ORDER, model="car.zip", root_filename="parts/car.obj"))
    assert service.asked_for(SAS_CREATE)[0].body["rootFilename"] == "parts/car.obj"


async def test_a_repeated_start_warns_unless_the_service_says_that_it_knew_the_order(
    service: Service, client: RemoteRendering
) -> None:
    (warning,) = (await client.start(replace(ORDER, repeated=True))).warnings
    assert warning.code == "started-again"
    service.says[SAS_CREATE] = [answer(200, {"conversionId": CONVERSION}, Idempotency_Key=ORDER.id)]
    assert (await client.start(replace(ORDER, repeated=True))).warnings == ()


async def test_a_base_address_with_a_path_is_kept(service: Service) -> None:
    client = RemoteRendering(f"{service.url}/arr/", ACCOUNT, token="opaque")
    await client.start(ORDER)
    await client.close()
    assert service.asked[0].path == f"/arr/v1/accounts/{ACCOUNT}/conversions/{SAS_CREATE}"


# --- Where the service is ----------------------------------------------------------------------


class Recorded(httpx.AsyncBaseTransport):
    """Notes where requests would have gone."""

    def __init__(self, error: Exception | None = None) -> None:
        self.urls: list[str] = []
        self.error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.urls.append(str(request.url))
        if self.error is not None:
            raise self.error
        body = {"AccessToken": jwt()} if request.method == "GET" else {"conversionId": CONVERSION}
        return httpx.Response(200, json=body)


@pytest.mark.parametrize(
    ("endpoint", "domain", "token_host", "host"),
    [
        (
            "westeurope",
            None,
            "sts.mixedreality.azure.com",
            "remoterendering.westeurope.mixedreality.azure.com",
        ),
        (
            "UkSouth",
            "eastus.mixedreality.azure.com",
            "sts.eastus.mixedreality.azure.com",
            "remoterendering.uksouth.mixedreality.azure.com",
        ),
        ("https://example.com", None, "example.com", "example.com"),
        ("https://example.com", "https://tokens.example.com/", "tokens.example.com", "example.com"),
    ],
)
async def test_a_region_or_an_address_says_where_to_call(
    endpoint: str, domain: str | None, token_host: str, host: str
) -> None:
    network = Recorded()
    client = RemoteRendering(endpoint, ACCOUNT, account_key=KEY, account_domain=domain, transport=network)
    await client.start(ORDER)
    await client.close()
    assert network.urls == [
        f"https://{token_host}/Accounts/{ACCOUNT}/token",
        f"https://{host}/v1/accounts/{ACCOUNT}/conversions/{SAS_CREATE}",
    ]


def test_the_regions_are_those_of_the_service() -> None:
    assert len(REGIONS) == 10


@pytest.mark.parametrize("endpoint", ["mars", "https://remoterendering.mars.mixedreality.azure.com"])
async def test_an_unknown_region_names_the_retirement_and_is_not_called(endpoint: str) -> None:
    network = Recorded()
    client = RemoteRendering(endpoint, ACCOUNT, account_key=KEY, transport=network)
    for call in (client.start(ORDER), client.poll(CONVERSION)):
        fault = await fault_of(call)
        assert (fault.code, fault.transient) == (Code.SERVICE_RETIRED, False)
        assert "30 September 2025" in fault.message
        assert "westeurope" in fault.message
    assert network.urls == []


async def test_a_region_that_no_longer_resolves_names_the_retirement() -> None:
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    client = RemoteRendering("westeurope", ACCOUNT, account_key=KEY, transport=Recorded(error))
    fault = await fault_of(client.start(ORDER))
    assert (fault.code, fault.transient) == (Code.SERVICE_RETIRED, False)
    assert "30 September 2025" in fault.message


async def test_a_region_that_does_not_answer_may_come_back() -> None:
    client = RemoteRendering("westeurope", ACCOUNT, token="t", transport=Recorded(httpx.ConnectTimeout("")))
    fault = await fault_of(client.start(ORDER))
    assert (fault.code, fault.transient) == (Code.SERVICE_UNAVAILABLE, True)
    assert "30 September 2025" in fault.message


async def test_credentials_are_not_sent_in_the_clear() -> None:
    network = Recorded()
    client = RemoteRendering("http://example.com", ACCOUNT, account_key=KEY, transport=network)
    fault = await fault_of(client.start(ORDER))
    assert (fault.code, fault.transient, network.urls) == (Code.INVALID_SETTINGS, False, [])


# --- Polling -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Created", Status.PENDING),
        ("Running", Status.INPROGRESS),
        ("success", Status.SUCCESS),
        ("Failure", Status.FAILED),
        ("Aborted", Status.FAILED),
        ("Unknown", Status.INPROGRESS),
        ("Polishing", Status.INPROGRESS),
    ],
)
async def test_the_services_word_becomes_a_status(
    service: Service, client: RemoteRendering, word: str, status: Status
) -> None:
    service.says[CONVERSION] = [answer(200, {"status": word}, MS_CV=CV)]
    progress = await client.poll(CONVERSION)
    assert (progress.status, progress.word, progress.trace_id) == (status, word, CV)
    assert service.asked_for(CONVERSION)[0].path == f"/v1/accounts/{ACCOUNT}/conversions/{CONVERSION}"


async def test_success_as_the_vendor_says_it_leaves_the_outputs_to_the_folder(
    service: Service, client: RemoteRendering
) -> None:
    asset = {"storageAccountName": "a", "blobContainerName": "c", "assetFilePath": "out/car.arrAsset"}
    service.says[CONVERSION] = [answer(200, {"status": "Success", "convertedAsset": asset})]
    assert await client.poll(CONVERSION) == Progress(Status.SUCCESS, "Success")


async def test_success_with_a_result_tells_outputs_warnings_and_statistics(
    service: Service, client: RemoteRendering
) -> None:
    result = {
        "outputs": [
            {
                "path": "o/car.glb",
                "type": "glb",
                "size": 9,
                "sha256": "ab",
                "contentType": "model/gltf-binary",
            },
            {"path": "o/car.mtl", "role": "companion"},
            {"size": 3},
            "nonsense",
        ],
        "warnings": [{"code": "4004", "title": "Missing texture", "details": {"texture": "a.png"}}, None],
        "statistics": {"triangles": 12},
    }
    service.says[CONVERSION] = [answer(200, {"status": "Success", "result": result})]
    progress = await client.poll(CONVERSION)
    assert progress.outputs == (
        OutputFile("o/car.glb", "glb", 9, "ab", "model/gltf-binary"),
        OutputFile("o/car.mtl", role="companion"),
    )
    assert progress.warnings == (Warned("4004", "Missing texture", {"texture": "a.png"}),)
    assert progress.statistics == {"triangles": 12}


@pytest.mark.parametrize("result", [None, 3, [], {}, {"outputs": 3, "warnings": {}, "statistics": []}])
async def test_a_malformed_result_is_as_good_as_none(
    service: Service, client: RemoteRendering, result: Any
) -> None:
    service.says[CONVERSION] = [answer(200, {"status": "Success", "result": result})]
    assert await client.poll(CONVERSION) == Progress(Status.SUCCESS, "Success")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"message": "Invalid input provided."}, None, "Invalid input provided."),
        ({"code": "corrupt-model", "message": "No triangles."}, "corrupt-model", "No triangles."),
        ("It broke.", None, "It broke."),
        (None, None, "The service gave no reason."),
    ],
)
async def test_a_failure_tells_the_services_own_reason(
    service: Service, client: RemoteRendering, error: Any, code: str | None, message: str
) -> None:
    service.says[CONVERSION] = [answer(200, {"status": "Failure", "error": error})]
    progress = await client.poll(CONVERSION)
    assert (progress.status, progress.code, progress.message) == (Status.FAILED, code, message)


# --- Settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extension", "formats", "options", "code", "words"),
    [
        (".rvt", [], {}, Code.UNSUPPORTED_FORMAT, "model-derivative can"),
        (".txt", [], {}, Code.UNSUPPORTED_FORMAT, ".obj"),
        (".obj", [{"type": "svf"}], {}, Code.UNSUPPORTED_OUTPUT, "glb"),
        (".obj", [{"type": "thumbnail", "advanced": {"depth": 3}}], {}, Code.INVALID_SETTINGS, "'depth'"),
        (".obj", [], {"acces": "sas"}, Code.INVALID_SETTINGS, "'acces'"),
        (".obj", [], {"access": "key"}, Code.INVALID_SETTINGS, "options.access"),
        (".obj", [], {"access": ["sas"]}, Code.INVALID_SETTINGS, "options.access"),
        (".obj", [], {"outputAssetFileName": "car.glb"}, Code.INVALID_SETTINGS, "outputAssetFileName"),
        (
            ".obj",
            [],
            {"outputAssetFileName": "../car.arrAsset"},
            Code.INVALID_SETTINGS,
            "outputAssetFileName",
        ),
        (".obj", [], {"outputAssetFileName": ".arrAsset"}, Code.INVALID_SETTINGS, "outputAssetFileName"),
        (".obj", [], {"outputAssetFileName": 3}, Code.INVALID_SETTINGS, "outputAssetFileName"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(
    extension: str, formats: list[Any], options: dict[str, Any], code: Code, words: str
) -> None:
    client = RemoteRendering("westeurope", ACCOUNT, account_key=KEY)
    with pytest.raises(Problem) as caught:
        client.check(extension, formats, options)
    assert caught.value.code is code
    assert words in caught.value.message


def test_what_can_be_asked_for_passes() -> None:
    client = RemoteRendering("westeurope", ACCOUNT, account_key=KEY)
    client.check(".OBJ", ORDER.formats, {"access": "linked", "outputAssetFileName": "car.arrAsset"})
    client.check(".zip", [], {"outputAssetFileName": ""})
