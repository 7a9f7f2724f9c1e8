"""What the steps of a conversion work with, and how fast they go."""

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import AzureError

from shared import paths
from shared.callbacks import Callbacks
from shared.clients import ConversionService, InputFile
from shared.conversion import AtService, Conversion, ServiceName, Status
from shared.in_flight import InFlight
from shared.intake import Intake
from shared.manifest import Manifests
from shared.problems import Code, Problem, ServiceFault
from shared.sas import Signer
from shared.settings import Settings
from shared.storage import BlobHead, Conflict, Storage
from shared.telemetry import event, unexpected

# How long a service is waited for that is told something which it need not hear.
_SECONDS_TO_TELL = 20.0
_LEAST_BACK_OFF = 2.0
_MOST_BACK_OFF = 300.0


@dataclass(frozen=True)
class Pace:
    """How long things may take, in seconds, and how often services are asked."""

    grace: float
    deadline: float
    claim: float
    poll_floor: float
    poll_ceiling: float

    @classmethod
    def of(cls, settings: Settings) -> "Pace":
        """The pace that the app settings give."""
        return cls(
            grace=settings.grace_seconds,
            deadline=settings.deadline_seconds,
            claim=settings.claim_seconds,
            poll_floor=settings.poll_floor_seconds,
            poll_ceiling=settings.poll_ceiling_seconds,
        )

    def next_poll(self, age: float, *, has_callback: bool) -> float:
        """A tenth of the age so far; at the ceiling where the service calls back anyway."""
        if has_callback and age > self.poll_floor:
            return self.poll_ceiling
        return min(max(age / 10, self.poll_floor), self.poll_ceiling)

    def back_off(self, faults: int) -> float:
        """Until the next try, after so many faults in a row before this one."""
        most = min(_LEAST_BACK_OFF * 2.0 ** min(faults, 10), _MOST_BACK_OFF)
        return most - jitter(most / 2)


def jitter(most: float) -> float:
    """So much later, by lot, that not all come back at once."""
    return random.uniform(0.0, most)  # noqa: S311


