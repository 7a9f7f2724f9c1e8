"""What a manifest of the service says: how a translation is, which files it made, and what to call them.

Judged are the root and the derivatives, never what is nested in them: a geometry may stay at "99%" below a
derivative that is a success. Pure.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from shared.clients import Kept, Progress, Warned
from shared.clients.transport import redacted
from shared.conversion import Status
from shared.embedded.engine.formats import THUMBNAIL_DEFAULT, WRITES
from shared.problems import Code

_BYTES = "application/octet-stream"

_STATUS = {
    "pending": Status.PENDING,
    "inprogress": Status.INPROGRESS,
    "success": Status.SUCCESS,
    "failed": Status.FAILED,
    "timeout": Status.TIMEOUT,
}

#: Output type -> the extensions of its own files, in contrast to what they need beside them.
_OWN = {
    "step": (".stp", ".step"),
    "iges": (".igs", ".iges"),
    "thumbnail": (".png",),
    "svf": (".svf", ".f2d"),
    "svf2": (),
}
_VIEWABLE = ("svf", "svf2")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Resource:
    """A file that a derivative has: ``urn`` fetches it, ``name`` is what it is called in our folder."""

    urn: str
    type: str
    name: str
    content_type: str | None
    is_companion: bool


def progress_of(manifest: Mapping[str, Any]) -> Progress | None:
    """How the translation is; None where the manifest has no status."""
    word = manifest.get("status")
    if not isinstance(word, str) or not 0 < len(word) <= 100:
        return None
    derivatives = _derivatives(manifest)
    # An unknown word is no end: our own deadline is.
    status = _STATUS.get(word.lower(), Status.INPROGRESS)
    if status is Status.SUCCESS:
        # What does not say is a success; one that failed below a success has failed.
        parts = {
            _STATUS.get(str(one.get("status", "success")).lower(), Status.INPROGRESS) for one in derivatives
        }
        for worse in (Status.FAILED, Status.TIMEOUT, Status.PENDING, Status.INPROGRESS):
            if worse in parts:
                status = Status.INPROGRESS if worse is Status.PENDING else worse
                break
    messages = tuple(dict.fromkeys(_messages(manifest)))
    code, message = None, None
    if status in (Status.FAILED, Status.TIMEOUT):
        errors = [one for one in messages if one[0] == "error"]
        if errors:
            _, code, message = errors[0]
            messages = tuple(one for one in messages if one != errors[0])
        else:
            code = Code.TIMEOUT if status is Status.TIMEOUT else None
            message = (
                "The service gave up: its own time for the translation was over."
                if status is Status.TIMEOUT
                else "The service gave no reason."
            )
    return Progress(
        status,
        word,
        percent=_percent(manifest.get("progress")),
        code=code,
        message=message,
        warnings=tuple(Warned(said, text, is_error=kind == "error") for kind, said, text in messages),
        kept=tuple(_kept(derivatives)) if status is Status.SUCCESS else (),
    )


def types_of(manifest: Mapping[str, Any]) -> set[str]:
    """The output types that the manifest has derivatives of."""
    return {_type(one) for one in _derivatives(manifest)}


def resources_of(manifest: Mapping[str, Any], stem: str) -> list[Resource]:
    """The files to fetch, each under a name that no other has.

    A derivative's only file of its own is called after the model; the files that it refers to keep their
    names, and their places beside it.
    """
    found: list[Resource] = []
    taken: set[str] = set()
    for number, derivative in enumerate(_derivatives(manifest), start=1):
        nodes = list(
            {node["urn"]: node for node in _nodes(derivative) if isinstance(node.get("urn"), str)}.values()
        )
        named = _named(_type(derivative), nodes, stem)
        folder = f"{_type(derivative)}-{number}/" if any(one.name in taken for one in named) else ""
        for one in named:
            resource = Resource(one.urn, one.type, f"{folder}{one.name}", one.content_type, one.is_companion)
            taken.add(resource.name)
            found.append(resource)
    return found


def _named(type_: str, nodes: list[Mapping[str, Any]], stem: str) -> list[Resource]:
    own = [node for node in nodes if _is_own(type_, node)] or (nodes[:1] if type_ not in _VIEWABLE else [])
    home = _place(own[0]["urn"]).parent if own else PurePosixPath()
    made: list[Resource] = []
    names: set[str] = set()
    for node in nodes:
        place = _place(node["urn"])
        if type_ in _VIEWABLE:
            name = f"{type_}/{place}"
        elif type_ == "thumbnail" and node in own:
            name = f"{stem}.{_size(node)}.png"
        elif len(own) == 1 and node in own:
            name = f"{stem}{place.suffix}"
        else:
            name = str(place.relative_to(home)) if place.is_relative_to(home) else place.name
        if name in names:
            name = f"{len(made)}-{name}"
        names.add(name)
        mime = node.get("mime")
        if (not isinstance(mime, str) or mime == _BYTES) and node in own and type_ in WRITES:
            mime = WRITES[type_].content_type
        made.append(
            Resource(node["urn"], type_, name, mime if isinstance(mime, str) else None, node not in own)
        )
    return made


def _is_own(type_: str, node: Mapping[str, Any]) -> bool:
    extensions = _OWN.get(type_, (f".{type_}",))
    return _place(node["urn"]).suffix.lower() in extensions


def _place(urn: str) -> PurePosixPath:
    """Where a file is among the design's outputs, without what would lead elsewhere."""
    _, _, path = urn.partition("/output/")
    parts = [
        _CONTROL.sub("_", part).rstrip(".") for part in re.split(r"[/\\]", path or urn.rpartition("/")[2])
    ]
    return PurePosixPath(*[part for part in parts if part]) if any(parts) else PurePosixPath("file")


