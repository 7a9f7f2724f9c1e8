"""Reads Bicep: as much of the language as the templates here use, and a loud error for the rest."""

import re
from dataclasses import dataclass, field
from typing import Any

TOKENS = re.compile(
    r"(?P<space>[ \t\r]+|//[^\n]*|/\*.*?\*/)|(?P<newline>\n)|(?P<string>')|(?P<int>\d+)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<op>\.\?|\?\?|==|!=|<=|>=|&&|\|\||=>|[{}\[\](),.:?!=<>+\-*/%@|])",
    re.DOTALL,
)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
POWERS = [["??"], ["||"], ["&&"], ["==", "!="], ["<", ">", "<=", ">="], ["+", "-"], ["*", "/", "%"]]

Node = tuple[Any, ...]
"""An expression: its kind, then its parts."""


class BicepError(Exception):
    """The file is not what this reader understands."""


@dataclass
class Statement:
    """One declaration: ``keyword`` (param, var, resource, module, output …), ``name``, and its parts."""

    keyword: str
    name: str
    value: Node | None = None
    type: str = ""
    existing: bool = False
    decorators: list[Node] = field(default_factory=list)

    def decorated(self, name: str) -> bool:
        """Whether ``@name(…)`` stands above it."""
        return any(node[:2] == ("call", name) for node in self.decorators)


def parse(text: str) -> list[Statement]:
    """The statements of a file."""
    return _Parser(_tokens(text, 0, None)[0]).file()


def _tokens(text: str, start: int, closing: str | None) -> tuple[list[tuple[str, Any]], int]:
    found: list[tuple[str, Any]] = []
    depth, at = 0, start
    while at < len(text):
        match = TOKENS.match(text, at)
        if match is None:
            raise BicepError(f"line {text.count(chr(10), 0, at) + 1}: {text[at : at + 20]!r}")
        kind, at = match.lastgroup, match.end()
        value: Any = match[0]
        if kind == "string":
            value, at = _string(text, at)
        elif kind == "op":
            if closing and value == closing and depth == 0:
                return found, at
            depth += (value == "{") - (value == "}")
        elif kind == "int":
            value = int(value)
        if kind != "space":
            found.append((str(kind), value))
    return found, at


def _string(text: str, at: int) -> tuple[Node, int]:
    """The parts of a string whose quote has been read: text, and the tokens of what is interpolated."""
    parts: list[Any] = [""]
    while text[at] != "'":
        if text.startswith("${", at):
            tokens, at = _tokens(text, at + 2, "}")
            parts += [_Parser(tokens).expression(), ""]
        elif text[at] == "\\":
            parts[-1] += ESCAPES.get(text[at + 1], text[at + 1])
            at += 2
        else:
            if text[at] == "\n":
                raise BicepError("a string ends with its line")
            parts[-1] += text[at]
            at += 1
    return ("string", *parts), at + 1


