"""The Remote Rendering conversion API, both versions, and the token service in front of it.

Paths compare case-insensitively, as the vendor's do. The contract's order of refusals is kept: who is
asking, for which account, and only then for what.
"""

import re
import uuid
from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from shared.embedded.api.bodies import Body
from shared.embedded.api.remote_rendering_bodies import Translator, v1_conversion
from shared.embedded.api.replies import Refused, Reply
from shared.embedded.containers import NotLinked
from shared.embedded.requests import Mismatch, Record, Requests
from shared.embedded.tokens import Tokens
from shared.formats import REMOTE_RENDERING
from shared.problems import Code, Problem
from shared.telemetry import event

_VERSIONS = ("2021-01-01-preview", "2021-01-01")
_VERSION_HEADER = {"api-supported-versions": ", ".join(_VERSIONS)}
_NEVER_STORED = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}

_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,256}")
_PAGE = 50

# The vendor's own words for storage that is not linked.
_V1_NOT_LINKED = (
    "Error accessing connected storage account - check if the ARR account has access to your storage account."
)
_NOT_LINKED = (
    "Error accessing connected storage account due to insufficient permissions. "
    "Check if the Mixed Reality resource has correct permissions assigned."
)


# The words of paths; what stands between them is the caller's.
_PATH = re.compile(
    r"(/v1)?(/accounts)(/[^/]+)(/token|/conversions)(/create(?:withsharedaccesssignature)?)?(.*)", re.I
)
_CREATE = {name.lower(): name for name in ("/create", "/createWithSharedAccessSignature")}


def canonical(path: str) -> str:
    """The path as the routes spell it, if it is one of this API's in another case."""
    match = _PATH.fullmatch(path)
    if match is None:
        return path
    v1, accounts, account, noun, create, rest = match.groups("")
    if not v1 or rest:
        return f"{v1.lower()}{accounts.lower()}{account}{noun.lower()}{create}{rest}"
    return f"{v1.lower()}{accounts.lower()}{account}{noun.lower()}{_CREATE.get(create.lower(), '')}"


def router(requests: Requests, tokens: Tokens, translator: Translator, own_url: str | None) -> APIRouter:
    """The routes; ``own_url`` is where links to further pages lead, or None for the address of the call."""
    api = RemoteRendering(requests, tokens, translator, own_url)
    routes = APIRouter()
    account = "/accounts/{account_id}"
    routes.get(f"{account}/token")(api.token)
    routes.post(f"/v1{account}/conversions/create")(api.v1_create_linked)
    routes.post(f"/v1{account}/conversions/createWithSharedAccessSignature")(api.v1_create_sas)
    routes.get(f"/v1{account}/conversions/{{conversion_id}}")(api.v1_get)
    routes.get(f"{account}/conversions")(api.list)
    # An id with a slash reaches these routes, and is told what an id is.
    routes.put(f"{account}/conversions/{{conversion_id:path}}")(api.put)
    routes.get(f"{account}/conversions/{{conversion_id:path}}")(api.get)
    return routes


def v1_error(message: str) -> dict[str, str]:
    """The body of a v1 refusal."""
    return {"error": message}


def error(code: str, message: str) -> dict[str, dict[str, str]]:
    """The body of a 2021-01-01 refusal."""
    return {"error": {"code": code, "message": message}}


