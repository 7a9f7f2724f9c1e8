"""A bundle for each test of the embedded service."""

from collections.abc import AsyncIterator

import pytest

from local.azurite import Azurite
from tests.embedded.bundle import Bundle, start


@pytest.fixture
async def bundle(azurite: Azurite) -> AsyncIterator[Bundle]:
    async with start(azurite) as running:
        yield running