class _Parser:
    def __init__(self, tokens: list[tuple[str, Any]]) -> None:
        self._tokens = [*tokens, ("end", None)]
        self._at = 0

    # --- Statements ----------------------------------------------------------------------------

    def file(self) -> list[Statement]:
        statements: list[Statement] = []
        decorators: list[Node] = []
        while True:
            self._skip()
            if self._peek()[0] == "end":
                return statements
            if self._take("@"):
                decorators.append(self.expression())
                continue
            statement = self._statement()
            statement.decorators, decorators = decorators, []
            statements.append(statement)

    def _statement(self) -> Statement:
        keyword = self._name()
        if keyword in ("targetScope", "using"):
            self._take("=")
            return Statement(keyword, keyword, self.expression())
        statement = Statement(keyword, self._name())
        if keyword in ("resource", "module"):
            statement.type = self._plain_string()
            if self._peek() == ("name", "existing"):
                self._at += 1
                statement.existing = True
        elif keyword == "type":
            self._expect("=")
            self._skip_type()
            return statement
        elif keyword in ("param", "output") and self._peek() != ("op", "="):
            self._skip_type()
        elif keyword not in ("var", "param", "output"):
            raise BicepError(f"unknown statement {keyword}")
        if self._take("="):
            statement.value = self.expression()
        elif keyword != "param":
            raise BicepError(f"{keyword} {statement.name} has no value")
        return statement

    def _skip_type(self) -> None:
        """Types say nothing that the evaluation needs."""
        depth = 0
        while True:
            kind, value = self._peek()
            if kind == "end" or (depth == 0 and (kind == "newline" or (kind, value) == ("op", "="))):
                return
            if kind == "op":
                depth += (value in "{[(") - (value in "}])")
            self._at += 1

    # --- Expressions ---------------------------------------------------------------------------

    def expression(self) -> Node:
        condition = self._binary(0)
        if not self._take("?"):
            return condition
        self._skip()
        then = self.expression()
        self._skip()
        self._expect(":")
        self._skip()
        return ("if", condition, then, self.expression())

    def _binary(self, level: int) -> Node:
        if level == len(POWERS):
            return self._unary()
        left = self._binary(level + 1)
        while True:
            before = self._at
            if level == 0 or self._peek()[0] == "newline":
                self._skip()
            if self._peek()[0] == "op" and self._peek()[1] in POWERS[level]:
                operator = self._next()[1]
                self._skip()
                left = ("binary", operator, left, self._binary(level + 1))
                continue
            if self._peek() != ("op", "?"):
                self._at = before
            return left

    def _unary(self) -> Node:
        if self._take("!"):
            return ("not", self._unary())
        return self._postfix(self._primary())

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._take("."):
                name = self._name()
                node = ("get", node, name)
            elif self._take(".?"):
                node = ("maybe", node, self._name())
            elif self._take("["):
                node = ("index", node, self.expression())
                self._expect("]")
            else:
                return node

    def _primary(self) -> Node:
        kind, value = self._next()
        if kind == "string":
            return tuple(value)
        if kind == "int":
            return ("value", value)
        if kind == "name":
            if value in ("true", "false", "null"):
                return ("value", {"true": True, "false": False, "null": None}[value])
            if value == "if":  # of a body: without it, nothing is deployed
                return ("if", self._primary(), self._primary(), ("value", None))
            if self._take("("):
                return ("call", value, self._arguments())
            if self._take("=>"):
                self._skip()
                return ("lambda", value, self.expression())
            return ("name", value)
        if value == "(":
            self._skip()
            inside = self.expression()
            self._skip()
            self._expect(")")
            return inside
        if value == "{":
            return self._object()
        if value == "[":
            return self._array()
        raise BicepError(f"unexpected {value!r}")

    def _arguments(self) -> list[Node]:
        arguments: list[Node] = []
        self._skip()
        while not self._take(")"):
            arguments.append(self.expression())
            self._skip()
            self._take(",")
            self._skip()
        return arguments

    def _object(self) -> Node:
        pairs: list[tuple[Node, Node]] = []
        self._skip()
        while not self._take("}"):
            kind, value = self._next()
            key = tuple(value) if kind == "string" else ("string", value)
            self._expect(":")
            self._skip()
            pairs.append((key, self.expression()))
            self._take(",")
            self._skip()
        return ("object", pairs)

    def _array(self) -> Node:
        self._skip()
        if self._peek() == ("name", "for"):
            self._at += 1
            return self._loop()
        items: list[Node] = []
        while not self._take("]"):
            items.append(self.expression())
            self._take(",")
            self._skip()
        return ("array", items)

    def _loop(self) -> Node:
        index = None
        if self._take("("):
            item = self._name()
            self._expect(",")
            index = self._name()
            self._expect(")")
        else:
            item = self._name()
        if self._name() != "in":
            raise BicepError("a loop needs 'in'")
        over = self.expression()
        self._expect(":")
        self._skip()
        body = self.expression()
        self._skip()
        self._expect("]")
        return ("for", item, index, over, body)

    # --- Tokens --------------------------------------------------------------------------------

    def _peek(self) -> tuple[str, Any]:
        return self._tokens[self._at]

    def _next(self) -> tuple[str, Any]:
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, operator: str) -> bool:
        if self._peek() == ("op", operator):
            self._at += 1
            return True
        return False

    def _expect(self, operator: str) -> None:
        if not self._take(operator):
            raise BicepError(f"expected {operator!r}, found {self._peek()[1]!r}")

    def _name(self) -> str:
        kind, value = self._next()
        if kind != "name":
            raise BicepError(f"expected a name, found {value!r}")
        return str(value)

    def _plain_string(self) -> str:
        kind, value = self._next()
        if kind != "string" or len(value) != 2:
            raise BicepError(f"expected a plain string, found {value!r}")
        return str(value[1])

    def _skip(self) -> None:
        while self._peek()[0] == "newline":
            self._at += 1
