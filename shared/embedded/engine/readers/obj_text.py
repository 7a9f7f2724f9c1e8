"""The text of an OBJ as arrays: its statements are sorted by keyword, a megabyte at a time, and each
kind's numbers are read at once."""

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.readers import text_numbers as numbers
from shared.embedded.engine.readers.text_numbers import NotANumber, Places, Text
from shared.embedded.engine.scene import Floats, Kind
from shared.problems import Problem
from shared.references import text_of

_BLOCK = 2**20
# A polygon of a million corners; what is longer is no OBJ.
_LONGEST_LINE = 8 * 2**20
_CONTINUED = re.compile(rb"\\[ \t]*\r?\n")
_IGNORED, _OTHER, _V, _VT, _VN, _F, _L, _P = range(8)
_ELEMENTS: dict[int, Kind] = {_F: "triangles", _L: "lines", _P: "points"}
_NAMES = {_V: "vertex", _VT: "texture coordinate", _VN: "normal", _F: "face", _L: "line", _P: "point"}
_FREE_FORM = frozenset({"curv", "curv2", "surf", "cstype"})
_SPACE, _LINE_FEED, _HASH, _SLASH = 32, 10, 35, 47


class State(NamedTuple):
    """What holds for the elements that follow: names, "" where none was said."""

    object: str = ""
    group: str = ""
    material: str = ""


@dataclass(slots=True)
class Elements:
    """corners (n, 3): numbers, from 1, of a position, a texture coordinate and a normal, 0 for none;
    counts (m,): how many corners each element has; states (m,): indices into `Model.states`."""

    corners: NDArray[np.int32]
    counts: NDArray[np.int64]
    states: NDArray[np.int32]


@dataclass(slots=True)
class Model:
    """positions (n, 3), colors (n, 4) or None, texcoords (n, 2) from the bottom left, normals (n, 3);
    the rest of each ``mtllib`` line; whether there are free-form curves or surfaces."""

    positions: NDArray[np.float64]
    colors: Floats | None
    texcoords: Floats
    normals: Floats
    elements: dict[Kind, Elements]
    states: list[State]
    objects: list[str]
    libraries: list[str]
    free_form: bool


def parse(data: bytes) -> Model:
    """Raises `Problem` `corrupt-model`, which names the line or the element."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    reader = _Reader(*_joined(data))
    return reader.read()


def _joined(data: bytes) -> tuple[bytes, list[int]]:
    """The text with continued lines as one each, of the same length, and where line feeds were taken out.
    A comment is not continued: those end with the path of a folder."""
    taken: list[int] = []
    if b"\\" not in data or _CONTINUED.search(data) is None:
        return data, taken
    changed = bytearray(data)
    for found in _CONTINUED.finditer(data):
        start = data.rfind(b"\n", 0, found.start()) + 1
        if data[start : found.start()].lstrip()[:1] != b"#":
            changed[found.start() : found.end()] = b" " * (found.end() - found.start())
            taken.append(found.end() - 1)
    return bytes(changed), taken


@dataclass(slots=True)
class _Parts:
    """What is collected of one kind of element, block by block."""

    corners: list[NDArray[np.int32]] = field(default_factory=list)
    counts: list[NDArray[np.int64]] = field(default_factory=list)
    states: list[NDArray[np.int32]] = field(default_factory=list)


class _Block:
    """Whole lines of the text. ``kinds`` is of each line what its keyword makes it."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self._ends = np.flatnonzero(text == _LINE_FEED)
        self._starts = np.concatenate([[0], self._ends[:-1] + 1])
        self._firsts = self._keywords()
        self.kinds = self._kinds()

    def _keywords(self) -> Places:
        """Where each line's first word begins; its end, for a blank one."""
        firsts = self._starts
        indented = np.flatnonzero(self.text[firsts] <= _SPACE)
        if len(indented):
            solid = np.append(np.flatnonzero(self.text > _SPACE), len(self.text))
            firsts = firsts.copy()
            found = solid[np.searchsorted(solid, firsts[indented])]
            firsts[indented] = np.minimum(found, self._ends[indented])
        return firsts

    def _kinds(self) -> NDArray[np.uint8]:
        last = len(self.text) - 1
        one, two, three = (self.text[np.minimum(self._firsts + place, last)] for place in range(3))
        short, vertex = two <= _SPACE, one == ord("v")
        kinds = np.full(len(one), _OTHER, np.uint8)
        kinds[(one == _HASH) | (one <= _SPACE) | (short & (one == ord("s")))] = _IGNORED
        kinds[vertex & short] = _V
        kinds[vertex & (two == ord("t")) & (three <= _SPACE)] = _VT
        kinds[vertex & (two == ord("n")) & (three <= _SPACE)] = _VN
        for keyword, kind in (("f", _F), ("l", _L), ("p", _P)):
            kinds[short & (one == ord(keyword))] = kind
        return kinds

    def of(self, kind: int) -> Text:
        """A copy of the lines of one kind, with blanks for their keywords and comments."""
        chosen = self.kinds == kind
        lengths = self._ends - self._starts + 1
        text = self.text.copy() if chosen.all() else self.text[np.repeat(chosen, lengths)]
        own = lengths[chosen]
        keywords = np.cumsum(own) - own + (self._firsts - self._starts)[chosen]
        text[keywords] = _SPACE
        if kind in (_VT, _VN):
            text[keywords + 1] = _SPACE
        comments = np.flatnonzero(text == _HASH)
        if len(comments):
            # Not within a word, as Microsoft's 1.#QNAN has it.
            comments = comments[text[comments - 1] <= _SPACE]
            ends = np.cumsum(own) - 1
            for start, end in zip(comments, ends[np.searchsorted(ends, comments)], strict=True):
                text[start:end] = _SPACE
        return text

    def others(self) -> Iterator[tuple[int, bytes, int]]:
        """Each line that holds no numbers: its place, its text and where it begins."""
        for line in np.flatnonzero(self.kinds == _OTHER).tolist():
            start = int(self._firsts[line])
            yield line, self.text[start : self._ends[line]].tobytes(), start


