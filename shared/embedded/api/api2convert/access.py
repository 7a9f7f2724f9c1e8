"""Who may call: the account's key for everything, a job's token for that job alone."""

import hashlib
import hmac

from fastapi import Request

from shared.embedded.api.api2convert.model import Job
from shared.embedded.api.api2convert.refusals import bad_key, bad_token, no_job
from shared.embedded.api.api2convert.store import Jobs, Seen, is_id
from shared.embedded.tokens import Tokens
from shared.settings import Settings

_PREFIXES = ("X-Api2convert-", "X-Oc-")


class Access:
    """Admits calls; every header has two spellings."""

    def __init__(self, settings: Settings, tokens: Tokens, jobs: Jobs) -> None:
        self._account_id = settings.embedded_account_id
        self._tokens = tokens
        self._jobs = jobs

    def account(self, request: Request) -> None:
        """Checks the account's key.

        Raises:
            Refused: 401.
        """
        if not self._opens(header(request, "Api-Key")):
            raise bad_key()

    async def may(self, request: Request, job_id: str) -> None:
        """Checks the account's key, or the job's own token; with the key nobody looks whether there is a job.

        Raises:
            Refused: 401.
        """
        if header(request, "Api-Key"):
            self.account(request)
        else:
            await self.seen(request, job_id)

    async def job(self, request: Request, job_id: str) -> Job:
        """The job, as :meth:`seen`."""
        return (await self.seen(request, job_id)).job

    async def seen(self, request: Request, job_id: str) -> Seen:
        """The job, for the account's key, or for its own token; a change of it may begin from it.

        Raises:
            Refused: 401, or 404 for whoever has the key and names no job.
        """
        key = header(request, "Api-Key")
        if key:
            if not self._opens(key):
                raise bad_key()
            seen = await self._see(job_id)
            if seen is None:
                raise no_job()
            return seen
        token = header(request, "Token")
        if not token:
            raise bad_key()
        seen = await self._see(job_id)
        # The same answer for a job that does not exist: a stranger learns nothing.
        if seen is None or not same(token, seen.job.token):
            raise bad_token()
        return seen

    async def _see(self, job_id: str) -> Seen | None:
        return await self._jobs.see(job_id) if is_id(job_id) else None

    def _opens(self, key: str) -> bool:
        return self._tokens.opens(self._account_id, key)


def header(request: Request, name: str) -> str:
    """A header of this API under either of its names; empty if it is absent."""
    return next(
        (request.headers[prefix + name] for prefix in _PREFIXES if prefix + name in request.headers), ""
    )


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, told in constant time."""
    return hmac.compare_digest(_digest(one), _digest(other))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