class RemoteRendering:
    """The handlers. Each only translates between HTTP and :class:`Requests`."""

    def __init__(
        self, requests: Requests, tokens: Tokens, translator: Translator, own_url: str | None
    ) -> None:
        self._requests = requests
        self._tokens = tokens
        self._translator = translator
        self._own_url = own_url

    async def token(self, account_id: str, request: Request) -> Response:
        """The token service: an access token for the account's key."""
        key_account, _, key = _bearer(request).partition(":")
        if not self._tokens.opens(key_account, key):
            raise Refused(401, None)
        if not self._tokens.is_account(account_id):
            raise Refused(403, error("Forbidden", "The account key belongs to another account."))
        return Reply({"AccessToken": self._tokens.issue()}, headers=_NEVER_STORED)

    async def v1_create_linked(self, account_id: str, request: Request) -> Response:
        """Starts a conversion between containers that the settings link."""
        return await self._v1_create(account_id, request, linked=True)

    async def v1_create_sas(self, account_id: str, request: Request) -> Response:
        """Starts a conversion between containers that the request brings a SAS for."""
        return await self._v1_create(account_id, request, linked=False)

    async def _v1_create(self, account_id: str, request: Request, *, linked: bool) -> Response:
        self._authorize(account_id, request, v1_error)
        key = request.headers.get("Idempotency-Key")
        try:
            conversion_id = _conversion_id(key)
            body = await Body.read(request)
            order = self._translator.v1(body, conversion_id, linked=linked)
            record, new = await self._requests.accept(order.model_copy(update={"conversion_id": key}))
        except Problem as problem:
            raise _v1_refused(400, problem.message) from None
        except NotLinked:
            raise _v1_refused(400, _V1_NOT_LINKED) from None
        except Mismatch:
            raise _v1_refused(
                409, "The Idempotency-Key was used before, for a conversion with other settings."
            ) from None
        _log_accepted(request, record, new)
        # Said back, so that the caller knows that its key was heard.
        return Reply({"conversionId": record.request.id}, headers={"Idempotency-Key": key} if key else None)

    async def v1_get(self, account_id: str, conversion_id: str, request: Request) -> Response:
        """How a conversion is doing."""
        self._authorize(account_id, request, v1_error)
        record = await self._find(conversion_id)
        if record is None:
            raise Refused(404, v1_error("There is no conversion with this id."))
        return Reply(v1_conversion(record), headers=_NEVER_STORED)

    async def put(self, account_id: str, conversion_id: str, request: Request) -> Response:
        """Starts a conversion under an id of the caller's choice: 201, or 200 for a repeat."""
        self._admit(account_id, request)
        if not _ID.fullmatch(conversion_id):
            raise self._refused(
                400, "BadRequest", "A conversion id is 1 to 256 letters, digits, hyphens and underscores."
            )
        try:
            order = self._translator.v2021(await Body.read(request), conversion_id)
            record, new = await self._requests.accept(order)
        except Problem as problem:
            raise self._refused(400, "BadRequest", problem.message) from None
        except NotLinked:
            raise self._refused(403, "DelegatedResourceAccessError", _NOT_LINKED) from None
        except Mismatch:
            raise self._refused(
                409, "Conflict", "A conversion with this id and other settings exists already."
            ) from None
        _log_accepted(request, record, new)
        return Reply(self._translator.conversion(record), 201 if new else 200, _VERSION_HEADER)

    async def get(self, account_id: str, conversion_id: str, request: Request) -> Response:
        """One conversion."""
        self._admit(account_id, request)
        record = await self._find(conversion_id)
        if record is None:
            raise Refused(404, None, _VERSION_HEADER)
        return Reply(self._translator.conversion(record), headers=_VERSION_HEADER | _NEVER_STORED)

    async def list(self, account_id: str, request: Request) -> Response:
        """Every conversion there is a record of, whichever version of the API started it, oldest first."""
        version = self._admit(account_id, request)
        try:
            records, token = await self._requests.list(
                REMOTE_RENDERING, after=request.query_params.get("skiptoken"), limit=_PAGE
            )
        except ValueError:
            raise self._refused(400, "BadRequest", "The skiptoken is none of this service's.") from None
        link = None
        if token is not None:
            base = self._own_url or str(request.base_url).rstrip("/")
            link = f"{base}/accounts/{account_id}/conversions?api-version={version}&skiptoken={token}"
        conversions = [self._translator.conversion(record) for record in records]
        return Reply({"conversions": conversions, "@nextLink": link}, headers=_VERSION_HEADER)

    async def _find(self, conversion_id: str) -> Record | None:
        if not _ID.fullmatch(conversion_id):
            return None
        return await self._requests.status(f"{REMOTE_RENDERING}/{conversion_id}")

    def _authorize(self, account_id: str, request: Request, body: Callable[[str], object]) -> None:
        if not self._tokens.accepts(_bearer(request)):
            raise Refused(401, None, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        if not self._tokens.is_account(account_id):
            raise Refused(403, body("The token belongs to another account."))

    def _admit(self, account_id: str, request: Request) -> str:
        """Checks a 2021-01-01 call; the api-version it asks for."""
        self._authorize(account_id, request, lambda message: error("Forbidden", message))
        version = {key.lower(): value for key, value in request.query_params.items()}.get("api-version")
        if version is None:
            raise self._refused(400, "ApiVersionUnspecified", "The query has no api-version.")
        if version not in _VERSIONS:
            raise self._refused(
                400, "UnsupportedApiVersion", f"The api-version is none of {', '.join(_VERSIONS)}."
            )
        return version

    @staticmethod
    def _refused(status: int, code: str, message: str) -> Refused:
        return Refused(status, error(code, message), _VERSION_HEADER)


def _v1_refused(status: int, message: str) -> Refused:
    return Refused(status, v1_error(f"Unable to start conversion: {message}"))


def _conversion_id(idempotency_key: str | None) -> str:
    """A random id, or the one that belongs to the key."""
    if idempotency_key is None:
        return str(uuid.uuid4())
    if not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise Problem(Code.INVALID_SETTINGS, "The Idempotency-Key must be 1 to 256 visible ASCII characters.")
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"idempotency-key:{idempotency_key}"))


def _bearer(request: Request) -> str:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""


def _log_accepted(request: Request, record: Record, new: bool) -> None:
    event(
        "request.accepted" if new else "request.repeated",
        conversion_id=record.request.conversion_id,
        service=record.request.api,
        service_id=record.request.id,
        source=f"{record.request.source.account}/{record.request.source.container}",
        model=record.request.source.prefix + record.request.model,
        trace_id=request.state.ms_cv,
    )
