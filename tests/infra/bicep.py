"""What a template deploys, worked out without Azure: every resource with its values.

What only Azure knows (an id, a host name, a key) becomes a text such as ``{sites/func-x.defaultHostName}``,
which can be recognised where it is used.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from tests.infra.bicep_parser import BicepError, Node, Statement, parse

Values = Mapping[str, Any]


class Runtime(str):
    """A value that is known when the deployment runs."""

    __slots__ = ()


@dataclass
class Resource:
    """One resource (or, with ``existing``, a reference to one) of the deployment."""

    file: Path
    symbol: str
    type: str
    version: str
    body: dict[str, Any]
    existing: bool = False
    once: bool = False

    @property
    def name(self) -> str:
        """Its name, its parents' before it."""
        parent = self.body.get("parent")
        return f"{parent.name}/{self.body['name']}" if parent is not None else str(self.body["name"])

    @property
    def id(self) -> Runtime:
        return Runtime(f"{{{self.type.rpartition('/')[2]}/{self.name}}}")

    def get(self, key: str) -> Any:
        """A property as an expression reads it."""
        if key in ("id", "name"):
            return self.id if key == "id" else self.body["name"]
        return _Part(self.body.get(key) or {}, f"{self.id[1:-1]}")


@dataclass
class _Part:
    """A part of a resource: what the template sets, and what Azure will know."""

    values: Any
    path: str

    def get(self, key: str) -> Any:
        value = self.values.get(key) if isinstance(self.values, dict) else None
        if value is None or isinstance(value, dict):
            return Runtime(f"{{{self.path}.{key}}}") if value is None else _Part(value, f"{self.path}.{key}")
        return value


@dataclass
class _Module:
    outputs: dict[str, Any]

    def get(self, key: str) -> Any:
        return {"outputs": self.outputs}[key]


@dataclass
class Deployment:
    """Everything that a template and its modules deploy."""

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    secure: list[str] = field(default_factory=list)

    def of(self, type_: str) -> list[Resource]:
        """The resources of a type that are deployed."""
        return [item for item in self.resources if item.type == type_ and not item.existing]

    def one(self, type_: str) -> Resource:
        """The only resource of a type."""
        (found,) = self.of(type_)
        return found


def deploy(file: Path, **parameters: Any) -> Deployment:
    """What the template in ``file`` deploys with these parameters.

    Raises:
        BicepError: it uses something that is not understood here, or that does not exist.
    """
    deployment = Deployment()
    deployment.outputs = _Template(file, deployment).run(parameters)
    return deployment


def parameters_of(file: Path) -> dict[str, Any]:
    """The values in a parameter file, its environment variables unset."""
    template = _Template(file, Deployment())
    return {
        item.name: template.value(item.value)
        for item in parse(file.read_text(encoding="utf-8"))
        if item.keyword == "param" and item.value is not None
    }


