"""What a 403 of storage means: which right the app lacks, and where; and how a service tells of one."""

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from shared.problems import Code, Problem

_READING = ("GET", "HEAD")
_MISMATCH = "AuthorizationPermissionMismatch"
_NETWORK = "AuthorizationFailure"

# Storage's own names for a token that has expired, is revoked, or allows too little; and Remote Rendering's.
_REFUSALS = re.compile(
    r"\b(AuthenticationFailed|InvalidAuthenticationInfo|InsufficientAccountPermissions|"
    r"Authorization(Failure|\w+Mismatch)|DelegatedResourceAccessError)\b"
)


def is_denial(code: str | None, message: str | None) -> bool:
    """Whether a service's reason for a failure is that storage refused it."""
    return code == Code.STORAGE_DENIED or bool(_REFUSALS.search(f"{code} {message}"))


def denied(
    request: Any, error_code: str | None, *, service: Literal["blob", "queue"], by_identity: bool
) -> Problem:
    """The problem behind a refused request; ``error_code`` is the reply's ``x-ms-error-code``.

    The request's address may carry a SAS: only its account, container and purpose are told.
    """
    url = urlsplit(str(request.url))
    account, _, domain = (url.hostname or "").partition(".")
    path = url.path.strip("/").split("/")
    if not domain.startswith(f"{service}."):  # an emulator, which has the account in the path
        account, *path = [*path, ""]
    place = f"{'queue' if service == 'queue' else 'container'} {path[0]} of the storage account {account}"
    if not path[0]:
        place = f"the storage account {account}"
    if "comp=userdelegationkey" in url.query:
        role = "Storage Blob Delegator"
    elif service == "queue":
        role = "Storage Queue Data Contributor"
    else:
        role = "Storage Blob Data Reader" if request.method in _READING else "Storage Blob Data Contributor"
    reason = f"storage refused a {request.method} ({error_code or 'no reason given'})"
    if not by_identity:
        message = f"On {place}, {reason}. Check the account key in MODEL_STORAGE."
    elif error_code == _MISMATCH:
        message = (
            f"The app's identity lacks the role '{role}' on {place}: {reason}. "
            "Assign it, then delete the manifest to convert again."
        )
    elif error_code == _NETWORK:
        message = (
            f"On {place}, {reason}. Either the account's network rules keep the app out, "
            f"or the app's identity lacks the role '{role}' there."
        )
    else:
        message = f"On {place}, {reason}. Look at the account's settings, and at the app's identity."
    return Problem(Code.STORAGE_DENIED, message)
