"""Conversion services as the pipeline sees them: one protocol, one file per service.

Every call raises `ServiceFault` when the service did not do its work, and says there whether to
try again. No fault, result or repr of these carries a SAS, a key, a token or a URL's query.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from shared.conversion import Status


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of blobs. `folder` has no slash at either end, and is "" for the whole container;
    `sas` is a query string without its "?", or None where the service has rights of its own."""

    account: str
    container: str
    folder: str
    sas: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class InputFile:
    """A model or one of its companions. `name` is relative to the model's folder, `path` the blob's
    name in the models container, `size` in bytes."""

    name: str
    path: str
    size: int


class Transfer(Protocol):
    """What a client may do with blobs while it starts or collects: for services that reach none.

    Streams go in bounded memory, and keep the conversion's claim alive while they run.
    """

    async def read_url(self, path: str) -> str:
        """The address of an input with a SAS that reads it alone, until the conversion's deadline.

        It is a secret: never log it, nor put it into an exception.
        """

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of an input, in pieces of at most 4 MiB."""

    async def write(
        self, name: str, chunks: AsyncIterator[bytes], *, content_type: str | None = None
    ) -> "Written":
        """Writes an output of this name into the conversion's folder."""

    async def stage(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Keeps a file that was made for the service until the conversion ends; its address, with a SAS,
        as `read_url` gives one."""

    async def note(self, service_id: str) -> None:
        """Records the service's id of the conversion, before the step that must not be done twice."""

    def warn(self, warning: "Warned") -> None:
        """Says something in the conversion's manifest."""


@dataclass(frozen=True, slots=True)
class Written:
    """A blob as it was written: its name in the converted container, its size in bytes, and digests in
    hexadecimal, to compare with what the service stated."""

    path: str
    size: int
    sha256: str
    md5: str


@dataclass(frozen=True, slots=True)
class Order:
    """What a service is asked to do.

    `id` is the conversion's, and what makes a repeated order the same one. `model` is relative to
    the input folder. Without `formats` the service makes what it makes by itself. `options` are
    the settings' own for this service. `repeated` says that this order may have been given before,
    `service_id` what was noted then, or is known ahead. `files` are the model, first, and its companions;
    `transfer` moves them for a service that cannot reach blobs.
    """

    id: str
    input: Place
    model: str
    output: Place
    formats: Sequence[Mapping[str, Any]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    root_filename: str | None = None
    callback: str | None = None
    repeated: bool = False
    files: Sequence[InputFile] = ()
    service_id: str | None = None
    transfer: Transfer | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should know about a conversion. ``is_error`` is for what the service itself calls
    one. `source` says whether it is about an input or the conversion, and `source_id` which one, where the
    service tells."""

    code: str
    title: str
    details: Mapping[str, Any] = field(default_factory=dict)
    is_error: bool = False
    source: Literal["input", "conversion"] | None = None
    source_id: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """`service_id` is the service's own name for the conversion, `trace_id` for the call. `calls_back` says
    whether it will tell of the end, at `order.callback` or another address of ours, `sent` that the client
    sent the model itself, by `order.transfer`, and the service does not read the blob."""

    service_id: str
    trace_id: str | None = None
    warnings: tuple[Warned, ...] = ()
    calls_back: bool = True
    sent: bool = False


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that the service says it wrote; `path` is the blob's name in the output container,
    `size` in bytes, `role` "companion" for a file that another one needs. None is not said."""

    path: str
    type: str | None = None
    size: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A derivative that can be viewed at the service, and not be fetched; `guid` is its name there."""

    type: str
    guid: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What the service answers when asked.

    `word` is its own for `status`. `outputs` is None when it does not say what it wrote: the output
    folder does. `code` and `message` are its own, of a failure; `errors` are all of them, that one first,
    where the service tells more than one. `denied` says that it failed because storage refused it;
    `model_etag` is the version of the model that it read, and `model_md5` the MD5 of its bytes in
    hexadecimal, where it says so. `answer` is the whole of it, as the client's own `collect` reads it.
    """

    status: Status
    word: str
    percent: int | None = None
    code: str | None = None
    message: str | None = None
    outputs: tuple[OutputFile, ...] | None = None
    errors: tuple[Warned, ...] = ()
    warnings: tuple[Warned, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    trace_id: str | None = None
    kept: tuple[Kept, ...] = ()
    denied: bool = False
    model_etag: str | None = None
    model_md5: str | None = None
    answer: Any = field(default=None, repr=False, compare=False)


class ConversionService(Protocol):
    """A client of one conversion service; safe to share between conversions that run at once."""

    name: str
    reads: frozenset[str]
    #: Whether starting, or collecting, moves files through this app: then `transfer_files` does it.
    uploads: bool
    downloads: bool
    #: How many starts the service takes in a minute, where it says so: then the tick hands them out.
    starts_per_minute: int | None

    def check(self, extension: str, formats: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> None:
        """Refuse what the service cannot do, before it is asked.

        Raises:
            Problem: `unsupported-format`, `unsupported-output` or `invalid-settings`, naming the key.
        """

    def id_ahead(
        self, conversion_id: str, files: Sequence[InputFile], options: Mapping[str, Any]
    ) -> str | None:
        """The service's id of a conversion before it is started, where the client gives it: the record has it
        from the claim to start on. None where the service gives it. `files` and `options` are the order's."""

    async def start(self, order: Order) -> Started:
        """Begin a conversion. The same order again is the same conversion, where the service can
        tell; where it cannot, a warning says so.

        Raises:
            ServiceFault
        """

    async def poll(self, service_id: str) -> Progress:
        """How far the conversion is.

        Raises:
            ServiceFault
        """

    async def collect(self, order: Order, polled: Progress | None = None) -> tuple[OutputFile, ...]:
        """Bring the outputs into the conversion's folder by `order.transfer`, checked against what the
        service states of them; all of them, however often it is called. `polled` is what it has just
        answered, where the same run has asked: it is not asked again.

        Raises:
            ServiceFault
        """

    async def dispose(self, service_id: str) -> None:
        """Delete at the service what the conversion left there; gone already is done.

        Raises:
            ServiceFault
        """

    async def cancel(self, service_id: str) -> None:
        """Stop a conversion that nobody wants any more, where the service can: it need not.

        Raises:
            ServiceFault
        """

    async def close(self) -> None:
        """Close the connections."""


__all__ = [
    "ConversionService",
    "InputFile",
    "Kept",
    "Order",
    "OutputFile",
    "Place",
    "Progress",
    "Started",
    "Status",
    "Transfer",
    "Warned",
    "Written",
]
