"""The Model Derivative API for its tests."""

from collections.abc import AsyncIterator

import pytest

from local.azurite import Azurite
from shared.embedded.converter import Converter
from tests.embedded.api.derivative import Calls, calling


@pytest.fixture
async def calls(azurite: Azurite, converter: Converter) -> AsyncIterator[Calls]:
    async with calling(azurite, converter) as running:
        yield running