class _Reader:
    def __init__(self, data: bytes, taken: list[int]) -> None:
        self._data, self._taken = data, taken
        self._position = 0
        self._line = 1  # the number of the block's first
        self._counts = {_V: 0, _VT: 0, _VN: 0}
        self._rows: dict[int, list[NDArray[np.float64]]] = {_V: [], _VT: [], _VN: []}
        self._parts = {kind: _Parts() for kind in _ELEMENTS}
        self._state = State()
        self._states: dict[State, int] = {}
        self._objects: dict[str, None] = {}
        self._libraries: list[str] = []
        self._free_form = False

    def read(self) -> Model:
        for text in self._blocks():
            block = _Block(text)
            present = np.bincount(block.kinds, minlength=8)
            lines, states = self._follow(block)
            for kind in (_V, _VT, _VN):
                if present[kind]:
                    self._read_rows(block, kind)
            for kind in _ELEMENTS:
                if present[kind]:
                    self._read_elements(block, kind, lines, states)
            for kind in self._counts:
                self._counts[kind] += int(present[kind])
            self._line += len(block.kinds)
            self._position += len(text)
        return self._model()

    def _blocks(self) -> Iterator[Text]:
        data, start = self._data, 0
        while start < len(data):
            end = data.rfind(b"\n", start, start + _BLOCK) + 1
            if not end:
                end = data.find(b"\n", start, start + _LONGEST_LINE) + 1
            if not end and len(data) - start > _LONGEST_LINE:
                raise corrupt(f"line {self._line} of the OBJ is longer than {_LONGEST_LINE >> 20} MB")
            if end:
                yield np.frombuffer(data, np.uint8, end - start, start)
            else:
                yield np.frombuffer(data[start:] + b"\n", np.uint8)
            start = end or len(data)

    def _follow(self, block: _Block) -> tuple[Places, NDArray[np.int32]]:
        """The lines of a block after which another state holds, and which; before the first is line -1."""
        lines, states = [-1], [self._known()]
        for line, raw, _ in block.others():
            keyword, _, rest = text_of(raw).replace("\t", " ").partition(" ")
            name = rest.strip()
            match keyword:
                case "o":
                    self._objects[name] = None
                    # A group is one of its object.
                    self._state = State(name, "", self._state.material)
                case "g":
                    self._state = self._state._replace(group=name)
                case "usemtl":
                    self._state = self._state._replace(material=name)
                case "mtllib":
                    if name not in self._libraries:
                        self._libraries.append(name)
                    continue
                case _:
                    self._free_form |= keyword in _FREE_FORM
                    continue
            lines.append(line)
            states.append(self._known())
        return np.array(lines, np.intp), np.array(states, np.int32)

    def _known(self) -> int:
        return self._states.setdefault(self._state, len(self._states))

    def _read_rows(self, block: _Block, kind: int) -> None:
        """Lines of coordinates, as rows as wide as the widest, NaN where there is no number."""
        text = block.of(kind)
        starts, ends = numbers.words(text)
        counts = numbers.per_line(text, starts)
        least = {_V: 3, _VT: 1, _VN: 3}[kind]
        if counts.min() < least:
            raise self._wrong(block, kind, int(counts.argmin()), f"has fewer than {least} numbers")
        try:
            values = numbers.floats(text, starts, ends)
        except NotANumber as error:
            raise self._wrong(block, kind, error.line, f"has {error.word!r} for a number") from None
        if counts.max() == counts.min():
            rows = values.reshape(len(counts), -1)
        else:
            rows = np.full((len(counts), min(int(counts.max()), 7)), np.nan)
            first = np.cumsum(counts) - counts
            for column in range(rows.shape[1]):
                has = counts > column
                rows[has, column] = values[first[has] + column]
        self._rows[kind].append(rows)

    def _read_elements(self, block: _Block, kind: int, lines: Places, states: NDArray[np.int32]) -> None:
        own = np.flatnonzero(block.kinds == kind)
        try:
            corners, counts = _corners(block.of(kind), len(own))
        except NotANumber as error:
            raise self._wrong(block, kind, error.line, f"has {error.word!r} for an index") from None
        if corners.min(initial=0) < 0:
            self._count_back(block, own, counts, corners)
        parts = self._parts[kind]
        parts.corners.append(np.clip(corners, -1, 2**31 - 1).astype(np.int32))
        parts.counts.append(counts)
        parts.states.append(states[np.searchsorted(lines, own) - 1])

    def _count_back(
        self, block: _Block, own: Places, counts: NDArray[np.int64], corners: NDArray[np.int64]
    ) -> None:
        """Negative numbers count back from what stands before their line."""
        for column, kind in enumerate((_V, _VT, _VN)):
            back = corners[:, column] < 0
            if back.any():
                before = self._counts[kind] + np.cumsum(block.kinds == kind)[own]
                corners[back, column] += np.repeat(before, counts)[back] + 1
                # What lies before the first stays negative, for zero means none.
                corners[back & (corners[:, column] <= 0), column] = -1

    def _wrong(self, block: _Block, kind: int, index: int, what: str) -> Problem:
        """What is wrong with the so-manieth line of a kind."""
        line = int(np.flatnonzero(block.kinds == kind)[index])
        offset = self._position + int(np.flatnonzero(block.text == _LINE_FEED)[line])
        number = self._line + line + bisect.bisect_left(self._taken, offset)
        return corrupt(f"line {number} of the OBJ, a {_NAMES[kind]}, {what}")

    def _model(self) -> Model:
        vertices = _stacked(self._rows.pop(_V), 7)
        texcoords = np.nan_to_num(_stacked(self._rows.pop(_VT), 2), posinf=0.0, neginf=0.0)
        normals = _stacked(self._rows.pop(_VN), 3)
        elements: dict[Kind, Elements] = {}
        for kind, name in _ELEMENTS.items():
            parts = self._parts.pop(kind)
            if parts.corners:
                found = Elements(
                    np.concatenate(parts.corners),
                    np.concatenate(parts.counts),
                    np.concatenate(parts.states),
                )
                for column, which in enumerate((_V, _VT, _VN)):
                    _check(found, column, self._counts[which], which, kind)
                elements[name] = found
        with np.errstate(over="ignore"):  # to infinity, which is left out later
            return Model(
                np.ascontiguousarray(vertices[:, :3]),
                _colors(vertices),
                texcoords.astype(np.float32),
                normals.astype(np.float32),
                elements,
                list(self._states),
                list(self._objects),
                self._libraries,
                self._free_form,
            )


