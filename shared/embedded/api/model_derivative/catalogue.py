"""The formats operation: what can be translated into what."""

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from fastapi import APIRouter, Request, Response

from shared.embedded.api.model_derivative.access import Access
from shared.embedded.api.model_derivative.plan import sources
from shared.embedded.api.replies import Reply
from shared.embedded.engine.formats import WRITES


def router(access: Access) -> APIRouter:
    """The route. The list changes with the service's version only, which starts it anew."""
    routes = APIRouter()
    since = datetime.now(UTC).replace(microsecond=0)

    @routes.get("/modelderivative/v2/designdata/formats")
    async def formats(request: Request) -> Response:
        """Output type -> the extensions it is made of."""
        access.admit(request)
        headers = {"Last-Modified": format_datetime(since, usegmt=True)}
        if _is_known(request.headers.get("If-Modified-Since"), since):
            return Response(status_code=304, headers=headers)
        listed = {name: [one.removeprefix(".") for one in sources(name)] for name in sorted(WRITES)}
        return Reply({"formats": listed}, headers=headers)

    return routes


def _is_known(header: str | None, since: datetime) -> bool:
    """Whether the caller has the list; one that brings no date, or none that is one, has not."""
    try:
        date = parsedate_to_datetime(header or "")
    except ValueError:
        return False
    return (date if date.tzinfo else date.replace(tzinfo=UTC)) >= since
