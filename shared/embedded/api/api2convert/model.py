"""A job and its parts, as they are kept. What callers see of them is in :mod:`.documents`."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Status code -> what it means, in the words of the API's guide.
STATUSES: Mapping[str, str] = {
    "incomplete": "Missing information to run the job",
    "ready": "The job is ready but not marked to be processed yet",
    "queued": "The file is waiting in the queue for being processed",
    "downloading": "The input file you provided is currently being downloaded",
    "pending": "The file is waiting in the queue to be downloaded",
    "processing": "The file is currently being converted",
    "completed": "The file has been successfully converted",
    "failed": "The file has not been converted due to errors",
    "canceled": "The job was canceled, and has no output",
}

STAGED = frozenset({"incomplete", "ready"})
FINAL = frozenset({"completed", "failed", "canceled"})

#: Inputs whose bytes come by a call of their own.
UPLOADED = ("upload", "base64")

Status = Literal[
    "incomplete", "ready", "queued", "downloading", "pending", "processing", "completed", "failed", "canceled"
]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Input(_Value):
    """A file to convert, or one that such a file refers to.

    ``source`` is a remote input's address, with whatever secret its query holds, and ``password`` what
    opens an encrypted file: both are erased when the job ends. ``blob`` has the bytes of an uploaded one.
    """

    id: str
    type: str
    source: str = Field("", repr=False)
    filename: str = ""
    status: Literal["ready", "downloading", "failed", "canceled"] = "ready"
    size: int = 0
    checksum: str = ""
    content_type: str = ""
    engine: str = "auto"
    options: Mapping[str, Any] = Field(default_factory=dict)
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    metadata: Mapping[str, Any] = Field(default_factory=dict)
    password: str | None = Field(None, repr=False)
    blob: str | None = None
    upload: str | None = None
    created: datetime
    modified: datetime

    @property
    def is_complete(self) -> bool:
        """Whether there is something to read, or to fetch."""
        return self.type not in UPLOADED or self.blob is not None

    def without_secrets(self) -> "Input":
        return self.model_copy(update={"source": self.source.partition("?")[0], "password": None})


class Conversion(_Value):
    """What to make of every input. ``options`` are those that the caller gave, ``preset`` applied."""

    id: str
    target: str
    category: str
    options: Mapping[str, Any] = Field(default_factory=dict)
    metadata: Mapping[str, Any] = Field(default_factory=dict)


class Output(_Value):
    """A file that was made: ``blob`` has its bytes, ``name`` is what callers know it by."""

    id: str
    conversion: str
    inputs: tuple[str, ...]
    name: str
    blob: str
    size: int
    checksum: str
    content_type: str
    downloads: int = 0
    role: str | None = None
    password: str | None = Field(None, repr=False)
    created: datetime


class Message(_Value):
    """An error or a warning; ``code`` is a number of the API's, or one of ours."""

    source: Literal["input", "conversion"]
    id_source: str
    code: int
    message: str
    details: Mapping[str, Any] = Field(default_factory=dict)


class Job(_Value):
    """A conversion job. Times are the storage service's.

    ``passwords`` are digests of the download passwords. ``run`` names the worker's run that may change
    the job while it is in progress; ``kept`` says whether its files are still there. ``order`` is a digest
    of what an Idempotency-Key created.
    """

    id: str
    token: str = Field(repr=False)
    status: Status = "incomplete"
    process: bool = True
    conversions: tuple[Conversion, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    errors: tuple[Message, ...] = ()
    warnings: tuple[Message, ...] = ()
    callback: str = Field("", repr=False)
    notify_status: bool = False
    fail_on_input_error: bool = True
    fail_on_conversion_error: bool = True
    limits: Mapping[str, Any] = Field(default_factory=dict)
    passwords: tuple[str, ...] = Field((), repr=False)
    key: str | None = None
    order: str | None = None
    run: str | None = None
    kept: bool = True
    created: datetime
    modified: datetime
    ended: datetime | None = None
    rev: str = Field(default_factory=lambda: secrets.token_hex(8))

    @property
    def is_staged(self) -> bool:
        """Whether it may still be changed."""
        return self.status in STAGED

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_complete(self) -> bool:
        """Whether it says all that a run needs."""
        return bool(self.conversions and self.inputs) and all(item.is_complete for item in self.inputs)

    def changed(self, now: datetime, **values: Any) -> "Job":
        """A copy with other values, and a ``rev`` of its own by which to know the write again."""
        return self.model_copy(update={**values, "modified": now, "rev": secrets.token_hex(8)})

    def staged(self, now: datetime, **values: Any) -> "Job":
        """A job that may still be changed, with other values, and the status that follows from them."""
        job = self.changed(now, **values)
        status = "incomplete" if not job.is_complete else "pending" if job.process else "ready"
        return job.model_copy(update={"status": status})

    def ending(self, now: datetime, status: Status, **values: Any) -> "Job":
        """The job with its end, and without what only the run needed to know."""
        inputs = values.pop("inputs", self.inputs)
        return self.changed(
            now,
            status=status,
            ended=now,
            run=None,
            inputs=tuple(item.without_secrets() for item in inputs),
            **values,
        )

    def input(self, input_id: str) -> Input | None:
        return next((item for item in self.inputs if item.id == input_id), None)

    def conversion(self, conversion_id: str) -> Conversion | None:
        return next((item for item in self.conversions if item.id == conversion_id), None)

    def output(self, output_id: str) -> Output | None:
        return next((item for item in self.outputs if item.id == output_id), None)
