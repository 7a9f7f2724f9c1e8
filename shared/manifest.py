"""The manifest: the final record of a conversion, public and versioned.

It has Model Derivative's shape, and tells more. The classes here are the source of the published JSON
Schema, ``manifest.schema.json`` beside this file, which this command makes anew after a change of them::

    python -m shared.manifest > shared/manifest.schema.json
"""

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, ValidationError

from shared import paths
from shared.conversion import (
    Companion,
    Conversion,
    ConversionSettings,
    Issue,
    Kept,
    Message,
    OutputFile,
    Status,
    _Value,
)
from shared.storage import Storage

#: The metadata that say when the settings were read: a sidecar that is newer was not.
SETTLED = "settled"


class Source(_Value):
    """The version of the model that was converted. ``size`` is in bytes, ``md5`` hexadecimal."""

    path: str
    etag: str
    size: int
    md5: str | None = None
    model_in_zip: str | None = None
    companions: tuple[Companion, ...] = ()


class Service(_Value):
    """Who converted it: the service, its own id of the conversion, and of the last call (``MS-CV``)."""

    name: str
    id: str | None = None
    trace_id: str | None = None


class Timings(_Value):
    """When it happened, in UTC, and the seconds that each step took from the one before."""

    accepted: datetime
    started: datetime | None = None
    ended: datetime
    steps: dict[str, float]


class Derivative(_Value):
    """One output file, with the files that it needs beside it as ``children``."""

    name: str
    output_type: str
    status: Status
    progress: str = "complete"
    has_thumbnail: Literal["true", "false"]
    path: str
    size: int
    content_type: str | None = None
    sha256: str | None = None
    md5: str | None = None
    children: tuple[OutputFile, ...] = ()


