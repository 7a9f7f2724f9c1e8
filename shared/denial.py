"""What a 403 of storage means: which right the app lacks, and where."""

from typing import Any
from urllib.parse import urlsplit

from shared.problems import Code, Problem

_READING = ("GET", "HEAD")
_MISMATCH = "AuthorizationPermissionMismatch"
_NETWORK = "AuthorizationFailure"


def denied(request: Any, error_code: str | None, *, by_identity: bool) -> Problem:
    """The problem behind a refused request; ``error_code`` is the reply's ``x-ms-error-code``.

    The request's address may carry a SAS: only its host, container and purpose are told.
    """
    url = urlsplit(request.url)
    account, _, service = (url.hostname or "").partition(".")
    first = url.path.strip("/").partition("/")[0]
    place = f"{'queue' if service.startswith('queue') else 'container'} {first} of {account}"
    if "comp=userdelegationkey" in url.query:
        role = "Storage Blob Delegator"
    elif service.startswith("queue"):
        role = "Storage Queue Data Contributor"
    else:
        role = "Storage Blob Data Reader" if request.method in _READING else "Storage Blob Data Contributor"
    if not first:
        place = f"storage account {account}"
    reason = f"storage refused a {request.method} ({error_code or 'no reason given'})"
    if not by_identity:
        message = f"On {place}, {reason}. Check the account key in MODEL_STORAGE."
    elif error_code == _NETWORK:
        message = (
            f"On {place}, {reason}. Either the account's network rules keep the app out, or "
            f"the app's identity lacks the role '{role}' there."
        )
    else:
        message = f"The app's identity lacks the role '{role}' on {place}: {reason}. Assign it"
        message += ", then delete the manifest to convert again." if error_code == _MISMATCH else "."
    return Problem(Code.STORAGE_DENIED, message)
