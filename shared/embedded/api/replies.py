"""Replies that every API of the embedded service is made of."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response


class Reply(Response):
    """A JSON reply. Escaped to ASCII, because an error may quote text that is no valid UTF-8."""

    media_type = "application/json; charset=utf-8"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


class Refused(Exception):
    """Ends a request with an error reply, whose body is already in the shape of its API.

    ``body`` None is an empty reply.
    """

    def __init__(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    def reply(self) -> Response:
        """The reply to send."""
        if self.body is None:
            return Response(status_code=self.status, headers=self.headers)
        return Reply(self.body, self.status, self.headers)
