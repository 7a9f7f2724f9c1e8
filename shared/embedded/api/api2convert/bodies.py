"""Request bodies, and what they become. Every fault is a 400 that names the property."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import Request

from shared import paths
from shared.embedded.api.api2convert import catalogue
from shared.embedded.api.api2convert.model import UPLOADED, Conversion, Input, Job
from shared.embedded.api.api2convert.refusals import EMPTY, refused
from shared.embedded.api.api2convert.store import Jobs, is_id, new_id
from shared.outbound import Outbound
from shared.problems import Problem

_REMOTE = "remote"
# They need an account at somebody else's; the API takes them, and fails later.
_ELSEWHERE = ("cloud", "gdrive_picker")
_ENGINES = ("auto", "file")
_MOST = 100
_LONGEST_TEXT = 64 * 1024
_DATA_URI = re.compile(r"data:([^;,]*)(?:;[^,]*)?;base64,", re.IGNORECASE)

_FLAGS = ("process", "notify_status", "fail_on_input_error", "fail_on_conversion_error")


@dataclass(frozen=True)
class Content:
    """The bytes of an inline input, to be kept once its job is."""

    input_id: str
    data: bytes


async def read(request: Request, most: int) -> Any:
    """The JSON of a request's body of at most ``most`` bytes.

    Raises:
        Refused: 400, or 413.
    """
    content = await request.body()
    if len(content) > most:
        raise too_large(most)
    if not content.strip():
        raise refused(400, "The body is empty.", EMPTY)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise refused(400, "The body is not JSON.") from None


def too_large(most: int) -> Exception:
    return refused(
        413,
        f"At most {most / 1024**2:,.1f} MiB can be sent. Give a larger file as an input of type 'remote', "
        "with an https address as its 'source': the service then fetches it, and its memory is no limit.",
    )


def object_in(value: Any, name: str) -> dict[str, Any]:
    """``value`` as an object; nothing, and PHP's empty list, are an empty one."""
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise refused(400, f"'{name}' is not an object.")
    if len(json.dumps(value)) > _LONGEST_TEXT:
        raise refused(400, f"'{name}' is longer than {_LONGEST_TEXT:,} characters.")
    return value


def list_in(value: Any, name: str) -> list[dict[str, Any]]:
    """``value`` as a list of objects; one object alone is a list of it."""
    items = [] if value is None else value if isinstance(value, list) else [value]
    if len(items) > _MOST:
        raise refused(400, f"'{name}' has more than {_MOST} entries.")
    for item in items:
        if not isinstance(item, dict):
            raise refused(400, f"'{name}' has an entry that is not an object.")
    return items


def text_in(body: Mapping[str, Any], name: str, longest: int | None = _LONGEST_TEXT) -> str:
    """A string of at most ``longest`` characters, None for any number; empty if it is absent."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or (longest is not None and len(value) > longest):
        raise refused(400, f"'{name}' is not a string, or too long.")
    return value


def flag_in(body: Mapping[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise refused(400, f"'{name}' must be true or false.")


class Bodies:
    """Makes jobs, inputs and conversions of bodies."""

    def __init__(self, jobs: Jobs, outbound: Outbound, most: int) -> None:
        """``most`` is the largest inline file, in bytes."""
        self._jobs = jobs
        self._outbound = outbound
        self._most = most

    def fields(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a job that a body sets, but for its lists."""
        changes: dict[str, Any] = {
            name: value for name in _FLAGS if (value := flag_in(body, name)) is not None
        }
        if "callback" in body:
            changes["callback"] = callback = text_in(body, "callback")
            if callback:
                try:
                    self._outbound.check(callback)
                except Problem as problem:
                    raise refused(400, f"'callback': {problem.message}") from None
        if "limits" in body:
            changes["limits"] = object_in(body["limits"], "limits")
        if "download_passwords" in body:
            changes["passwords"] = passwords_in(body["download_passwords"])
        return changes

    async def conversions(self, value: Any, known: tuple[Conversion, ...] = ()) -> tuple[Conversion, ...]:
        """The conversions of a list; an entry with a known id changes that one."""
        made = []
        for item in list_in(value, "conversion"):
            old = next((one for one in known if one.id == item.get("id")), None)
            made.append(await self.conversion(item, old))
        return tuple(made)

    async def conversion(self, item: Mapping[str, Any], old: Conversion | None = None) -> Conversion:
        """A conversion, or ``old`` with what an item changes."""
        target = text_in(item, "target") or (old.target if old else "")
        options = dict(object_in(item.get("options"), "options")) if "options" in item or not old else {}
        if not target:
            raise refused(400, "'target' is missing: name the format to convert to.")
        if item.get("output_target"):
            raise refused(
                400, "'output_target' is not supported by this service: download the outputs instead."
            )
        preset_id = options.pop("preset", None)
        if preset_id is not None:
            preset = await self._jobs.preset(str(preset_id)) if is_id(str(preset_id)) else None
            if preset is None or preset.target != target:
                raise refused(400, "'options.preset' is no preset for this target.")
            options = preset.options | options
        if not catalogue.is_target(target):
            raise refused(
                400, f"The target {target[:100]!r} does not exist. GET /v2/conversions lists those that do."
            )
        given = text_in(item, "category")
        if given and given != catalogue.category_of(target):
            raise refused(400, f"The target {target!r} is of category {catalogue.category_of(target)!r}.")
        if old is not None:
            options = {**old.options, **options} if old.target == target else options
        try:
            catalogue.check_options(target, options)
        except Problem as problem:
            raise refused(400, problem.message) from None
        metadata = old.metadata if old else {}
        if "metadata" in item:
            metadata = object_in(item["metadata"], "metadata")
        return Conversion(
            id=old.id if old else new_id(),
            target=target,
            category=catalogue.category_of(target),
            options=options,
            metadata=metadata,
        )

    def inputs(
        self, value: Any, now: datetime, known: tuple[Input, ...] = ()
    ) -> tuple[tuple[Input, ...], list[Content]]:
        """The inputs of a list, and the bytes of inline ones; an entry with a known id changes that one."""
        made, contents = [], []
        for item in list_in(value, "input"):
            old = next((one for one in known if one.id == item.get("id")), None)
            if old is not None:
                made.append(self.patched(old, item, now))
                continue
            new, content = self.input(item, now)
            made.append(new)
            if content is not None:
                contents.append(Content(new.id, content))
        return tuple(made), contents

    def input(self, item: Mapping[str, Any], now: datetime) -> tuple[Input, bytes | None]:
        """An input, and its bytes if they are in the item."""
        kind = text_in(item, "type") or _REMOTE
        source = text_in(item, "source", None if kind == "base64" else _LONGEST_TEXT)
        filename = file_name(text_in(item, "filename"))
        credentials = object_in(item.get("credentials"), "credentials")
        content: bytes | None = None
        if kind == _REMOTE:
            if not source:
                raise refused(400, "'source' is missing: give the address of the file.")
            if urlsplit_or_none(source) is None:
                raise refused(400, "'source' is no http or https address.")
        elif kind == "base64" and (item.get("content") or source):
            content, guessed = decoded(text_in(item, "content", None) or source, self._most)
            filename = filename or guessed
            source = ""
        elif kind not in (*UPLOADED, *_ELSEWHERE):
            raise refused(400, f"An input of type {kind[:40]!r} is not supported by this service.")
        engine = text_in(item, "engine") or _ENGINES[0]
        if engine not in _ENGINES:
            raise refused(
                400, f"'engine' must be one of {', '.join(_ENGINES)}: files are all that is fetched."
            )
        return (
            Input(
                id=new_id(),
                type=kind,
                source=source,
                filename=filename,
                engine=engine,
                options=object_in(item.get("options"), "options"),
                parameters=object_in(item.get("parameters"), "parameters"),
                metadata=object_in(item.get("metadata"), "metadata"),
                password=text_in(credentials, "decrypt_password") or None,
                created=now,
                modified=now,
            ),
            content,
        )

    def patched(self, old: Input, item: Mapping[str, Any], now: datetime) -> Input:
        """An input with what an item changes: its password, parameters, options and metadata."""
        changes: dict[str, Any] = {
            name: object_in(item[name], name)
            for name in ("options", "parameters", "metadata")
            if name in item
        }
        credentials = object_in(item.get("credentials"), "credentials")
        if "decrypt_password" in credentials:
            changes["password"] = text_in(credentials, "decrypt_password") or None
        return old.model_copy(update={**changes, "modified": now})