class Manifest(_Value):
    """What happened to one version of a model. ``path`` values are blob names in their containers."""

    type: Literal["manifest"] = "manifest"
    version: Literal["1.0"] = "1.0"
    id: str
    status: Status
    progress: str
    has_thumbnail: Literal["true", "false"]
    source: Source
    service: Service | None = None
    settings: ConversionSettings | None = None
    settings_hash: str | None = None
    timings: Timings
    derivatives: tuple[Derivative, ...] = ()
    kept: tuple[Kept, ...] = ()
    logs: tuple[OutputFile, ...] = ()
    messages: tuple[Message, ...] = ()
    errors: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()
    statistics: dict[str, Any] = Field(default_factory=dict)

    def names(self) -> frozenset[str]:
        """The blobs of all files that the manifest names."""
        children = {file.path for item in self.derivatives for file in item.children}
        return frozenset(
            {item.path for item in self.derivatives} | children | {file.path for file in self.logs}
        )

    def encode(self) -> bytes:
        """The manifest as it is stored: indented, because people open it."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=2).encode()


def schema() -> str:
    """The JSON Schema of :class:`Manifest`, as the published file holds it."""
    described = Manifest.model_json_schema(by_alias=True)
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | described
    return json.dumps(named, indent=2, ensure_ascii=False) + "\n"


def build(conversion: Conversion, now: datetime) -> Manifest:
    """The manifest of a conversion that has its outcome."""
    outcome = conversion.outcome
    assert outcome is not None
    messages = conversion.messages
    if outcome.errors:
        messages = (*messages, *outcome.errors)
    elif outcome.code is not None:
        error = Message(type="error", code=outcome.code, message=outcome.message or outcome.code)
        messages = (*messages, error)
    derivatives = _derivatives(outcome.files)
    return Manifest(
        id=conversion.id,
        status=outcome.status,
        progress="complete",
        has_thumbnail=_text(any(file.output_type == "thumbnail" for file in outcome.files)),
        source=Source(
            path=conversion.path,
            etag=conversion.etag,
            size=conversion.size,
            md5=conversion.md5,
            model_in_zip=conversion.model_in_zip,
            companions=conversion.companions,
        ),
        service=Service(name=conversion.service, id=conversion.service_id, trace_id=conversion.trace_id)
        if conversion.service
        else None,
        settings=conversion.settings,
        settings_hash=conversion.settings_hash,
        timings=Timings(
            accepted=conversion.accepted_at,
            started=conversion.started_at,
            ended=now,
            steps={step.value: round(seconds, 3) for step, seconds in conversion.steps.items()},
        ),
        derivatives=derivatives,
        kept=outcome.kept,
        logs=outcome.logs,
        messages=messages,
        errors=_issues(conversion, messages, "error"),
        warnings=_issues(conversion, messages, "warning"),
        statistics=outcome.statistics,
    )


_INPUT_CODES = frozenset(
    {"empty", "corrupt-model", "unsupported-format", "missing-companion", "source-deleted", "too-large"}
    | {"invalid-name", "invalid-settings"}
)


def _issues(conversion: Conversion, messages: tuple[Message, ...], kind: str) -> tuple[Issue, ...]:
    return tuple(
        Issue(
            source=message.source or ("input" if message.code in _INPUT_CODES else "conversion"),
            id_source=message.id_source or conversion.id,
            # A service that tells what a message is about has numbers for codes.
            code=int(message.code) if message.source and message.code.isdecimal() else message.code,
            message=message.message,
        )
        for message in messages
        if message.type == kind
    )


def _derivatives(files: tuple[OutputFile, ...]) -> tuple[Derivative, ...]:
    main = [file for file in files if file.role != "companion"]
    return tuple(
        Derivative(
            name=file.path.rpartition("/")[2],
            output_type=file.output_type or "file",
            status=Status.SUCCESS,
            has_thumbnail=_text(file.output_type == "thumbnail"),
            path=file.path,
            size=file.size,
            content_type=file.content_type,
            sha256=file.sha256,
            md5=file.md5,
            children=tuple(
                other
                for other in files
                if other.role == "companion" and (other.output_type == file.output_type or len(main) == 1)
            ),
        )
        for file in main
    )


def _text(value: bool) -> Literal["true", "false"]:
    return "true" if value else "false"


@dataclass(frozen=True)
class Stored:
    """A manifest and its version. ``manifest`` is None where the blob cannot be read as one: it was
    edited, or another release wrote it, and the next conversion replaces it."""

    manifest: Manifest | None
    etag: str


class Manifests:
    """The manifests in the ``converted`` container."""

    def __init__(self, storage: Storage, container: str) -> None:
        self._storage = storage
        self._container = container

    async def of(self, path: str) -> Stored | None:
        """The manifest of the model at ``path``, or None."""
        return await self.in_folder(paths.folder(path))

    async def in_folder(self, folder: str) -> Stored | None:
        """The manifest in a model's folder, or None."""
        blob = await self._storage.read(self._container, f"{folder}/{paths.MANIFEST}")
        if blob is None:
            return None
        try:
            return Stored(Manifest.model_validate_json(blob.data), blob.etag)
        except ValidationError:
            return Stored(None, blob.etag)

    async def write(self, manifest: Manifest, etag: str | None, settled_at: datetime) -> str:
        """Writes the manifest over the version ``etag``, or where there must be none (rule R6).

        ``settled_at`` is when the settings were read.

        Raises:
            Conflict: another manifest is there by now.
        """
        name = paths.manifest(manifest.source.path)
        metadata = {
            SETTLED: settled_at.isoformat(),
            "sourceetag": paths.to_metadata(manifest.source.etag),
            "status": manifest.status,
            "conversion": manifest.id,
        }
        if manifest.errors:
            metadata["code"] = paths.to_metadata(str(manifest.errors[0].code))
        path = paths.to_metadata(manifest.source.path)
        if paths.folder(manifest.source.path) != manifest.source.path and len(path) <= paths.LONGEST_METADATA:
            metadata["path"] = path  # the folder's name does not say it
        data = manifest.encode()
        if etag is None:
            return await self._storage.create(self._container, name, data, metadata=metadata)
        return await self._storage.replace(self._container, name, data, etag, metadata=metadata)


if __name__ == "__main__":
    sys.stdout.write(schema())
