"""What tests of faults share: processes that may be killed."""

from collections.abc import AsyncIterator

import pytest

from tests.faults.killing import Victims


@pytest.fixture(scope="module")
async def victims(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Victims]:
    """The process that forks those which are killed."""
    async with Victims.running(tmp_path_factory.mktemp("temporary")) as running:
        yield running