def passwords_in(value: Any) -> tuple[str, ...]:
    """Digests of download passwords."""
    given = [] if value is None else value if isinstance(value, list) else [value]
    if len(given) > _MOST or not all(isinstance(one, str) and one for one in given):
        raise refused(400, "'download_passwords' must be a list of strings.")
    return tuple(password_digest(one) for one in given)


def password_digest(password: str) -> str:
    """What is kept of a download password."""
    salt = b"api2convert: download password"
    return hashlib.pbkdf2_hmac("sha256", password.encode("utf-8", "surrogatepass"), salt, 10_000).hex()


def file_name(name: str) -> str:
    """A file's name, which may have folders in it for what a model refers to by such a path.

    Raises:
        Refused: 400 for one that leads anywhere else.
    """
    if not name:
        return ""
    name = name.replace("\\", "/").lstrip("/")
    try:
        return paths.check(name)
    except Problem as problem:
        raise refused(400, f"'filename': {problem.message}") from None


def name_in(url: str) -> str:
    """The file name at the end of an address's path."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    try:
        return paths.check(name) if name else ""
    except Problem:
        return ""


def urlsplit_or_none(url: str) -> str | None:
    """The host of an http address, or None where it is no such address."""
    try:
        parts = urlsplit(url)
        return parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        return None


def decoded(text: str, most: int) -> tuple[bytes, str]:
    """The bytes of base64 text, which may be a data URI, and the file name that its type suggests.

    Raises:
        Refused: 400 for what is not base64, and 413 for more than ``most`` bytes.
    """
    kind = ""
    if match := _DATA_URI.match(text):
        kind, text = match[1], text[match.end() :]
    if len(text) > most * 4 / 3 + 4:
        raise too_large(most)
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise refused(400, "'content' is not base64.") from None
    subtype = kind.partition("/")[2]
    return data, f"file.{subtype}" if re.fullmatch(r"[a-z0-9]{1,8}", subtype) else ""


def order_digest(body: Any) -> str:
    """What an Idempotency-Key stands for: the body, but for the rights that its addresses bring."""
    text = json.dumps(_without_queries(body), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_queries(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item.partition("?")[0]
            if key == "source" and isinstance(item, str)
            else _without_queries(item)
            for key, item in value.items()
        }
    return [_without_queries(item) for item in value] if isinstance(value, list) else value


def refreshed(job: Job, inputs: tuple[Input, ...], now: datetime) -> Job:
    """The job with the newest rights that a repeat of its order brings."""
    if job.is_final or len(inputs) > len(job.inputs):
        return job
    # What an order brought stands first, in its order.
    fresh = tuple(
        old.model_copy(update={"source": new.source})
        if old.source.partition("?")[0] == new.source.partition("?")[0]
        else old
        for old, new in zip(job.inputs, inputs, strict=False)
    )
    changed = (*fresh, *job.inputs[len(fresh) :])
    return job if changed == job.inputs else job.changed(now, inputs=changed)
