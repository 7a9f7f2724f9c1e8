"""Reads JSON request bodies whose property names compare case-insensitively."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request

from shared.problems import Code, Problem

# Far above any body of these APIs, which name files and never hold one.
_LARGEST = 1024 * 1024


class Body:
    """A JSON object; a property that is null counts as absent, and one nobody asks for is ignored.

    Every method raises :class:`Problem` (``invalid-settings``) that names the property by its path.
    """

    def __init__(self, properties: Mapping[str, Any], path: str = "") -> None:
        self._properties = {key.casefold(): value for key, value in properties.items() if value is not None}
        self._path = path

    @classmethod
    async def read(cls, request: Request) -> "Body":
        """The body of a request."""
        content = await request.body()
        if len(content) > _LARGEST:
            raise Problem(Code.INVALID_SETTINGS, f"The body is larger than {_LARGEST} bytes.")
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise Problem(Code.INVALID_SETTINGS, "The body is not JSON.") from None
        if not isinstance(value, dict):
            raise Problem(Code.INVALID_SETTINGS, "The body is not a JSON object.")
        return cls(value)

    def named(self, name: str) -> str:
        """The path of a property, for messages."""
        return f"{self._path}{name}"

    def section(self, name: str) -> "Body":
        """A property that must be an object."""
        value = self._properties.get(name.casefold())
        if not isinstance(value, dict):
            raise Problem(Code.INVALID_SETTINGS, f"{self.named(name)} is missing, or not an object.")
        return Body(value, f"{self.named(name)}.")

    def text(self, name: str) -> str:
        """A property that is a string; empty if it is absent."""
        value = self._properties.get(name.casefold(), "")
        if not isinstance(value, str):
            raise Problem(Code.INVALID_SETTINGS, f"{self.named(name)} is not a string.")
        return value

    def required(self, name: str) -> str:
        """A property that must be a string with something in it."""
        value = self.text(name)
        if not value:
            raise Problem(Code.INVALID_SETTINGS, f"{self.named(name)} is missing or empty.")
        return value

    def value(self, name: str) -> Any:
        """A property of any type, or None."""
        return self._properties.get(name.casefold())
