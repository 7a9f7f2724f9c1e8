"""What every test may use: one storage emulator for the session, and where real models lie."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.azurite import Azurite

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
"""Models from many programs, beside the checkout; tests that need one skip where it is missing."""


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """One Azurite for all tests: each uses containers and queues of its own."""
    with Azurite.start() as running:
        yield running
