"""Refusals in this API's shapes, and what every call is asked before it is served."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request

from shared import model_derivative_formats as seed
from shared.embedded.api.replies import Refused
from shared.problems import Code, Problem

# Far above any body of this API, which names files and never holds one.
_LARGEST_BODY = 1024 * 1024

_ACCESS = (401, 403, 429)


def body_of(status: int, message: str, path: str) -> dict[str, str]:
    """The body of a refusal: the word it has for its message depends on the status, and on the API."""
    if status in _ACCESS:
        return {"developerMessage": message}
    if path.startswith("/oss/"):
        return {"reason": message, "diagnostic": message}
    return {"diagnostic": message}


def refused(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Refused:
    """Ends a call; raise it."""
    return Refused(status, body_of(status, message, request.scope["path"]), headers)


def region_of(request: Request) -> str | None:
    """The region that the headers name, or None; both spellings of the header are in use.

    Raises:
        Problem: there is no such region.
    """
    region = request.headers.get("region") or request.headers.get("x-ads-region")
    return seed.check_region(region, "region")


def flag(request: Request, header: str) -> bool:
    """A header that is true or false, and false when it is absent.

    Raises:
        Problem: it is something else.
    """
    return flag_in(request.headers.get(header), header)


def flag_in(text: str | None, name: str) -> bool:
    """A value that is true or false, and false when it is absent.

    Raises:
        Problem: it is something else.
    """
    value = "false" if text is None else text.strip().lower()
    if value not in ("true", "false"):
        raise seed.invalid(f"'{name}' must be true or false.")
    return value == "true"


async def json_of(request: Request) -> Any:
    """The JSON of a body.

    Raises:
        Problem: there is none, or it is not said to be.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise seed.invalid("The header 'Content-Type' must be application/json.")
    content = await request.body()
    if len(content) > _LARGEST_BODY:
        raise seed.invalid(f"The body is larger than {_LARGEST_BODY} bytes.")
    try:
        return json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise seed.invalid("The body is not JSON.") from None


async def object_of(request: Request) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        Problem: it is something else.
    """
    value = await json_of(request)
    if not isinstance(value, dict):
        raise seed.invalid("The body is not a JSON object.")
    return value


def text_in(body: Mapping[str, Any], name: str) -> str:
    """A string in a body that must be there.

    Raises:
        Problem: it is not there, or is something else.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Problem(Code.INVALID_SETTINGS, f"'{name}' is missing, or not a string.")
    return value


def _no_constant(name: str) -> Any:
    # NaN and the infinities, which Python's parser would take.
    raise ValueError(name)
