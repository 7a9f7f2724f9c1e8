"""The words of the API2Convert jobs API, as its client writes and reads them. Pure."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from shared.clients import Warned
from shared.clients.transport import redacted
from shared.denial import is_denial
from shared.formats import API2CONVERT, extension
from shared.problems import Code, Problem, ServiceFault

NAME = "API2Convert"

FLAGS = ("fail_on_input_error", "fail_on_conversion_error", "notify_status")
# The guide: "bucket has incorrect permissions, you sent invalid credentials, or the file is … not there".
_NOT_FOUND = "17"

_OPTIONS = (*FLAGS, "conversion", "limits", "password_setting")

# A sidecar may name one of these app settings, and none that was meant for anything else.
_PASSWORD_SETTING = re.compile(r"INPUT_PASSWORD(_[A-Z0-9_]+)?")


def check_options(options: Mapping[str, Any]) -> None:
    for key, value in options.items():
        if key not in _OPTIONS:
            raise Problem(
                Code.INVALID_SETTINGS,
                f"`options` has a key {key!r} that {API2CONVERT} lacks; it has {', '.join(_OPTIONS)}.",
            )
        if key in FLAGS and not isinstance(value, bool):
            raise Problem(Code.INVALID_SETTINGS, f"`options.{key}` is {value!r}; it must be true or false.")
        if key in ("conversion", "limits") and not isinstance(value, dict):
            raise Problem(Code.INVALID_SETTINGS, f"`options.{key}` must be an object.")
        if key == "password_setting" and not (isinstance(value, str) and _PASSWORD_SETTING.fullmatch(value)):
            raise Problem(
                Code.INVALID_SETTINGS,
                "`options.password_setting` must be the name of an app setting: INPUT_PASSWORD, or one that "
                "begins with INPUT_PASSWORD_. The password itself has no place in the settings.",
            )


def check_against(rows: Sequence[Mapping[str, Any]], options: Mapping[str, Any], target: str) -> None:
    """Refuses options that no row of the catalogue has."""
    schemas = [row["options"] for row in rows if isinstance(row.get("options"), dict)]
    known = {name for schema in schemas for name in schema}
    unknown = sorted(set(options) - known - {"preset"})
    if schemas and unknown:
        raise Problem(
            Code.INVALID_SETTINGS,
            f"{NAME}'s target {target!r} has no option {unknown[0]!r}; "
            f"it has {', '.join(sorted(known)) or 'none'}.",
        )


def conversion(wanted: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    conversion: dict[str, Any] = {
        "target": wanted["type"],
        "options": {**options.get("conversion", {}), **wanted.get("advanced", {})},
    }
    return conversion | ({"category": wanted["category"]} if "category" in wanted else {})


def form(boundary: str, name: str, password: str | None) -> tuple[bytes, bytes]:
    """What stands before and behind the file in a multipart body."""
    part = f"--{boundary}\r\nContent-Disposition: form-data; name="
    head = f'{part}"decrypt_password"\r\n\r\n{password}\r\n' if password is not None else ""
    # As browsers do: a quote or a line break must not end the name.
    safe = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head += f'{part}"file"; filename="{safe}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def messages(value: Any) -> tuple[Warned, ...]:
    """Errors or warnings; of a malformed list, what is well-formed."""
    return tuple(
        Warned(
            str(item["code"]),
            redacted(item["message"]),
            source="input" if item.get("source") == "input" else "conversion",
            source_id=next(
                (item[key] for key in ("id_source", "idSource") if isinstance(item.get(key), str)), None
            ),
        )
        for item in objects(value)
        if isinstance(item.get("code"), str | int) and isinstance(item.get("message"), str)
    )


def is_denied_input(error: Warned) -> bool:
    """Whether an input's address was refused, or led nowhere: the guide has one number for both."""
    return error.source == "input" and (error.code == _NOT_FOUND or is_denial(None, error.title))


def objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def output_name(output: Mapping[str, Any], uri: str) -> str:
    """What an output is called, without any folder: it came from outside."""
    for name in (output.get("filename"), output.get("name"), unquote(urlsplit(uri).path)):
        if isinstance(name, str):
            base = name.replace("\\", "/").rpartition("/")[2].strip()
            if base and base not in (".", "..") and base.isprintable():
                return (
                    base if len(base) <= 100 else hashlib.sha256(base.encode()).hexdigest() + extension(base)
                )
    return "output"


def unique(name: str, names: set[str]) -> str:
    stem, dot, end = name.rpartition(".")
    candidate, number = name, 2
    while candidate.casefold() in names:
        candidate = f"{stem}-{number}.{end}" if dot else f"{name}-{number}"
        number += 1
    names.add(candidate.casefold())
    return candidate


def decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ServiceFault(
            Code.SERVICE_BAD_REPLY, f"{NAME} sent an output that is not base64.", transient=True
        ) from None
