"""What a conversion asks of storage and of its service, by party: a rise is noticed, and so is a fall."""

import pytest

from bench.requests import counted
from local.azurite import Azurite
from shared.conversion import ServiceName
from shared.formats import API2CONVERT, MODEL_DERIVATIVE, REMOTE_RENDERING

# Model Derivative takes 500 starts a minute, so a tick hands them out: it reads the record and claims it once
# more (R8). The URN is recorded before the upload, which reads the model; a listing and a callback are saved.
HANDED_OUT = 2


@pytest.mark.parametrize(
    ("service", "over", "embedded"),
    [(REMOTE_RENDERING, 0, 6), (API2CONVERT, 0, 28), (MODEL_DERIVATIVE, HANDED_OUT, 16)],
)
async def test_a_conversion_asks_as_much_as_its_budget_says(
    azurite: Azurite, service: ServiceName, over: int, embedded: int
) -> None:
    found = await counted(azurite, service)
    assert (found.polls, found.derivatives) == (1, 1)
    assert len(found.ledger.pipeline) == found.storage_budget + over, found.ledger.pipeline
    assert found.calls <= found.calls_budget, found.ledger.calls
    # An answer to a poll is one read of the request's record.
    assert found.embedded - found.files - found.polls == embedded, found.ledger.service
