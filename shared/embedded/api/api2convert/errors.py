"""What goes wrong with inputs and conversions, as the numbered messages of this API."""

from typing import Any

from shared.embedded.api.api2convert.model import Conversion, Input, Message
from shared.embedded.engine.job import Warning_
from shared.problems import Code

# The guide's own numbers and words.
UNREACHABLE = (
    1,
    "The file could not be downloaded. We are unable to resolve the host address or the host is unreachable.",
)
NOT_FOUND = (
    17,
    "File not found, reasons for this error could be: bucket has incorrect permissions, you sent invalid "
    "credentials, or the file is really not there",
)
UNSUPPORTED = (
    6004,
    "Unfortunately we can not convert your file yet from your source file format to this target file format.",
)

# Numbers of ours: the vendor's for these are not published. `details` has the stable code.
_NUMBERS: dict[str, int] = {
    Code.CORRUPT_MODEL: 6101,
    Code.EMPTY: 6102,
    Code.MISSING_COMPANION: 6103,
    Code.TOO_LARGE: 6104,
    Code.LIMIT_EXCEEDED: 6105,
    Code.CONVERTER_CRASHED: 6106,
    Code.INVALID_SETTINGS: 6107,
    Code.GAVE_UP: 6108,
}
_OTHER = 6100
_NO_OUTPUT = 6109
_WARNING = 6110


class InputError(Exception):
    """An input cannot be had."""

    def __init__(self, code: int, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}

    def about(self, item: Input) -> Message:
        return Message(
            source="input", id_source=item.id, code=self.code, message=self.message, details=self.details
        )


def problem_with(code: str, message: str) -> tuple[int, str, dict[str, Any]]:
    """The number, words and details of a problem with a stable code."""
    if code in (Code.UNSUPPORTED_FORMAT, Code.UNSUPPORTED_OUTPUT):
        return *UNSUPPORTED, {"code": str(code), "reason": message}
    return _NUMBERS.get(code, _OTHER), message, {"code": str(code)}


def conversion_error(conversion: Conversion, code: str, message: str) -> Message:
    """A conversion that failed with a stable code."""
    number, words, details = problem_with(code, message)
    return Message(source="conversion", id_source=conversion.id, code=number, message=words, details=details)


def no_output(conversion: Conversion) -> Message:
    """A job that made nothing at all."""
    return Message(
        source="conversion", id_source=conversion.id, code=_NO_OUTPUT, message="The job produced no output."
    )


def warning(conversion: Conversion, said: Warning_) -> Message:
    """What the engine says of a conversion that went well."""
    return Message(
        source="conversion",
        id_source=conversion.id,
        code=int(said.code) if said.code.isdecimal() else _WARNING,
        message=said.title,
        details={"code": said.code, **said.details},
    )