def _stacked(blocks: list[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    """The blocks below each other, all as wide as the widest of them, which is ``width`` at most."""
    if not blocks:
        return np.zeros((0, min(width, 3)))
    width = min(width, max(block.shape[1] for block in blocks))
    total = np.full((sum(map(len, blocks)), width), np.nan)
    row = 0
    while blocks:
        block = blocks.pop(0)
        own = min(width, block.shape[1])
        total[row : row + len(block), :own] = block[:, :own]
        row += len(block)
    return total


def _colors(vertices: NDArray[np.float64]) -> Floats | None:
    """Of `v x y z r g b`, perhaps with an opacity. A fourth number alone is a weight, which only free-form
    surfaces have a use for."""
    if vertices.shape[1] < 6:
        return None
    colors = np.ones((len(vertices), 4), np.float32)
    given = ~np.isnan(vertices[:, 5])
    colors[given, :3] = vertices[given, 3:6]
    if vertices.shape[1] > 6:
        colors[:, 3] = np.where(np.isnan(vertices[:, 6]), 1, vertices[:, 6])
    for channels in (colors[:, :3], colors[:, 3:]):
        if channels.max(initial=0) > 1:  # bytes
            channels /= 255
    return colors


def _corners(text: Text, lines: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers (n, 3) of the corners `1`, `1/2`, `1//3` or `1/2/3` of those lines, zero for what is not
    said, and how many corners each line has. The text's slashes become blanks. Raises `NotANumber`."""
    columns, each = _alike(text, lines)
    if columns:
        text[text == _SLASH] = _SPACE
        corners = np.zeros((lines * each, 3), np.int64)
        corners[:, columns] = numbers.integers(text, lines * each * len(columns)).reshape(-1, len(columns))
        return corners, np.full(lines, each, np.int64)
    starts, _ = numbers.words(text)
    counts = numbers.per_line(text, starts)
    slashes = np.flatnonzero(text == _SLASH)
    text[slashes] = _SPACE
    first, last = numbers.words(text)
    corner = np.searchsorted(starts, first, "right") - 1
    column = np.searchsorted(slashes, first) - np.searchsorted(slashes, starts)[corner]
    if column.max(initial=0) > 2:
        bad = int((column > 2).argmax())
        line = int(np.count_nonzero(text[: first[bad]] == _LINE_FEED))
        raise NotANumber(line, text_of(text[first[bad] : last[bad]].tobytes()))
    corners = np.zeros((len(starts), 3), np.int64)
    corners[corner, column] = numbers.integers(text, len(first))
    return corners, counts


def _alike(text: Text, lines: int) -> tuple[list[int], int]:
    """Which of the three numbers every corner has, and how many corners every line, where they are all
    alike: where the first line is, and the others have the same characters around their digits."""
    marks = np.flatnonzero(text < ord("0"))  # blanks, signs and slashes
    each, odd = divmod(len(marks), lines)
    if odd:
        return [], 0
    kinds = text[marks].reshape(lines, each)
    joined = np.diff(marks, prepend=-1) == 1
    alike = (kinds == kinds[0]).all() and (joined.reshape(lines, each) == joined[:each]).all()
    if not alike or kinds[0, -1] != _LINE_FEED:
        return [], 0
    corners = [corner.split(b"/") for corner in text[: marks[each - 1]].tobytes().split()]
    columns = {tuple(column for column, number in enumerate(corner) if number) for corner in corners}
    found = list(columns.pop()) if len(columns) == 1 else []
    return (found, len(corners)) if max(found, default=3) < 3 else ([], 0)


def _check(found: Elements, column: int, count: int, which: int, kind: int) -> None:
    numbered = found.corners[:, column]
    wrong = (numbered > count) | (numbered < (1 if which == _V else 0))
    if wrong.any():
        bad = int(wrong.argmax())
        element = int(np.searchsorted(np.cumsum(found.counts), bad, "right")) + 1
        raise corrupt(
            f"{_NAMES[kind]} {element} of the OBJ uses a {_NAMES[which]} that it does not have, "
            f"for it has {count}"
        )
