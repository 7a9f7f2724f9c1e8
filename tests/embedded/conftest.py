"""A bundle for each test of the embedded service."""

from collections.abc import AsyncIterator

import httpx
import pytest

from local.azurite import Azurite
from shared.embedded.converter import Converter
from tests.embedded.api.jobs import Service
from tests.embedded.bundle import Bundle, start


@pytest.fixture
async def bundle(azurite: Azurite) -> AsyncIterator[Bundle]:
    async with start(azurite) as running:
        yield running


@pytest.fixture(scope="session")
async def converter() -> AsyncIterator[Converter]:
    """The engine, started once for all tests."""
    running = Converter()
    yield running
    await running.close()


@pytest.fixture
async def service(azurite: Azurite, converter: Converter) -> AsyncIterator[Service]:
    """A bundle that answers as API2Convert."""
    async with start(azurite, embedded_apis="api2convert", embedded_upload_mb=1) as bundle:
        transport = httpx.ASGITransport(bundle.api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
            yield Service(bundle, client, bundle.worker(converter))
