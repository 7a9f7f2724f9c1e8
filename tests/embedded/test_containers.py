"""Only storage that the settings name is used, and what goes wrong with it is told without secrets."""

import hashlib
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from local.azurite import ACCOUNT, Azurite
from shared.embedded.containers import NotLinked, Unreachable
from shared.embedded.requests import Location
from shared.problems import Problem
from tests.embedded.bundle import Bundle, start

AZURE = "https://{account}.blob.core.windows.net"


async def test_an_address_at_azure_gives_account_and_container(azurite: Azurite) -> None:
    async with start(azurite, embedded_blob_url=AZURE) as bundle:
        containers = bundle.containers
        assert containers.locate("https://abc1.blob.core.windows.net/models") == ("abc1", "models")
        assert containers.locate("HTTPS://abc1.Blob.Core.Windows.net/models/") == ("abc1", "models")
        assert containers.url(Location(account="abc1", container="c")) == (
            "https://abc1.blob.core.windows.net/c"
        )


@pytest.mark.parametrize(
    "uri",
    [
        "http://abc1.blob.core.windows.net/models",
        "https://abc1.blob.core.windows.net.evil.example/models",
        "https://abc1.blob.core.windows.net:444/models",
        "https://evil.example/abc1.blob.core.windows.net/models",
        "https://evil.example#abc1.blob.core.windows.net/models",
        "https://abc1.x.blob.core.windows.net/models",
        "https://abc1@evil.example/models",
        "https://ab.blob.core.windows.net/models",
        "https://ABC.blob.core.windows.net/models",
        "https://abc1xblob.core.windows.net/models",
        "https://abc1.blob.core.windows.net/models?sv=1",
        "https://abc1.blob.core.windows.net/models/folder",
        "https://abc1.blob.core.windows.net/models\n",
        "https://abc1.blob.core.windows.net/",
    ],
)
async def test_any_other_address_is_refused(azurite: Azurite, uri: str) -> None:
    async with start(azurite, embedded_blob_url=AZURE) as bundle:
        with pytest.raises(Problem):
            bundle.containers.locate(uri)


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "a-b"},
        {"account": "ABC"},
        {"account": "ab"},
        {"account": "a" * 25},
        {"account": "abc.evil"},
        {"container": "a--b"},
        {"container": "ab"},
        {"container": "$root"},
        {"container": "A" * 5},
        {"container": "../x"},
        {"prefix": "../in-flight/"},
        {"prefix": "a/../../in-flight/"},
        {"prefix": "a\\..\\b/"},
        {"prefix": "/"},
        {"prefix": "a\x00/"},
    ],
)
async def test_names_that_cannot_be_are_refused(bundle: Bundle, changes: dict[str, str]) -> None:
    for linked in (False, True):
        with pytest.raises(Problem):
            bundle.containers.check(bundle.source(linked=linked).model_copy(update=changes))


async def test_linked_storage_is_what_the_settings_list_by_account_and_container(bundle: Bundle) -> None:
    bundle.containers.check(bundle.source(linked=True))
    for changes in ({"container": "others"}, {"account": "another"}):
        with pytest.raises(NotLinked):
            bundle.containers.check(bundle.source(linked=True, **changes))


async def test_the_bundles_own_state_is_never_used(bundle: Bundle) -> None:
    for container in (bundle.settings.in_flight_container, bundle.settings.embedded_container):
        for linked in (False, True):
            with pytest.raises(Problem):
                bundle.containers.check(bundle.source(container=container, linked=linked))


async def test_another_linked_account_needs_an_identity(bundle: Bundle) -> None:
    with pytest.raises(Problem, match="identity"):
        async with bundle.containers.open(Location(account="another", container="models", linked=True)):
            pass


async def test_large_files_go_up_and_down_unchanged(bundle: Bundle, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096 * 70  # above what one request carries, up and down
    (tmp_path / "up").write_bytes(data)
    target = bundle.target(sas=bundle.sas(bundle.converted, "rwl"))
    async with bundle.containers.open(target) as container:
        await container.upload("large.bin", tmp_path / "up", "application/octet-stream")
        read = await container.download("large.bin", tmp_path / "down", most=len(data))
        assert await container.list("large") == {"large.bin": len(data)}
    assert (tmp_path / "down").read_bytes() == data
    head = await bundle.storage.head(bundle.converted, "large.bin")
    assert head is not None
    assert head.md5 == hashlib.md5(data, usedforsecurity=False).digest()
    assert (read.size, read.etag, read.md5) == (len(data), head.etag, head.md5.hex())


async def test_a_file_above_the_limit_is_not_written(bundle: Bundle, tmp_path: Path) -> None:
    await bundle.upload("box.obj", b"12345")
    async with bundle.containers.open(bundle.source()) as container:
        with pytest.raises(Problem, match="too large"):
            await container.download("box.obj", tmp_path / "down", most=4)
    assert not (tmp_path / "down").exists()


@pytest.mark.parametrize(("status", "expected"), [(500, Unreachable), (429, Unreachable), (400, Problem)])
async def test_a_refusal_of_storage_is_told_in_our_words(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, status: int, expected: type[Exception]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        error = HttpResponseError("https://account/container?sig=secret")
        error.status_code = status
        raise error

    monkeypatch.setattr("azure.storage.blob.aio.ContainerClient.list_blobs", refuse)
    async with bundle.containers.open(bundle.source()) as container:
        with pytest.raises(expected) as told:
            await container.list("")
    assert f"HTTP {status}" in str(told.value)
    assert "secret" not in str(told.value)
    assert told.value.__suppress_context__


async def test_a_host_that_does_not_answer_may_answer_later(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ServiceRequestError("https://account/container?sig=secret")

    monkeypatch.setattr("azure.storage.blob.aio.ContainerClient.upload_blob", refuse)
    async with bundle.containers.open(bundle.target()) as container:
        with pytest.raises(Unreachable, match="write 'a'"):
            await container.write("a", b"", "text/plain")


async def test_every_container_is_at_the_account_of_the_request(bundle: Bundle) -> None:
    assert bundle.containers.url(bundle.source()).endswith(f"/{ACCOUNT}/{bundle.models}")