@dataclass(frozen=True)
class Tools:
    """What steps work with. ``staging`` is the container of what is made for a service, ``transfer_queue``
    is where steps that move files wait for `transfer_files`; ``max_in_flight`` is how many conversions a
    service may have at once, 0 for any number."""

    storage: Storage
    models: str
    converted: str
    in_flight: InFlight
    manifests: Manifests
    intake: Intake
    signer: Signer
    callbacks: Callbacks
    services: Mapping[ServiceName, ConversionService]
    pace: Pace
    max_in_flight: int
    transfer_queue: str
    staging: str
    # When a service that answered 429 may be called again, as far as this process knows: by its own calls,
    # and in a tick by what the records say of those of others.
    resume_at: dict[str, datetime] = field(default_factory=dict)

    def now(self) -> datetime:
        """R10: the time at the storage service."""
        return self.storage.now()

    def hold_back(self, service: ServiceName, until: datetime) -> None:
        """The service, not only the conversion that met its 429, is left alone for so long."""
        self.resume_at[service] = max(until, self.resume_at.get(service, until))

    def seconds_held_back(self, service: ServiceName) -> float:
        """For how long the service is still to be left alone; 0 or less where it may be called."""
        now = self.now()
        return (self.resume_at.get(service, now) - now).total_seconds()

    def hands_out(self, service: ServiceName) -> bool:
        """Whether the tick alone may start conversions at the service, because it counts them."""
        return self.max_in_flight > 0 or self.starts_per_minute(service) is not None

    def starts_per_minute(self, service: ServiceName) -> int | None:
        """How many starts the service takes; None where it does not say, or is set up no more."""
        client = self.services.get(service)
        return client.starts_per_minute if client is not None else None

    def ordering(self, conversion: Conversion) -> dict[str, Any]:
        """What the record says from the claim to start on: the service may have the conversion, until when,
        and under which id, where that is known before the service is asked."""
        client = self._service_of(conversion)
        options = conversion.settings.options if conversion.settings else {}
        ahead = client.id_ahead(conversion.id, files_of(conversion), options) if client else None
        return {
            "ordered": True,
            "deadline": conversion.deadline or self.now() + timedelta(seconds=self.pace.deadline),
            "service_id": conversion.service_id or ahead,
        }

    def _service_of(self, conversion: Conversion) -> ConversionService | None:
        """The client of the conversion's service; None where it is not known yet, or not set up any more."""
        return self.services.get(conversion.service) if conversion.service else None

    async def head(self, path: str) -> BlobHead | None:
        """The model at ``path``, also where its name would make a client leave the container."""
        try:
            paths.check(path)
        except Problem:
            async for blob in self.storage.list(self.models, path, page_size=1):
                return blob if blob.name == path else None
            return None
        return await self.storage.head(self.models, path)

    async def abandon(self, path: str, left: AtService) -> bool:
        """Tells the service that nobody wants a conversion of the model at ``path`` any more. False where it
        may hear it later.

        One that has its manifest is over, and not to be cancelled: the manifest may name what stays at the
        service.
        """
        if self.seconds_held_back(left.service) > 0:
            return False
        stored = await self.manifests.of(path)
        if stored and stored.manifest and stored.manifest.id == left.id:
            return True
        heard = await self._tell(left, is_over=False)
        try:
            await self._unstage(left)
        except (AzureError, Conflict):
            return False  # what has taken its place must not wait for this
        return heard

    async def dispose(self, conversion: Conversion) -> None:
        """Deletes what a conversion that is over has left at the service, where it can be deleted; one that
        timed out is cancelled."""
        if (left := conversion.at_service) is not None:
            outcome = conversion.outcome
            is_late = outcome is not None and outcome.status is Status.TIMEOUT
            await self._tell(left, is_over=not is_late)
            await self._unstage(left)
        if any(each.uploads for each in self.services.values()):
            # What a run that was superseded has packed after that, and died.
            for conversion_id in conversion.drop:
                await self._delete_below(self.staging, paths.staged(conversion_id))

    async def _tell(self, left: AtService, *, is_over: bool) -> bool:
        """Says to a service that a conversion is over, or else not wanted. Nothing rests on whether it hears
        that: what it still writes goes to a folder that nothing refers to. False where it may hear it later.
        """
        service = self.services.get(left.service)
        if service is None or left.service_id is None:
            return True
        call = service.dispose if is_over else service.cancel
        about: dict[str, Any] = {
            "conversion_id": left.id,
            "service": left.service,
            "service_id": left.service_id,
        }
        try:
            async with asyncio.timeout(_SECONDS_TO_TELL):
                await call(left.service_id)
        except (TimeoutError, ServiceFault) as fault:
            is_final = isinstance(fault, ServiceFault) and not fault.transient
            event(
                "service.dispose-failed" if is_over else "service.cancel-failed",
                level=logging.WARNING,
                code=fault.code if isinstance(fault, ServiceFault) else Code.SERVICE_UNAVAILABLE,
                **about,
            )
            return is_final
        except Exception as bug:
            unexpected("service.untold", bug, is_over=is_over, **about)
        return True

    async def _unstage(self, left: AtService) -> None:
        """Deletes what was made for the service, which need not have heard of it."""
        service = self.services.get(left.service)
        if left.packed and (service is None or service.uploads):
            await self._delete_below(self.staging, paths.staged(left.id))

    async def drop_outputs(self, folder: str, wanted: frozenset[str] = frozenset()) -> int:
        """Deletes the outputs of one conversion, blob by blob as they list, except those ``wanted``.
        How many it deleted."""
        return await self._delete_below(self.converted, f"{folder}/", wanted)

    async def _delete_below(self, container: str, prefix: str, wanted: frozenset[str] = frozenset()) -> int:
        deleted = 0
        async for blob in self.storage.list(container, prefix):
            if blob.name not in wanted:
                deleted += await self.storage.delete(container, blob.name)
        return deleted


def files_of(conversion: Conversion) -> list[InputFile]:
    """The model, first, and its companions."""
    folder = conversion.path[: conversion.path.rfind("/") + 1]
    files = [InputFile(conversion.path.removeprefix(folder), conversion.path, conversion.size)]
    for companion in conversion.companions:
        files.append(InputFile(companion.path.removeprefix(folder), companion.path, companion.size))
    return files
