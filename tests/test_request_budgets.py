"""What a conversion asks of storage and of its service, by party: a rise is noticed, and so is a fall."""

import pytest

from bench.requests import counted
from local.azurite import Azurite
from shared.conversion import ServiceName
from shared.formats import API2CONVERT, MODEL_DERIVATIVE, REMOTE_RENDERING


@pytest.mark.parametrize(
    ("service", "below", "calls", "embedded", "files"),
    [(REMOTE_RENDERING, 1, 2, 6, 4), (API2CONVERT, 1, 5, 17, 3), (MODEL_DERIVATIVE, 0, 8, 14, 5)],
)
async def test_a_conversion_asks_as_much_as_its_budget_says(
    azurite: Azurite, service: ServiceName, below: int, calls: int, embedded: int, files: int
) -> None:
    found = await counted(azurite, service)
    assert (found.polls, found.derivatives) == (1, 1)
    assert len(found.ledger.pipeline) == found.storage_budget - below, found.ledger.pipeline
    assert found.calls == calls <= found.calls_budget, found.ledger.calls
    assert found.files == files, found.ledger.service
    # An answer to a poll is one read of the request's record.
    assert found.embedded - found.files - found.polls == embedded, found.ledger.service
