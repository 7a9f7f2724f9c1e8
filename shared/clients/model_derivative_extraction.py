"""Geometry of single objects: extracted from a design that was translated, so asked for in a second job.

The guid of a view is the translation's own, and every conversion has a URN of its own: nobody can know it
before. So ``modelGuid`` may also be the view's name, and where there is one 3D view only it is that one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.clients import Transfer, Warned
from shared.clients.model_derivative_calls import DESIGN_DATA, Calls
from shared.clients.model_derivative_manifest import progress_of, types_of
from shared.clients.model_derivative_urn import Source
from shared.conversion import Status
from shared.problems import Code, Problem, ServiceFault

_OBJ = "obj"
_VIEWABLES = ("svf", "svf2")


def is_extraction(wanted: Mapping[str, Any]) -> bool:
    """Whether an entry of `formats` asks for single objects."""
    return "objectIds" in wanted.get("advanced", {})


def first_formats(formats: Sequence[Mapping[str, Any]], *, is_embedded: bool) -> list[Mapping[str, Any]]:
    """What to translate first: all but the extraction, and what makes the service know the objects."""
    first = [wanted for wanted in formats if not is_extraction(wanted)]
    if len(first) == len(formats):
        return first
    if is_embedded:
        return first or [{"type": "thumbnail"}]
    if not any(wanted["type"] in _VIEWABLES for wanted in first):
        first.append({"type": "svf2", "views": ["3d"]})
    return first


def second_formats(formats: Sequence[Mapping[str, Any]], guid: str) -> list[dict[str, Any]]:
    """The extraction, from the view with this guid."""
    return [
        {**wanted, "advanced": {**wanted["advanced"], "modelGuid": guid}}
        for wanted in formats
        if is_extraction(wanted)
    ]


def is_extracted(manifest: Mapping[str, Any]) -> bool:
    """Whether the second job is done; False where there was none yet.

    Raises:
        ServiceFault: transient while it runs; not so where it failed.
    """
    if _OBJ not in types_of(manifest):
        return False
    progress = progress_of(manifest)
    if progress is None or not progress.status.is_final:
        raise waiting()
    if progress.status is not Status.SUCCESS:
        raise ServiceFault(
            Code.CONVERSION_FAILED, f"The extraction failed: {progress.message}", transient=False
        )
    return True


def waiting() -> ServiceFault:
    """The extraction runs."""
    return ServiceFault(Code.SERVICE_UNAVAILABLE, "The objects are still being extracted.", transient=True)


async def guid_of(
    calls: Calls, source: Source, formats: Sequence[Mapping[str, Any]], transfer: Transfer
) -> str:
    """The guid of the view that the extraction names.

    Raises:
        ServiceFault: transient while the service does not know the views yet.
        Problem: ``invalid-settings``, listing the views there are.
    """
    named = next(str(wanted["advanced"]["modelGuid"]) for wanted in formats if is_extraction(wanted))
    reply = await calls.call("GET", f"{DESIGN_DATA}/{source.urn}/metadata", source.region)
    if reply.status == 202:
        raise waiting()
    data = reply.body.get("data")
    listed = data.get("metadata") if isinstance(data, dict) else None
    views = [
        one
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and one.get("role") == "3d" and isinstance(one.get("guid"), str)
    ]
    for key in ("guid", "name"):
        found = [str(one["guid"]) for one in views if str(one.get(key, "")).lower() == named.lower()]
        if len(found) == 1:
            return found[0]
    if len(views) == 1:
        guid = str(views[0]["guid"])
        transfer.warn(
            Warned(
                "view-replaced",
                "`modelGuid` names no view of this translation: the objects are those of its only 3D view.",
                {"guid": guid},
            )
        )
        return guid
    there = ", ".join(f"{one.get('name')!r}" for one in views) or "none"
    raise Problem(
        Code.INVALID_SETTINGS,
        f"`modelGuid` is {named!r}, and the model's 3D views are {there}. Name one of them.",
    )
