"""Queries for objects by their properties, and what of them a reply holds. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.model_derivative_formats import invalid

_OPERATORS = ("$in", "$prefix", "$eq", "$between", "$le", "$ge", "$contains")
_MOST = 1000
_DEFAULT = 20
_ALWAYS = ("objectid",)


@dataclass(frozen=True)
class Query:
    """A checked query: an operator, the field it looks at, and what it compares with."""

    operator: str | None
    field: str
    values: Sequence[Any]
    fields: tuple[str, ...] | None
    offset: int
    limit: int

    @classmethod
    def check(cls, body: object) -> "Query":
        """The query of a body.

        Raises:
            Problem: ``invalid-settings``, naming what is wrong.
        """
        if not isinstance(body, dict) or set(body) - {"query", "fields", "pagination", "payload"}:
            raise invalid("The body must be an object with query, fields, pagination and payload.")
        operator, field, values = None, "", []
        if body.get("query") is not None:
            query = body["query"]
            if not isinstance(query, dict) or len(query) != 1 or next(iter(query)) not in _OPERATORS:
                raise invalid(f"'query' must be an object with one of {', '.join(_OPERATORS)}.")
            operator, wanted = next(iter(query.items()))
            if not isinstance(wanted, list) or len(wanted) < 2 or not isinstance(wanted[0], str):
                raise invalid(f"'query.{operator}' must be a list: a field, and what to compare it with.")
            field, values = wanted[0], wanted[1:]
            most = {"$between": 2, "$in": None, "$contains": None}.get(operator, 1)
            if most is not None and len(values) != most:
                raise invalid(f"'query.{operator}' compares with {most} value(s), not {len(values)}.")
        fields = body.get("fields")
        if fields is not None and (
            not isinstance(fields, list) or not all(isinstance(one, str) for one in fields)
        ):
            raise invalid("'fields' must be a list of strings.")
        if body.get("payload", "text") not in ("text", "unit"):
            raise invalid("'payload' must be text or unit.")
        pagination = body.get("pagination", {})
        if not isinstance(pagination, dict) or set(pagination) - {"offset", "limit"}:
            raise invalid("'pagination' must be an object with offset and limit.")
        offset, limit = pagination.get("offset", 0), pagination.get("limit", _DEFAULT)
        if type(offset) is not int or offset < 0 or type(limit) is not int or not 1 <= limit <= _MOST:
            raise invalid(f"'pagination.offset' must be 0 or more, 'pagination.limit' 1 to {_MOST}.")
        return cls(operator, field, values, None if fields is None else tuple(fields), offset, limit)

    def finds(self, one: Mapping[str, Any]) -> bool:
        """Whether an object is one of those that the query is for."""
        if self.operator is None:
            return True
        value = _value(one, self.field.split("."))
        match self.operator:
            case "$in" | "$eq":
                return any(type(value) is type(wanted) and value == wanted for wanted in self.values)
            case "$prefix":
                return isinstance(value, str) and value.startswith(str(self.values[0]))
            case "$contains":
                words = str(value).casefold() if value is not None else ""
                return all(str(wanted).casefold() in words for wanted in self.values)
            case _:
                return self._within(value)

    def _within(self, value: Any) -> bool:
        low = self.values[0] if self.operator != "$le" else None
        high = self.values[-1] if self.operator != "$ge" else None
        numbers = [one for one in (value, low, high) if one is not None]
        if value is None or not all(type(one) in (int, float) for one in numbers):
            return False
        return (low is None or value >= low) and (high is None or value <= high)

    def cut(self, one: Mapping[str, Any]) -> dict[str, Any]:
        """An object with the fields only that were asked for."""
        if self.fields is None:
            return dict(one)
        cut: dict[str, Any] = {name: one[name] for name in _ALWAYS}
        for field in self.fields:
            path = [part for part in field.split(".") if part != "*"]
            value = _value(one, path)
            if value is None:
                continue
            place = cut
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = value
        return cut


def _value(one: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(one, Mapping) or part not in one:
            return None
        one = one[part]
    return one
