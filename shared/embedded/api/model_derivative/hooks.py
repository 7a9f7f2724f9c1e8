"""Webhooks: who wants to know of a job's end, and the deliveries that tell them.

A delivery is a blob under an id that the event gives it, so that an event met twice is told once. It is
tried at once, and then by queue messages that wait longer and longer; a message of an earlier try is
ignored. So a worker that dies in between loses nothing.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared import telemetry
from shared.embedded.api.model_derivative.designs import Design, Designs, Job
from shared.embedded.api.model_derivative.manifests import DERIVATIVE_URN, job_status
from shared.embedded.requests import Record, Request, State
from shared.embedded.worker import DELIVERIES
from shared.formats import MODEL_DERIVATIVE
from shared.outbound import Outbound
from shared.problems import Problem
from shared.settings import Settings
from shared.storage import Conflict, Storage

logger = logging.getLogger(__name__)

SYSTEM = "derivative"
FINISHED, UPDATED = "extraction.finished", "extraction.updated"
EVENTS = (FINISHED, UPDATED)

# Eight tries after the first, over two days.
_WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 480, 720, 1440))

# The message that stands in for a worker which dies at the first try.
_SPARE = timedelta(seconds=60)

_MOST_UNDELIVERED = 5
_ATTEMPTS = 10

_HOOKS = "webhooks/hooks/"
_SENT = "webhooks/deliveries/"
_TOKEN = "webhooks/token.json"  # noqa: S105 - a blob's name


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Hook(_Value):
    """Who is told of an event: those whose job had ``workflow``, in ``region``."""

    id: str
    event: str
    callback: str = Field(repr=False)
    workflow: str
    region: str
    created: datetime
    attribute: Mapping[str, Any] | None = None
    expires: datetime | None = None
    token: str | None = Field(None, repr=False)
    payload_only: bool = False
    reactivates: bool = False
    active: bool = True
    undelivered: int = 0


class Delivery(_Value):
    """One event on its way to one hook. ``body`` is erased when it has arrived, or is given up."""

    hook: str
    event: str
    body: Mapping[str, Any] | None
    tries: int = 0


class Hooks:
    """The hooks of one bundle, and what is told to them."""

    def __init__(
        self, storage: Storage, settings: Settings, designs: Designs, outbound: Outbound, client_id: str
    ) -> None:
        self._storage = storage
        self._container = settings.embedded_container
        self._queue = settings.embedded_queue
        self._designs = designs
        self._outbound = outbound
        self._client_id = client_id

    # The hooks.

    async def add(self, hook: Hook) -> None:
        """Keeps a new hook, or a changed one."""
        await self._storage.put(
            self._container, _hook_name(hook.event, hook.id), hook.model_dump_json().encode()
        )

    async def find(self, event: str, hook_id: str) -> Hook | None:
        """One hook."""
        blob = await self._storage.read(self._container, _hook_name(event, hook_id))
        return None if blob is None else Hook.model_validate_json(blob.data)

    async def of(self, *events: str) -> list[Hook]:
        """The hooks of some events, oldest first."""
        prefixes = [f"{_HOOKS}{event}/" for event in events]
        names = [
            head.name for prefix in prefixes async for head in self._storage.list(self._container, prefix)
        ]
        blobs = await asyncio.gather(*(self._storage.read(self._container, name) for name in names))
        hooks = [Hook.model_validate_json(blob.data) for blob in blobs if blob is not None]
        return sorted(hooks, key=lambda hook: hook.created)

    async def remove(self, hook: Hook) -> None:
        """Deletes a hook."""
        await self._storage.delete(self._container, _hook_name(hook.event, hook.id))

    async def set_token(self, token: str | None) -> None:
        """What deliveries are signed with, where the hook has nothing of its own; None signs none."""
        if token is None:
            await self._storage.delete(self._container, _TOKEN)
        else:
            await self._storage.put(self._container, _TOKEN, json.dumps({"token": token}).encode())

    async def token(self) -> str | None:
        """What deliveries are signed with."""
        blob = await self._storage.read(self._container, _TOKEN)
        return None if blob is None else str(json.loads(blob.data)["token"])

    # What the worker calls.

    async def changed(self, record: Record) -> None:
        """Tells of a request that runs now, or has ended; again, if it is called again before it arrived."""
        if record.request.api != MODEL_DERIVATIVE or not record.request.watched:
            return
        design = await self._designs.read_of(record.request)
        job = None if design is None else _job_of(design, record.request.id)
        if design is None or job is None or job.workflow is None:
            return
        event = UPDATED if record.state is State.RUNNING else FINISHED
        hooks = [hook for hook in await self.of(event) if self._wants(hook, job, design)]
        if not hooks:
            return
        records = await self._designs.records(design)
        if event == FINISHED and not all(records[one].final for one in job.requests):
            return
        for hook in hooks:
            body = self._body(hook, design, job, records)
            key = hashlib.sha256(f"{hook.id} {event} {job.requests[0]}".encode()).hexdigest()[:32]
            await self._send(key, Delivery(hook=hook.id, event=event, body=body))

    async def lost(self, request: Request) -> None:
        """Deletes what a run wrote whose design was deleted meanwhile."""
        if request.api != MODEL_DERIVATIVE:
            return
        design = await self._designs.read_of(request)
        if design is None or request.id not in design.requests:
            await self._designs.forget(request)

    async def deliver(self, key: str) -> None:
        """Makes the try that a queue message is for, unless it was made."""
        identity, _, number = key.removeprefix(DELIVERIES).partition("/")
        blob = await self._storage.read(self._container, _delivery_name(identity))
        if blob is None:
            return
        delivery = Delivery.model_validate_json(blob.data)
        if delivery.body is None or str(delivery.tries) != number:
            return
        hook = await self.find(delivery.event, delivery.hook)
        if hook is None or not hook.active:
            await self._keep(identity, delivery.model_copy(update={"body": None}), blob.etag)
            return
        reason = await self._post(hook, identity, delivery.body)
        if reason is None:
            await self._keep(identity, delivery.model_copy(update={"body": None}), blob.etag)
            return
        tries = delivery.tries + 1
        telemetry.event(
            "webhook.undelivered", level=logging.WARNING, hook=hook.id, tries=tries, message=reason
        )
        if delivery.tries == len(_WAITS):
            await self._keep(identity, delivery.model_copy(update={"body": None}), blob.etag)
            undelivered = hook.undelivered + 1
            active = undelivered < _MOST_UNDELIVERED or hook.reactivates
            await self.add(hook.model_copy(update={"undelivered": undelivered, "active": active}))
            return
        later = delivery.model_copy(update={"tries": tries})
        await self._enqueue(identity, tries, _WAITS[delivery.tries])
        await self._keep(identity, later, blob.etag)

    async def _send(self, identity: str, delivery: Delivery) -> None:
        try:
            await self._storage.create(
                self._container, _delivery_name(identity), delivery.model_dump_json().encode()
            )
        except Conflict:
            # It is on its way, or its message was never sent.
            await self._enqueue(identity, 0, timedelta(0))
            return
        await self._enqueue(identity, 0, _SPARE)
        await self.deliver(f"{DELIVERIES}{identity}/0")

    async def _enqueue(self, identity: str, number: int, wait: timedelta) -> None:
        await self._storage.enqueue(
            self._queue, {"id": f"{DELIVERIES}{identity}/{number}"}, delay_seconds=int(wait.total_seconds())
        )

    async def _keep(self, identity: str, delivery: Delivery, etag: str) -> None:
        try:
            await self._storage.replace(
                self._container, _delivery_name(identity), delivery.model_dump_json().encode(), etag
            )
        except Conflict:
            # Two messages of one try: the other one's end counts.
            logger.debug("delivery %s was made twice", identity)

    async def _post(self, hook: Hook, identity: str, body: Mapping[str, Any]) -> str | None:
        """Sends one delivery; why it did not arrive, or None."""
        content = json.dumps(body, separators=(",", ":")).encode()
        headers = {"x-adsk-delivery-id": identity}
        token = hook.token or await self.token()
        if token is not None:
            headers["x-adsk-signature"] = f"sha1hash={signature(content, token)}"
        try:
            status = await self._outbound.post(hook.callback, content, headers=headers)
        except Problem as refused:
            return refused.message
        except OSError as fault:
            return str(fault)
        return None if 200 <= status < 300 else f"HTTP {status}"

    def _wants(self, hook: Hook, job: Job, design: Design) -> bool:
        expired = hook.expires is not None and hook.expires <= self._storage.now()
        same = (hook.workflow, hook.region) == (job.workflow, design.region)
        return hook.active and same and not expired

    def _body(self, hook: Hook, design: Design, job: Job, records: Mapping[str, Record]) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "TimeStamp": round(self._storage.now().timestamp() * 1000),
            "URN": design.urn,
            "EventType": "EXTRACTION_FINISHED" if hook.event == FINISHED else "EXTRACTION_UPDATED",
            "Payload": {
                "status": job_status(job, records),
                "scope": job.workflow,
                "registerKey": [f"{DERIVATIVE_URN}{design.urn}/output/{one}" for one in job.requests],
            },
        }
        if job.attribute is not None:
            payload["Payload"]["workflowAttribute"] = job.attribute
        if hook.payload_only:
            return payload
        return {
            "version": "1.0",
            "resourceUrn": design.urn,
            "hook": hook_json(hook, self._client_id) | {"scope": {"workflow": hook.workflow}},
            "payload": payload,
        }


def signature(content: bytes, token: str) -> str:
    """The hexadecimal HMAC of a delivery's raw body."""
    return hmac.digest(token.encode(), content, "sha1").hex()


