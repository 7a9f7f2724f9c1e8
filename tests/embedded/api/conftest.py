"""A bundle that answers as API2Convert."""

from collections.abc import AsyncIterator

import httpx
import pytest

from local.azurite import Azurite
from shared.embedded.converter import Converter
from tests.embedded.api.jobs import Service
from tests.embedded.bundle import start


@pytest.fixture
async def service(azurite: Azurite, converter: Converter) -> AsyncIterator[Service]:
    async with start(azurite, embedded_apis="api2convert", embedded_upload_mb=1) as bundle:
        transport = httpx.ASGITransport(bundle.api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
            yield Service(bundle, client, bundle.worker(converter))
