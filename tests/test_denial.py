"""A role that the app's identity lacks is named: in the manifest, in the log, and not as a stack trace."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpResponse

from local.azurite import ACCOUNT, Azurite
from shared.conversion import Status
from shared.denial import denied
from shared.problems import Code, Problem
from tests.pipeline import Pipeline, start
from tests.tls import Identity, self_signed

CUBE = (Path(__file__).resolve().parents[1] / "samples" / "cube" / "cube.obj").read_bytes()
MISMATCH = "AuthorizationPermissionMismatch"

Denies = Callable[[Any], bool]


class Refused(AsyncHttpResponse):
    """Storage's answer to an identity without the role."""

    def __init__(self, request: Any) -> None:
        super().__init__(request, None)
        self.status_code = 403
        self.headers = {"x-ms-error-code": MISMATCH, "Content-Type": "application/xml"}
        self.reason = "This request is not authorized to perform this operation using this permission."
        self.content_type = "application/xml"

    def body(self) -> bytes:
        return b""

    async def load_body(self) -> None:
        """There is none."""


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Azurite, str]]:
    certificate = self_signed(tmp_path_factory.mktemp("denial"))
    with Azurite.start(certificate) as running:
        yield running, str(certificate.certificate)


@pytest_asyncio.fixture(loop_scope="session")
async def bundle(secure: tuple[Azurite, str]) -> AsyncIterator[Pipeline]:
    """A bundle with an identity, at a storage account that speaks TLS."""
    azurite, certificate = secure
    async with start(
        azurite,
        client_options={"credential": Identity(), "connection_verify": certificate},
        grace_seconds=0,
        model_storage=None,
        MODEL_STORAGE__blobServiceUri=f"{azurite.blob_url}/{ACCOUNT}",
        MODEL_STORAGE__queueServiceUri=f"{azurite.queue_url}/{ACCOUNT}",
    ) as running:
        yield running


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[[Denies], None]:
    """From now on, storage refuses the requests for which ``denies`` is true."""

    def begin(denies: Denies) -> None:
        real = AioHttpTransport.send

        async def send(self: AioHttpTransport, request: Any, **options: Any) -> Any:
            if denies(request):
                return Refused(request)
            return await real(self, request, **options)

        monkeypatch.setattr(AioHttpTransport, "send", send)

    return begin


def path(request: Any) -> str:
    return urlsplit(str(request.url)).path


async def test_a_role_lacking_on_the_models_ends_in_the_manifest_and_the_log(
    bundle: Pipeline, deny: Callable[[Denies], None], caplog: pytest.LogCaptureFixture
) -> None:
    models = bundle.app.settings.models_container
    caplog.set_level(logging.INFO)
    deny(lambda request: request.method == "GET" and path(request).endswith("/cube.obj"))
    await bundle.drop("parts/cube.obj", CUBE)
    await bundle.settle()
    manifest = await bundle.manifest("parts/cube.obj")
    assert manifest.status is Status.FAILED
    (message,) = [message for message in manifest.messages if message.type == "error"]
    assert message.code == Code.STORAGE_DENIED
    assert message.message.startswith(
        f"The app's identity lacks the role 'Storage Blob Data Reader' on container {models} of the storage "
        f"account {ACCOUNT}: storage refused a GET ({MISMATCH})."
    )
    (ended,) = [record for record in caplog.records if getattr(record, "event", "") == "conversion.failed"]
    assert vars(ended)["code"] == "storage-denied"
    assert vars(ended)["detail"] == message.message
    assert not [record for record in caplog.records if record.exc_info], "a stack trace"


async def test_the_right_to_sign_is_a_role_of_its_own(
    bundle: Pipeline, deny: Callable[[Denies], None]
) -> None:
    deny(lambda request: "comp=userdelegationkey" in request.url)
    await bundle.drop("cube.obj", CUBE)
    await bundle.settle()
    (message,) = [one for one in (await bundle.manifest("cube.obj")).messages if one.type == "error"]
    assert f"lacks the role 'Storage Blob Delegator' on the storage account {ACCOUNT}" in message.message


async def test_a_role_lacking_on_the_outputs_container_is_said_where_no_manifest_can_be_written(
    bundle: Pipeline, deny: Callable[[Denies], None], caplog: pytest.LogCaptureFixture
) -> None:
    converted = bundle.app.settings.converted_container
    deny(lambda request: request.method == "PUT" and f"/{converted}/" in path(request))
    with pytest.raises(Problem, match=rf"'Storage Blob Data Contributor' on container {converted} of"):
        await bundle.drop("no.glb", b"no glTF")
        await bundle.settle()
    # What the trigger raises, the tick tells; and the conversion is not lost: it ends when the role is there.
    caplog.clear()
    for _ in range(3):
        bundle.later(300)
        await bundle.app.tick.run()
        await bundle.work()
    assert await bundle.record("no.glb") is not None
    told = [vars(record) for record in caplog.records if getattr(record, "event", "") == "tick.trouble"]
    assert told and all(record["code"] == "storage-denied" for record in told)
    assert f"on container {converted} of" in told[0]["detail"]
    assert not [record for record in caplog.records if record.exc_info], "a stack trace"


async def test_a_role_lacking_on_the_records_is_said_by_the_trigger(
    bundle: Pipeline, deny: Callable[[Denies], None]
) -> None:
    in_flight = bundle.app.settings.in_flight_container
    deny(lambda request: f"/{in_flight}/" in path(request))
    with pytest.raises(Problem, match=rf"'Storage Blob Data Contributor' on container {in_flight} of"):
        await bundle.drop("cube.obj", CUBE)


@pytest.mark.parametrize(
    ("method", "url", "service", "code", "by_identity", "told"),
    [
        (
            "PUT",
            "https://acc.blob.core.windows.net/converted/a/b.glb?sv=1&sig=SECRET",
            "blob",
            MISMATCH,
            True,
            "lacks the role 'Storage Blob Data Contributor' on container converted of the storage",
        ),
        (
            "POST",
            "https://acc.queue.core.windows.net/embedded-requests/messages",
            "queue",
            MISMATCH,
            True,
            "lacks the role 'Storage Queue Data Contributor' on queue embedded-requests of",
        ),
        (
            "GET",
            "https://acc.blob.core.windows.net/models/a.obj",
            "blob",
            "AuthorizationFailure",
            True,
            "network rules keep the app out",
        ),
        (
            "GET",
            "https://acc.blob.core.windows.net/models/a.obj",
            "blob",
            "AuthenticationFailed",
            False,
            "Check the account key in MODEL_STORAGE",
        ),
    ],
)
def test_the_message_says_what_is_lacking_where(
    method: str, url: str, service: Literal["blob", "queue"], code: str, by_identity: bool, told: str
) -> None:
    request = SimpleNamespace(method=method, url=url)
    problem = denied(request, code, service=service, by_identity=by_identity)
    assert problem.code is Code.STORAGE_DENIED
    assert told in problem.message
    assert code in problem.message
    assert "SECRET" not in problem.message