def hook_json(hook: Hook, client_id: str) -> dict[str, Any]:
    """A hook as the API tells of it; its token stays here."""
    told: dict[str, Any] = {
        "hookId": hook.id,
        "tenant": hook.workflow,
        "callbackUrl": hook.callback,
        "createdBy": client_id,
        "event": hook.event,
        "createdDate": f"{hook.created:%Y-%m-%dT%H:%M:%S}.{hook.created.microsecond // 1000:03}Z",
        "system": SYSTEM,
        "creatorType": "Application",
        "status": "active" if hook.active else "inactive",
        "autoReactivateHook": hook.reactivates,
        "scope": {"workflow": hook.workflow},
        "urn": f"urn:adsk.webhooks:events.hook:{hook.id}",
        "__self__": f"/systems/{SYSTEM}/events/{hook.event}/hooks/{hook.id}",
    }
    if hook.attribute is not None:
        told["hookAttribute"] = hook.attribute
    if hook.expires is not None:
        told["hookExpiry"] = f"{hook.expires:%Y-%m-%dT%H:%M:%SZ}"
    return told


def new_hook_id() -> str:
    """An id nobody else has."""
    return secrets.token_hex(16)


def _job_of(design: Design, request_id: str) -> Job | None:
    return next((job for job in design.jobs if request_id in job.requests), None)


def _hook_name(event: str, hook_id: str) -> str:
    return f"{_HOOKS}{event}/{hook_id}.json"


def _delivery_name(identity: str) -> str:
    return f"{_SENT}{identity}.json"