def _size(node: Mapping[str, Any]) -> str:
    size = node.get("resolution")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(isinstance(side, int | float) for side in size)
    ):
        return f"{THUMBNAIL_DEFAULT}x{THUMBNAIL_DEFAULT}"
    return f"{int(size[0])}x{int(size[1])}"


def _kept(derivatives: list[Mapping[str, Any]]) -> Iterator[Kept]:
    """Graphics that have no urn can be viewed at the service, and not be fetched."""
    for derivative in derivatives:
        for node in _nodes(derivative):
            if (
                node.get("role") != "graphics"
                or node.get("urn") is not None
                or not isinstance(node.get("guid"), str)
            ):
                continue
            name = derivative.get("name")
            yield Kept(_type(derivative), node["guid"], name if isinstance(name, str) else None)


def _derivatives(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = manifest.get("derivatives")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _type(derivative: Mapping[str, Any]) -> str:
    said = derivative.get("outputType")
    return said if isinstance(said, str) and re.fullmatch("[A-Za-z0-9]{1,40}", said) else "file"


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Everything below a node. Nobody nests deeper than the JSON parser goes."""
    children = node.get("children")
    for child in children if isinstance(children, list) else ():
        if isinstance(child, dict):
            yield child
            yield from _nodes(child)


def _messages(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every (type, code, text), in their order, wherever they stand."""
    for node in (manifest, *(inner for one in _derivatives(manifest) for inner in (one, *_nodes(one)))):
        said = node.get("messages")
        for one in said if isinstance(said, list) else ():
            if not isinstance(one, dict):
                continue
            text = one.get("message")
            lines = [str(line) for line in text] if isinstance(text, list) else [str(text or "")]
            kind = "error" if one.get("type") == "error" else "warning"
            yield kind, str(one.get("code") or Code.CONVERSION_FAILED), redacted(" ".join(lines))


def _percent(progress: Any) -> int | None:
    if progress == "complete":
        return 100
    found = re.search(r"(\d{1,3})%", progress, re.ASCII) if isinstance(progress, str) else None
    return min(int(found[1]), 100) if found else None
