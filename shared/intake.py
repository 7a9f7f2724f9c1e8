"""From a blob to a conversion: its settings, whether a service can read it, and its companions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared import archives, formats, paths
from shared.clients import ConversionService
from shared.conversion import Companion, ConversionSettings, ServiceName, Sidecar, whole_settings
from shared.problems import Code, Problem, listed
from shared.references import REFERRING, Folder, Reference, references
from shared.storage import BlobHead, Storage

_LONGEST_SIDECAR = 256 * 1024
_MOST_LISTED = 5


@dataclass(frozen=True)
class Companions:
    """What a model refers to: the files that are there, and the names that are not.

    ``missing`` have landed nowhere in the model's folder or below; without the ``required`` ones of them
    there is nothing to convert. They are ``awaited`` but for an FBX, which names its author's own files
    more often than not: what has landed with it is taken, and nothing more is expected.
    """

    found: tuple[Companion, ...] = ()
    missing: tuple[str, ...] = ()
    awaited: bool = True
    required: tuple[str, ...] = ()
    model_in_zip: str | None = None

    def demand(self, grace: float) -> None:
        """Sees to it that what is required has landed, now that ``grace`` seconds have passed.

        Raises:
            Problem: ``missing-companion``, naming what has not.
        """
        if self.required:
            raise Problem(
                Code.MISSING_COMPANION,
                f"The model needs {listed(self.required, _MOST_LISTED)}, which did not land in its folder "
                f"within {grace:g} s. Upload what is missing, then the model again.",
            )


@dataclass(frozen=True)
class ResolvedSettings:
    """The settings that apply to a model, or what is wrong with them; ``digest`` tells them apart."""

    digest: str
    settings: ConversionSettings | None = None
    problem: Problem | None = None

    def checked(self) -> ConversionSettings:
        """The settings.

        Raises:
            Problem: ``invalid-settings``, naming the file and the key, or ``invalid-name``.
        """
        if self.settings is None:
            assert self.problem is not None
            raise self.problem
        return self.settings


class Intake:
    """Reads sidecars, and the parts of models that name other files."""

    def __init__(
        self,
        storage: Storage,
        container: str,
        services: Mapping[ServiceName, ConversionService],
        *,
        default_service: ServiceName,
        default_formats: Mapping[str, Sequence[Mapping[str, Any]]],
        read_bytes: int,
    ) -> None:
        """``read_bytes`` is the most that is read of a model or MTL to find references."""
        self._storage = storage
        self._container = container
        self._services = services
        self._default_service = default_service
        self._default_formats = default_formats
        self._read_bytes = read_bytes

    async def settings_of(self, path: str) -> ResolvedSettings:
        """The settings of a model: of its own sidecar, its folder's, the container's, or the app's.

        A model whose own name is unsafe has none: nothing beside it can be named either.
        """
        try:
            paths.check(path)
        except Problem as problem:
            return ResolvedSettings(problem.code, problem=problem)
        folder = path.rpartition("/")[0]
        names = [
            path + formats.SIDECAR_SUFFIX,
            f"{folder}/{formats.FOLDER_SIDECAR}" if folder else formats.FOLDER_SIDECAR,
            formats.FOLDER_SIDECAR,
        ]
        for name in dict.fromkeys(names):
            if len(name) > paths.LONGEST_NAME:
                continue
            blob = await self._storage.read(self._container, name, offset=0, length=_LONGEST_SIDECAR + 1)
            if blob is not None:
                return self._resolve(blob.data, name)
        settings = whole_settings(None, self._default_service, self._default_formats)
        return ResolvedSettings(settings.digest, settings)

    def _resolve(self, data: bytes, name: str) -> ResolvedSettings:
        try:
            if len(data) > _LONGEST_SIDECAR:
                raise Problem(
                    Code.INVALID_SETTINGS,
                    f"{name} is larger than {_LONGEST_SIDECAR // 1024} KiB. Shorten it.",
                )
            settings = whole_settings(Sidecar.parse(data, name), self._default_service, self._default_formats)
        except Problem as problem:
            return ResolvedSettings(hashlib.sha256(data).hexdigest()[:16], problem=problem)
        return ResolvedSettings(settings.digest, settings)

    def service_for(self, path: str, settings: ConversionSettings) -> ConversionService:
        """The service that the settings name, if it can do what they ask of this model.

        Raises:
            Problem: ``unsupported-format``, ``unsupported-output`` or ``invalid-settings``.
        """
        service = self._services.get(settings.service)
        if service is None:
            raise Problem(
                Code.INVALID_SETTINGS,
                f"'service': {settings.service} is not set up in this app "
                f"(set up: {', '.join(self._services)}). Choose one of these, or add its app settings.",
            )
        service.check(formats.extension(path), [item.order() for item in settings.formats], settings.options)
        return service

    async def companions_of(self, head: BlobHead, settings: ConversionSettings) -> Companions:
        """What the model refers to, as far as its first bytes tell.

        Raises:
            Problem: the model is a zip with no, or no clear, model in it.
        """
        extension = formats.extension(head.name)
        if extension == ".zip":
            return await self._in_zip(head, settings)
        named = await self._named_in(head.name, extension)
        if not named:
            return Companions()
        prefix = head.name[: head.name.rfind("/") + 1]
        there = {
            blob.name.removeprefix(prefix): blob
            async for blob in self._storage.list(self._container, prefix)
            if not formats.is_model(blob.name) or formats.is_companion(blob.name)
        }
        folder = Folder(there)
        found: dict[str, Companion] = {}
        missing: dict[str, bool] = {}
        queue = [("", reference) for reference in named]
        while queue:
            base, reference = queue.pop(0)
            name = folder.resolve(reference.uri, base)
            if name is None:
                missing[reference.uri] = missing.get(reference.uri, False) or reference.required
                continue
            if name in found:
                continue
            blob = there[name]
            found[name] = Companion(path=blob.name, etag=blob.etag, size=blob.size)
            if formats.extension(name) == ".mtl":
                inside = await self._named_in(blob.name, ".mtl")
                queue += [(name.rpartition("/")[0], reference) for reference in inside]
        return Companions(
            found=tuple(found.values()),
            missing=tuple(missing),
            awaited=extension != ".fbx",
            required=tuple(uri for uri, required in missing.items() if required),
        )

    async def _named_in(self, name: str, extension: str) -> tuple[Reference, ...]:
        if extension not in REFERRING:
            return ()
        blob = await self._storage.read(self._container, name, offset=0, length=self._read_bytes)
        if blob is None:
            return ()
        return references(extension, blob.data, whole=len(blob.data) < self._read_bytes).references

    async def _in_zip(self, head: BlobHead, settings: ConversionSettings) -> Companions:
        length = min(head.size, self._read_bytes)
        tail = await self._storage.read(self._container, head.name, offset=head.size - length, length=length)
        entries = archives.zip_entries(tail.data if tail else b"", head.size)
        chosen = archives.model_in_zip(
            entries,
            settings.root_filename,
            self._services[settings.service].reads,
            has_password="password_setting" in settings.options,
        )
        self.service_for(chosen.name, settings)
        return Companions(model_in_zip=chosen.name)
