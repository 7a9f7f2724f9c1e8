"""Puts the parts of the API together."""

from fastapi import APIRouter

from shared.embedded.api.api2convert import files, jobs, offers, outputs, parts
from shared.embedded.api.api2convert.access import Access
from shared.embedded.api.api2convert.bodies import Bodies
from shared.embedded.api.api2convert.change import Change
from shared.embedded.api.api2convert.documents import Documents
from shared.embedded.api.api2convert.notices import Notices
from shared.embedded.api.api2convert.runner import Runner
from shared.embedded.api.api2convert.store import Jobs
from shared.embedded.requests import Requests
from shared.embedded.tokens import Tokens
from shared.embedded.worker import Converts
from shared.outbound import Outbound
from shared.sas import Signer
from shared.settings import Settings
from shared.storage import Storage

_MEBIBYTE = 1024 * 1024
# Above what names files and never holds one.
_BODY_MARGIN = _MEBIBYTE


def router(settings: Settings, storage: Storage, requests: Requests, outbound: Outbound) -> APIRouter:
    """Every route of the API."""
    kept = Jobs(storage, settings, requests)
    access = Access(settings, Tokens(settings, storage.now), kept)
    most = settings.embedded_upload_mb * _MEBIBYTE
    largest_body = most * 4 // 3 + _BODY_MARGIN
    bodies = Bodies(kept, outbound, most)
    change = Change(kept)
    documents = Documents(_base(settings))
    routes = APIRouter()
    for part in (
        offers.router(kept, access, _base(settings), _BODY_MARGIN),
        jobs.router(kept, access, bodies, change, documents, largest_body),
        parts.router(kept, access, bodies, change, largest_body),
        outputs.router(kept, access, change, Signer(storage), documents, _BODY_MARGIN),
        files.router(kept, access, change, most),
    ):
        routes.include_router(part)
    return routes


async def tidy(settings: Settings, storage: Storage, requests: Requests) -> int:
    """Deletes what the API keeps no longer; of how many jobs."""
    return await Jobs(storage, settings, requests).tidy()


def runner(
    settings: Settings, storage: Storage, requests: Requests, outbound: Outbound, converter: Converts
) -> Runner:
    """The worker's part."""
    kept = Jobs(storage, settings, requests)
    notices = Notices(settings, outbound, Documents(_base(settings)))
    return Runner(settings, kept, converter, notices, outbound)


def _base(settings: Settings) -> str:
    """Where `server` and the outputs' addresses lead."""
    assert settings.own_url is not None
    return settings.own_url
