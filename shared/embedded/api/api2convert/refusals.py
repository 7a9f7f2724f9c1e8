"""Refusals in this API's shape: `{"code", "message", "errors"}`, of which clients read the message."""

from typing import Any

from shared.embedded.api.replies import Refused

#: The body is not there at all.
EMPTY = 8


def body_of(status: int, message: str, code: int | None = None) -> dict[str, Any]:
    """The body of a refusal; its code is the HTTP status where the API has no number of its own."""
    return {"code": status if code is None else code, "message": message, "errors": {}}


def refused(status: int, message: str, code: int | None = None) -> Refused:
    """Ends a call; raise it."""
    return Refused(status, body_of(status, message, code))


def bad_key() -> Refused:
    return refused(401, "Invalid api key")


def bad_token() -> Refused:
    return refused(401, "Invalid token")


def no_job() -> Refused:
    return refused(404, "The job does not exist.")


def started() -> Refused:
    """What may be changed before a job starts only."""
    return refused(409, "The job has been started already: this can be changed before only.")


def not_completed() -> Refused:
    """What may be changed after a job has completed only."""
    return refused(409, "The job has not completed: its output can be changed after that only.")
