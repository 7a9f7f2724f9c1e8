"""A conversion: one version of one model on its way to derivatives. Pure."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from shared.problems import Code, Problem

ServiceName = Literal["remote-rendering", "model-derivative", "api2convert"]


class Status(StrEnum):
    """How far a conversion is, in Model Derivative's words, for every service."""

    PENDING = "pending"
    INPROGRESS = "inprogress"
    SUCCESS = "success"
    FAILED = "failed"
    TIMEOUT = "timeout"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self not in (Status.PENDING, Status.INPROGRESS)


class Step(StrEnum):
    """What a conversion in flight needs done next."""

    INTAKE = "intake"
    START = "start"
    POLL = "poll"
    COLLECT = "collect"
    FINISH = "finish"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Format(_Value):
    """One requested output: Model Derivative's ``formats`` item, for that service's other keys too."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = Field(min_length=1, max_length=40)
    advanced: dict[str, Any] = Field(default_factory=dict)

    def order(self) -> dict[str, Any]:
        """The item as it is sent; without ``advanced`` where there is none."""
        order = self.model_dump(mode="json")
        return order if order["advanced"] else {key: order[key] for key in order if key != "advanced"}


class ConversionSettings(_Value):
    """What a sidecar says: the service, the outputs, and the service's own options."""

    service: ServiceName
    formats: tuple[Format, ...] = Field(min_length=1, max_length=50)
    root_filename: str | None = Field(None, min_length=1, max_length=1024)
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Equal for equal settings, whichever file they came from."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Sidecar(_Value):
    """A sidecar as it is written: whatever it leaves out is the app's default."""

    service: ServiceName | None = None
    formats: tuple[Format, ...] | None = Field(None, min_length=1, max_length=50)
    root_filename: str | None = Field(None, min_length=1, max_length=1024)
    options: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes, name: str) -> Self:
        """The sidecar in the file ``name``.

        Raises:
            Problem: ``invalid-settings``, naming the file and every key that is wrong.
        """
        try:
            content = json.loads(data.decode("utf-8-sig"), parse_constant=_no_number)
            # Half a surrogate pair can be escaped in JSON, but not written to a record or sent.
            json.dumps(content, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise Problem(
                Code.INVALID_SETTINGS, f"{name} is not JSON ({error}). Correct it and upload it again."
            ) from None
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            faults = "; ".join(_fault(fault) for fault in error.errors(include_url=False)[:10])
            raise Problem(
                Code.INVALID_SETTINGS, f"{name}: {faults}. Correct it and upload it again."
            ) from None


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _fault(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r} (known: service, formats, rootFilename, options)"
    return f"{key!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


class Companion(_Value):
    """A file that the model refers to, as it was when the conversion began."""

    path: str
    etag: str
    size: int


class Message(_Value):
    """Model Derivative's message: something to know about a conversion; with what it is about, and the
    service's own id of that, where the service tells."""

    type: Literal["warning", "error"]
    code: str
    message: str
    source: Literal["input", "conversion"] | None = None
    id_source: str | None = None


class Issue(_Value):
    """API2Convert's error or warning."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=None)

    source: Literal["input", "conversion"]
    id_source: str
    code: str | int
    message: str


class OutputFile(_Value):
    """A file in the converted container. ``md5`` and ``sha256`` are hexadecimal."""

    path: str
    output_type: str | None = None
    role: str | None = None
    size: int
    content_type: str | None = None
    sha256: str | None = None
    md5: str | None = None


class Kept(_Value):
    """A derivative that stays at the service, to be viewed there; ``guid`` is its name there."""

    output_type: str
    guid: str
    name: str | None = None


class Outcome(_Value):
    """How a conversion ended, before it is told. ``errors`` are the service's own; without any, ``code`` and
    ``message`` are all there is. ``model_etag`` and ``model_md5`` (hexadecimal) are of the version of the
    model that the service says it read."""

    status: Status
    code: str | None = None
    message: str | None = None
    errors: tuple[Message, ...] = ()
    files: tuple[OutputFile, ...] = ()
    logs: tuple[OutputFile, ...] = ()
    kept: tuple[Kept, ...] = ()
    statistics: dict[str, Any] = Field(default_factory=dict)
    model_etag: str | None = None
    model_md5: str | None = None


class AtService(_Value):
    """A conversion as its service may have it: what there is to say when nobody wants it any more. ``packed``
    says that the model and its companions may have been made one file for it."""

    id: str
    service: ServiceName
    service_id: str | None = None
    packed: bool


class Conversion(_Value):
    """The record of a conversion in flight.

    ``rev`` is new with every write, so that a write whose reply was lost is recognised. ``tries`` counts
    the claims of the present step that nobody completed, ``handed_over`` says that the step waits for
    `transfer_files`, ``faults`` the service's transient failures in a
    row, ``bad_replies`` how many of the last of them were replies that made no sense, ``fault`` what the
    last one said, ``resume_at`` when a service that answered 429 may be called again. ``settled_at`` is when
    the settings were read. ``drop`` names folders that nothing will refer to once this conversion has its
    manifest, ``abandoned`` what this one has taken the place of, as long as its services have not been told.
    ``sent`` says that the service was sent the model, in the version ``etag``, and does not read it
    itself. ``denied_at`` is when the service had been refused by storage, and the conversion got the id,
    and the SAS tokens, that it has now: that happens once.
    """

    id: str
    path: str
    etag: str
    size: int
    md5: str | None = None
    step: Step = Step.INTAKE
    rev: str
    tries: int = 0
    handed_over: bool = False
    faults: int = 0
    bad_replies: int = 0
    fault: str | None = None
    resume_at: datetime | None = None
    accepted_at: datetime
    due_at: datetime
    started_at: datetime | None = None
    deadline: datetime | None = None
    denied_at: datetime | None = None
    settings: ConversionSettings | None = None
    settings_hash: str | None = None
    settled_at: datetime | None = None
    companions: tuple[Companion, ...] = ()
    model_in_zip: str | None = None
    missing: tuple[str, ...] = ()
    manifest_etag: str | None = None
    drop: tuple[str, ...] = ()
    abandoned: tuple[AtService, ...] = ()
    ordered: bool = False
    service_id: str | None = None
    sent: bool = False
    trace_id: str | None = None
    callback: bool = False
    status: Status = Status.PENDING
    percent: int | None = None
    messages: tuple[Message, ...] = ()
    outcome: Outcome | None = None
    steps: dict[Step, float] = Field(default_factory=dict)

    @classmethod
    def begin(
        cls, path: str, etag: str, size: int, md5: bytes | None, now: datetime, due_at: datetime
    ) -> Self:
        """A conversion of the version ``etag``, claimed by whoever creates it."""
        return cls(
            id=secrets.token_hex(16),
            path=path,
            etag=etag,
            size=size,
            md5=base64.b16encode(md5).decode().lower() if md5 else None,
            rev=secrets.token_hex(8),
            tries=1,
            accepted_at=now,
            due_at=due_at,
        )

    def changed(self, **changes: Any) -> Self:
        """The same conversion with some fields changed, and a ``rev`` of its own."""
        return self.model_copy(update={**changes, "rev": secrets.token_hex(8)})

    @property
    def service(self) -> ServiceName | None:
        """The conversion service, once the settings are known."""
        return self.settings.service if self.settings else None

    @property
    def at_service(self) -> AtService | None:
        """The conversion as its service may have it; None as long as it cannot."""
        if self.service is None or not self.ordered:
            return None
        return AtService(
            id=self.id, service=self.service, service_id=self.service_id, packed=bool(self.companions)
        )

    @property
    def left_behind(self) -> dict[str, Any]:
        """What whatever takes this one's place has to see to: folders, and services to be told.

        One that the service never had may still be about to write its manifest.
        """
        has_traces = self.at_service is not None or self.step is Step.FINISH
        return {
            "drop": (*self.drop, self.id) if has_traces else self.drop,
            "abandoned": (*self.abandoned, self.at_service) if self.at_service else self.abandoned,
        }

    @property
    def sas_until(self) -> datetime:
        """When what is signed for the conversion ends; it has a deadline from its start on (promise 8)."""
        assert self.deadline is not None
        return self.deadline + timedelta(minutes=15)

    def started_anew(self, now: datetime) -> dict[str, Any]:
        """What changes when a conversion that storage was denied for is started once more.

        The id is another one, so that no service takes the new order for the old, and nothing that the old
        one still writes or says is taken for the new one's.
        """
        return {
            "id": secrets.token_hex(16),
            **self.left_behind,
            "denied_at": now,
            "service_id": None,
            "sent": False,
            "started_at": None,
            "callback": False,
            "status": Status.PENDING,
            "percent": None,
        }

    def was_read(self, outcome: Outcome) -> bool | None:
        """Whether the service read this version, or the same bytes; None where it does not say."""
        if outcome.model_etag is None:
            return None
        return outcome.model_etag == self.etag or (self.md5 is not None and outcome.model_md5 == self.md5)

    def is_same_content(self, size: int, md5: bytes | None) -> bool:
        """Whether a version with these is the same bytes: storage knows the MD5 of most blobs."""
        return self.md5 is not None and md5 is not None and size == self.size and md5.hex() == self.md5


def whole_settings(
    sidecar: Sidecar | None,
    default_service: ServiceName,
    default_formats: Mapping[str, Sequence[Mapping[str, Any]]],
) -> ConversionSettings:
    """The settings of a conversion: the sidecar's, with the app's defaults where it is silent.

    ``default_formats`` maps each service to its ``formats``.
    """
    service = (sidecar.service if sidecar else None) or default_service
    given = sidecar.formats if sidecar else None
    return ConversionSettings(
        service=service,
        formats=given or tuple(Format.model_validate(item) for item in default_formats[service]),
        root_filename=sidecar.root_filename if sidecar else None,
        options=sidecar.options if sidecar else {},
    )
