"""The inputs and conversions of a job: read, added, changed, deleted."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from shared.embedded.api.api2convert.access import Access
from shared.embedded.api.api2convert.bodies import Bodies, list_in, read
from shared.embedded.api.api2convert.change import Change
from shared.embedded.api.api2convert.documents import conversion, input_file
from shared.embedded.api.api2convert.files import keep
from shared.embedded.api.api2convert.jobs import object_in_body
from shared.embedded.api.api2convert.model import Conversion, Input, Job
from shared.embedded.api.api2convert.refusals import refused
from shared.embedded.api.api2convert.store import Jobs, Seen
from shared.embedded.api.replies import Reply


def router(jobs: Jobs, access: Access, bodies: Bodies, change: Change, most: int) -> APIRouter:
    """The routes; ``most`` is the largest body, in bytes."""
    api = _Parts(jobs, access, bodies, change, most)
    routes = APIRouter(prefix="/v2/jobs/{job_id}")
    for noun in ("/conversions", "/conversion"):
        routes.get(noun)(api.conversions)
        routes.post(noun)(api.add_conversion)
        routes.patch(noun)(api.patch_conversions)
        routes.get(f"{noun}/{{part_id}}")(api.conversion)
        routes.api_route(f"{noun}/{{part_id}}", methods=["PATCH", "POST"])(api.patch_conversion)
        routes.delete(f"{noun}/{{part_id}}")(api.delete_conversion)
    routes.get("/input")(api.inputs)
    routes.post("/input")(api.add_input)
    routes.patch("/input")(api.patch_inputs)
    routes.get("/input/{part_id}")(api.input)
    routes.api_route("/input/{part_id}", methods=["PATCH", "POST"])(api.patch_input)
    routes.delete("/input/{part_id}")(api.delete_input)
    return routes


class _Parts:
    def __init__(self, jobs: Jobs, access: Access, bodies: Bodies, change: Change, most: int) -> None:
        self._jobs = jobs
        self._access = access
        self._bodies = bodies
        self._change = change
        self._most = most

    # --- Conversions --------------------------------------------------------------------------

    async def conversions(self, job_id: str, request: Request) -> Response:
        job = await self._access.job(request, job_id)
        return Reply([conversion(item) for item in job.conversions])

    async def conversion(self, job_id: str, part_id: str, request: Request) -> Response:
        job = await self._access.job(request, job_id)
        return Reply(conversion(_conversion(job, part_id)))

    async def add_conversion(self, job_id: str, request: Request) -> Response:
        """One conversion, or a list of them."""
        seen = await self._access.seen(request, job_id)
        body = await read(request, self._most)
        new = await self._bodies.conversions(body)
        await self._change.staged(seen, lambda job: {"conversions": (*job.conversions, *new)})
        documents = [conversion(item) for item in new]
        return Reply(documents if isinstance(body, list) else documents[0], 201)

    async def patch_conversion(self, job_id: str, part_id: str, request: Request) -> Response:
        seen = await self._access.seen(request, job_id)
        body = object_in_body(await read(request, self._most))
        changed = await self._bodies.conversion(body, _conversion(seen.job, part_id))
        after = await self._change.staged(seen, lambda job: {"conversions": _put(job.conversions, changed)})
        return Reply(conversion(_conversion(after.job, part_id)))

    async def patch_conversions(self, job_id: str, request: Request) -> Response:
        """Changes those that a list names by their ids; an object without one means the only one there is."""
        seen = await self._access.seen(request, job_id)
        job, changed = seen.job, []
        for item in list_in(await read(request, self._most), "conversion"):
            only = job.conversions[0].id if len(job.conversions) == 1 else ""
            old = _conversion(job, str(item.get("id") or only))
            changed.append(await self._bodies.conversion(item, old))
        after = await self._change.staged(seen, lambda job: {"conversions": _put(job.conversions, *changed)})
        return Reply([conversion(item) for item in after.job.conversions])

    async def delete_conversion(self, job_id: str, part_id: str, request: Request) -> Response:
        seen = await self._access.seen(request, job_id)
        _conversion(seen.job, part_id)

        def without(job: Job) -> dict[str, Any]:
            return {"conversions": tuple(item for item in job.conversions if item.id != part_id)}

        await self._remove(seen, without)
        return Response(status_code=204)

    # --- Inputs -------------------------------------------------------------------------------

    async def inputs(self, job_id: str, request: Request) -> Response:
        job = await self._access.job(request, job_id)
        return Reply([input_file(item) for item in job.inputs])

    async def input(self, job_id: str, part_id: str, request: Request) -> Response:
        job = await self._access.job(request, job_id)
        return Reply(input_file(_input(job, part_id)))

    async def add_input(self, job_id: str, request: Request) -> Response:
        """One input, or a list of them."""
        seen = await self._access.seen(request, job_id)
        body = await read(request, self._most)
        new, contents = self._bodies.inputs(body, self._jobs.now())
        if not new:
            raise refused(400, "There is no input in the body.")
        kept = {
            content.input_id: await keep(self._jobs, job_id, content.input_id, content.data)
            for content in contents
        }
        new = tuple(item.model_copy(update=kept.get(item.id, {})) for item in new)
        await self._change.staged(seen, lambda job: {"inputs": (*job.inputs, *new)})
        documents = [input_file(item) for item in new]
        return Reply(documents if isinstance(body, list) else documents[0], 201)

    async def patch_input(self, job_id: str, part_id: str, request: Request) -> Response:
        """Gives an input its password; nothing ever tells it back."""
        seen = await self._access.seen(request, job_id)
        body = object_in_body(await read(request, self._most))
        changed = self._bodies.patched(_input(seen.job, part_id), body, self._jobs.now())
        after = await self._change.staged(seen, lambda job: {"inputs": _put(job.inputs, changed)})
        return Reply(input_file(_input(after.job, part_id)))

    async def patch_inputs(self, job_id: str, request: Request) -> Response:
        """Changes the inputs that a list names by their ids."""
        seen = await self._access.seen(request, job_id)
        changed = [
            self._bodies.patched(_input(seen.job, str(item.get("id"))), item, self._jobs.now())
            for item in list_in(await read(request, self._most), "input")
        ]
        after = await self._change.staged(seen, lambda job: {"inputs": _put(job.inputs, *changed)})
        return Reply([input_file(item) for item in after.job.inputs])

    async def delete_input(self, job_id: str, part_id: str, request: Request) -> Response:
        seen = await self._access.seen(request, job_id)
        _input(seen.job, part_id)

        def without(job: Job) -> dict[str, Any]:
            return {"inputs": tuple(item for item in job.inputs if item.id != part_id)}

        await self._remove(seen, without)
        await self._jobs.drop(job_id, f"in/{part_id}/")
        return Response(status_code=204)

    async def _remove(self, seen: Seen, without: Callable[[Job], dict[str, Any]]) -> None:
        """Removes a part in any state; the run of a job in progress notices."""

        def change(job: Job) -> Job:
            now = self._jobs.now()
            # A job does not start because something was taken away.
            if job.is_staged:
                staged = job.staged(now, **without(job))
                return staged.model_copy(update={"status": "ready"}) if staged.status == "pending" else staged
            return job.changed(now, **without(job))

        await self._change.change(seen, change)


def _conversion(job: Job, part_id: str) -> Conversion:
    found = job.conversion(part_id)
    if found is None:
        raise refused(404, "The conversion does not exist.")
    return found


def _input(job: Job, part_id: str) -> Input:
    found = job.input(part_id)
    if found is None:
        raise refused(404, "The input does not exist.")
    return found


def _put[Part: (Conversion, Input)](parts: tuple[Part, ...], *changed: Part) -> tuple[Part, ...]:
    """The parts, with those that changed in the place of those with their ids."""
    by_id = {part.id: part for part in changed}
    return tuple(by_id.get(part.id, part) for part in parts)
