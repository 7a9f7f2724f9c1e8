"""What a conversion asks of storage and of its service, by party: a rise is noticed, and so is a fall."""

import pytest

from bench.requests import counted
from local.azurite import Azurite
from shared.conversion import ServiceName
from shared.formats import API2CONVERT, MODEL_DERIVATIVE, REMOTE_RENDERING


@pytest.mark.parametrize(
    ("service", "below", "embedded"),
    [(REMOTE_RENDERING, 1, 6), (API2CONVERT, 1, 17), (MODEL_DERIVATIVE, 0, 14)],
)
async def test_a_conversion_asks_as_much_as_its_budget_says(
    azurite: Azurite, service: ServiceName, below: int, embedded: int
) -> None:
    found = await counted(azurite, service)
    assert (found.polls, found.derivatives) == (1, 1)
    assert len(found.ledger.pipeline) == found.storage_budget - below, found.ledger.pipeline
    assert found.calls <= found.calls_budget, found.ledger.calls
    # An answer to a poll is one read of the request's record.
    assert found.embedded - found.files - found.polls == embedded, found.ledger.service
