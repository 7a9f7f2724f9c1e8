"""A scripted service, and the Remote Rendering client of it."""

from collections.abc import AsyncIterator

import pytest

from shared.clients.remote_rendering import RemoteRendering
from tests.clients.orders import ACCOUNT, CONVERSION, CV, KEY, SAS_CREATE, jwt
from tests.clients.service import Service, answer, running


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with running() as service:
        service.says["token"] = [answer(200, {"AccessToken": jwt()}, MS_CV=CV)]
        service.says[SAS_CREATE] = [answer(200, {"conversionId": CONVERSION}, MS_CV=CV)]
        service.says["create"] = [answer(200, {"conversionId": CONVERSION}, MS_CV=CV)]
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[RemoteRendering]:
    client = RemoteRendering(service.url, ACCOUNT, account_key=KEY)
    yield client
    await client.close()
