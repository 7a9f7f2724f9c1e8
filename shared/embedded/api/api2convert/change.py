"""Changes of jobs on behalf of the routes."""

from collections.abc import Callable
from typing import Any

from shared.embedded.api.api2convert.model import Job
from shared.embedded.api.api2convert.refusals import no_job, started
from shared.embedded.api.api2convert.store import Gone, Jobs, Seen


class Change:
    """Changes jobs that a route has seen, and sets those going that are complete by it."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def staged(self, seen: Seen, apply: Callable[[Job], dict[str, Any]]) -> Seen:
        """The job with the fields that ``apply`` gives, if it has not been started.

        Raises:
            Refused: 404, or 409 for one that has.
        """

        def change(job: Job) -> Job:
            if not job.is_staged:
                raise started()
            return job.staged(self._jobs.now(), **apply(job))

        changed = await self.change(seen, change)
        await self.go_on(changed.job)
        return changed

    async def change(self, seen: Seen, apply: Callable[[Job], Job]) -> Seen:
        """The job after ``apply``.

        Raises:
            Refused: 404.
        """
        try:
            return await self._jobs.change(seen.job.id, apply, seen)
        except Gone:
            raise no_job() from None

    async def go_on(self, job: Job) -> None:
        """Has a job that has become pending worked off."""
        if job.status == "pending":
            await self._jobs.submit(job)
