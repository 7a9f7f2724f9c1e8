"""Changes of jobs on behalf of the routes."""

from collections.abc import Callable
from typing import Any

from shared.embedded.api.api2convert.model import Job
from shared.embedded.api.api2convert.refusals import no_job, started
from shared.embedded.api.api2convert.store import Gone, Jobs


class Change:
    """Changes jobs on behalf of the routes, and sets those going that are complete by it."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def staged(self, job_id: str, apply: Callable[[Job], dict[str, Any]]) -> Job:
        """The job with the fields that ``apply`` gives, if it has not been started.

        Raises:
            Refused: 404, or 409 for one that has.
        """

        def change(job: Job) -> Job:
            if not job.is_staged:
                raise started()
            return job.staged(self._jobs.now(), **apply(job))

        return await self.go_on(await self.change(job_id, change))

    async def change(self, job_id: str, apply: Callable[[Job], Job]) -> Job:
        """The job after ``apply``.

        Raises:
            Refused: 404.
        """
        try:
            return await self._jobs.change(job_id, apply)
        except Gone:
            raise no_job() from None

    async def go_on(self, job: Job) -> Job:
        """Has a job that has become pending worked off."""
        if job.status == "pending":
            await self._jobs.submit(job)
        return job
