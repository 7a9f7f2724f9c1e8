"""Everything that can go wrong, under stable codes.

A code is part of the product: it stands in manifests, logs and saved queries, so a code is
added but never renamed. The message beside it says what failed, why, and what to do.
"""

from collections.abc import Sequence
from enum import StrEnum


class Code(StrEnum):
    """Why a conversion ended without success, or a request was refused."""

    # The model and what belongs to it.
    EMPTY = "empty"
    CORRUPT_MODEL = "corrupt-model"
    UNSUPPORTED_FORMAT = "unsupported-format"
    UNSUPPORTED_OUTPUT = "unsupported-output"
    MISSING_COMPANION = "missing-companion"
    SOURCE_DELETED = "source-deleted"
    TOO_LARGE = "too-large"
    INVALID_NAME = "invalid-name"

    # Its settings.
    INVALID_SETTINGS = "invalid-settings"

    # The conversion service.
    SERVICE_UNAUTHORIZED = "service-unauthorized"
    SERVICE_NOT_FOUND = "service-not-found"
    SERVICE_LOST_CONVERSION = "service-lost-conversion"
    SERVICE_REFUSED = "service-refused"
    SERVICE_UNAVAILABLE = "service-unavailable"
    SERVICE_THROTTLED = "service-throttled"
    SERVICE_QUOTA = "service-quota"
    SERVICE_BAD_REPLY = "service-bad-reply"
    SERVICE_RETIRED = "service-retired"
    CONVERSION_FAILED = "conversion-failed"
    MISSING_OUTPUT = "missing-output"

    # The engine.
    LIMIT_EXCEEDED = "limit-exceeded"
    CONVERTER_CRASHED = "converter-crashed"

    # The pipeline.
    TIMEOUT = "timeout"
    GAVE_UP = "gave-up"
    STORAGE_DENIED = "storage-denied"
    STORAGE_UNAVAILABLE = "storage-unavailable"
    INTERNAL = "internal-error"


class Problem(Exception):
    """Ends a conversion, or refuses a request, for a reason a person can act on."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ServiceFault(Exception):
    """A call to a conversion service, or to storage, that did not do its work.

    ``transient`` faults are tried again, no sooner than ``retry_after`` seconds; others end the
    conversion. So do those that are to be expected ``while_new``, in the grace time after the start, but not
    before it has passed. ``trace_id`` is the service's own name for the call (``MS-CV``).
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        transient: bool,
        retry_after: float | None = None,
        trace_id: str | None = None,
        while_new: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.while_new = while_new
        self.transient = transient
        self.retry_after = retry_after
        self.trace_id = trace_id


def listed(names: Sequence[str], most: int) -> str:
    """Names as a message shows them: ``most`` of them, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:most])
    more = len(names) - most
    return (shown or "nothing") + (f" and {more:,} more" if more > 0 else "")
