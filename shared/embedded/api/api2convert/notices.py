"""Callbacks: the whole job, POSTed to the address that it names, signed with the account's key."""

import asyncio
import hmac
import json
import logging

from shared.embedded.api.api2convert.documents import Documents
from shared.embedded.api.api2convert.model import Job
from shared.formats import API2CONVERT
from shared.outbound import Outbound
from shared.problems import Problem
from shared.settings import Settings
from shared.telemetry import event

_WAITS = (1.0, 5.0)


class Notices:
    """Tells callers how their jobs are doing, as far as they want to know."""

    def __init__(self, settings: Settings, outbound: Outbound, documents: Documents) -> None:
        self._key = settings.embedded_account_key.encode()
        self._outbound = outbound
        self._documents = documents

    async def tell(self, job: Job) -> None:
        """Tells of the job's status: of every one where the job asks for that, else of its end only.

        What is not the end is told once; for the end a caller that fails is asked again.
        """
        if not job.callback or not (job.is_final or job.notify_status):
            return
        body = json.dumps(self._documents.job(job), separators=(",", ":")).encode()
        signature = hmac.digest(self._key, body, "sha256").hex()
        headers = {"X-Oc-Signature": signature, "X-Api2convert-Signature": signature}
        reason = await self._post(job.callback, body, headers, _WAITS if job.is_final else ())
        if reason is not None:
            event(
                "request.callback-failed",
                level=logging.WARNING,
                service=API2CONVERT,
                service_id=job.id,
                message=reason,
            )

    async def _post(
        self, url: str, body: bytes, headers: dict[str, str], waits: tuple[float, ...]
    ) -> str | None:
        """Why nobody was told, or None."""
        for wait in (*waits, None):
            try:
                status = await self._outbound.post(url, body, headers=headers)
            except Problem as refused:
                return refused.message
            except OSError as fault:
                reason = str(fault)
            else:
                if status < 500 and status != 429:
                    return None
                reason = f"HTTP {status}"
            if wait is None:
                return reason
            await asyncio.sleep(wait)
        raise AssertionError("the last wait is None")