class _Template:
    def __init__(self, file: Path, deployment: Deployment) -> None:
        self._file = file
        self._deployment = deployment
        self._statements: dict[str, Statement] = {}
        self._known: dict[str, Any] = {}

    def run(self, parameters: Values) -> dict[str, Any]:
        statements = parse(self._file.read_text(encoding="utf-8"))
        self._statements = {item.name: item for item in statements if item.keyword != "output"}
        taken = {item.name for item in statements if item.keyword == "param"}
        if unknown := set(parameters) - taken:
            raise BicepError(f"{self._file.name} has no parameter {', '.join(sorted(unknown))}")
        self._known.update(parameters)
        for item in statements:
            if item.keyword == "param" and item.decorated("secure"):
                self._deployment.secure.append(item.name)
            if item.keyword in ("resource", "module", "param", "var"):
                self._symbol(item.name)
        outputs = {}
        for item in statements:
            if item.keyword == "output":
                assert item.value is not None
                outputs[item.name] = self.value(item.value)
        return outputs

    def _symbol(self, name: str) -> Any:
        if name not in self._known:
            if name not in self._statements:
                raise BicepError(f"{self._file.name}: there is no {name}")
            statement = self._statements[name]
            if statement.value is None:
                raise BicepError(f"{self._file.name}: parameter {name} is not given")
            make = {"resource": self._resource, "module": self._module}.get(statement.keyword)
            self._known[name] = make(statement) if make else self.value(statement.value)
        return self._known[name]

    def _resource(self, statement: Statement) -> Any:
        type_, _, version = statement.type.partition("@")

        def make(body: dict[str, Any]) -> Resource:
            resource = Resource(
                self._file,
                statement.name,
                type_,
                version,
                body,
                existing=statement.existing,
                once=statement.decorated("onlyIfNotExists"),
            )
            self._deployment.resources.append(resource)
            return resource

        return self._made(statement, make)

    def _module(self, statement: Statement) -> Any:
        def make(body: dict[str, Any]) -> _Module:
            template = _Template(self._file.parent / statement.type, self._deployment)
            return _Module(template.run(body.get("params", {})))

        return self._made(statement, make)

    def _made(self, statement: Statement, make: Callable[[dict[str, Any]], Any]) -> Any:
        assert statement.value is not None
        bodies = self.value(statement.value)
        if isinstance(bodies, list):
            return [make(body) for body in bodies]
        return None if bodies is None else make(bodies)

    # --- Expressions ---------------------------------------------------------------------------

    def value(self, node: Node, scope: Values | None = None) -> Any:
        """The value of an expression; ``scope`` holds the variables of loops and lambdas."""
        here = scope or {}

        def at(inner: Node) -> Any:
            return self.value(inner, here)

        match node:
            case ("string", *parts):
                return "".join(part if isinstance(part, str) else _text(at(part)) for part in parts)
            case ("value", value):
                return value
            case ("name", name):
                return here[name] if name in here else self._symbol(name)
            case ("object", pairs):
                return {at(key): at(value) for key, value in pairs}
            case ("array", items):
                return [at(item) for item in items]
            case ("for", item, index, over, body):
                return [
                    self.value(body, {**here, item: each, **({index: i} if index else {})})
                    for i, each in enumerate(at(over))
                ]
            case ("if", condition, then, other):
                return at(then) if at(condition) else at(other)
            case ("not", inner):
                return not at(inner)
            case ("lambda", name, body):
                return lambda each: self.value(body, {**here, name: each})
            case ("get", base, name):
                value = at(base)
                # The rest of a chain whose `.?` found nothing.
                return None if value is None and base[0] == "maybe" else _member(value, name)
            case ("maybe", base, name):
                value = at(base)
                return None if value is None else _member(value, name)
            case ("index", base, key):
                return at(base)[at(key)]
            case ("binary", operator, left, right):
                return self._binary(operator, left, right, here)
            case ("call", "loadTextContent", [path]):
                return (self._file.parent / at(path)).read_text(encoding="utf-8")
            case ("call", "loadJsonContent", [path]):
                return json.loads((self._file.parent / at(path)).read_text(encoding="utf-8"))
            case ("call", name, arguments):
                if name not in FUNCTIONS:
                    raise BicepError(f"{self._file.name}: the function {name} is not known here")
                return FUNCTIONS[name](*(at(argument) for argument in arguments))
        raise BicepError(f"{self._file.name}: {node[0]} is not understood here")

    def _binary(self, operator: str, left: Node, right: Node, here: Values) -> Any:
        first = self.value(left, here)
        if operator == "??":
            return self.value(right, here) if first is None else first
        if operator == "&&":
            return first and self.value(right, here)
        if operator == "||":
            return first or self.value(right, here)
        second = self.value(right, here)
        return {
            "==": lambda: first == second,
            "!=": lambda: first != second,
            "+": lambda: first + second,
            "-": lambda: first - second,
        }[operator]()


def _member(base: Any, name: str) -> Any:
    if isinstance(base, Runtime):
        return Runtime(f"{base[:-1]}.{name}}}")
    if isinstance(base, dict):
        if name not in base:
            raise BicepError(f"there is no {name} in {', '.join(base)}")
        return base[name]
    return base.get(name)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concat": lambda *lists: [item for each in lists for item in each],
    "contains": lambda where, what: what in where,
    "empty": lambda value: value is None or len(value) == 0,
    "environment": lambda: {"suffixes": {"storage": "core.windows.net"}},
    "filter": lambda values, keep: [value for value in values if keep(value)],
    "flatten": lambda lists: [item for each in lists for item in each],
    "guid": lambda *parts: str(uuid.UUID(_hash(*parts)[:32])),
    "items": lambda values: [{"key": key, "value": values[key]} for key in sorted(values)],
    "join": lambda values, between: between.join(values),
    "length": len,
    "listKeys": lambda of, version: Runtime(f"{{keys of {of}}}"),
    "map": lambda values, change: [change(value) for value in values],
    "newGuid": lambda: Runtime("{a new guid}"),
    "range": lambda start, count: list(range(start, start + count)),
    "readEnvironmentVariable": lambda name, default: default,
    "resourceGroup": lambda name="": {"id": f"/groups/{name}"},
    "resourceId": lambda type_, *names: Runtime(f"{{{type_.rpartition('/')[2]}/{'/'.join(names)}}}"),
    "startsWith": lambda text, start: text.lower().startswith(start.lower()),
    "string": lambda value: _text(value),
    "subscription": lambda: {"id": "/subscriptions/s", "tenantId": Runtime("{tenant}")},
    "subscriptionResourceId": lambda type_, name: f"/subscriptions/s/providers/{type_}/{name}",
    "substring": lambda text, start: text[start:],
    "toObject": lambda values, key, value: {key(each): value(each) for each in values},
    "union": lambda *parts: (
        reduce(lambda first, second: first | second, parts)
        if isinstance(parts[0], dict)
        else list(dict.fromkeys(item for part in parts for item in part))
    ),
    "uniqueString": lambda *parts: _hash(*parts)[:13],
}
