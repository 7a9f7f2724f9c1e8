"""The libraries of a conversion, loaded into the engine's own process: a child that is forked after that
has them at once, and what it loads itself is lost with it."""

from shared.embedded.engine import reading, writing
from shared.embedded.engine.formats import READS, WRITES, read_format
from shared.embedded.engine.job import Job


class Loading:
    """What is loaded, and what is not yet. Everything raises `ImportError` for a package that is missing."""

    def __init__(self) -> None:
        # An optional package is large, and rarely wanted: it stays with the children that need it.
        self._types = dict.fromkeys(type_ for type_, target in WRITES.items() if target.needs is None)
        self._formats = dict.fromkeys(READS.values())

    def for_job(self, job: Job) -> None:
        """What this conversion needs."""
        format_ = read_format(job.model)
        if format_ in self._formats:
            self._format(format_)
        for output in job.outputs:
            if output.type in self._types:
                self._type(output.type)

    def next(self) -> bool:
        """One more of the rest; False when there is none."""
        if self._types:
            self._type(next(iter(self._types)))
        elif self._formats:
            self._format(next(iter(self._formats)))
        return bool(self._types or self._formats)

    def _format(self, format_: str) -> None:
        del self._formats[format_]
        reading.reader(format_)

    def _type(self, type_: str) -> None:
        del self._types[type_]
        writing.load(type_)
