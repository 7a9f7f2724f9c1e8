"""A bundle for each test of the embedded service, and one engine for all of them."""

from collections.abc import AsyncIterator

import pytest

from local.azurite import Azurite
from shared.embedded.converter import Converter
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
