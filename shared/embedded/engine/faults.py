"""How readers say that a model cannot be converted."""

from shared.problems import Code, Problem


def corrupt(what: str) -> Problem:
    """A damaged or invalid file; ``what`` is a clause that says what is wrong with it."""
    return Problem(
        Code.CORRUPT_MODEL, f"The model cannot be read: {what}. Check the file, or export it again."
    )


def too_big(setting: str, what: str) -> Problem:
    """A conversion that went over a limit; ``setting`` is the app setting that raises it."""
    return Problem(
        Code.LIMIT_EXCEEDED, f"The conversion needs {what}. Make the model smaller, or raise {setting}."
    )
