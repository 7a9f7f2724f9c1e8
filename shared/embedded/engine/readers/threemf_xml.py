"""The model files of a 3MF package: their XML as plain values and arrays."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from shared.embedded.engine.faults import corrupt
from shared.embedded.engine.readers.threemf_runs import Run, pieces
from shared.embedded.engine.scene import Floats, Indices, Matrix

_COLOR = re.compile(r"#([0-9A-Fa-f]{6})([0-9A-Fa-f]{2})?\Z")
_NOWHERE = 2**32 - 1  # the index of a vertex that cannot exist

Attributes = Mapping[str, str]


@dataclass(slots=True)
class Use:
    """A component, or an item of the build: an object (of the model file ``path``, or this one)."""

    object: str
    path: str | None
    matrix: Matrix | None


@dataclass(slots=True)
class Materials:
    names: list[str] = field(default_factory=list)
    colors: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))


@dataclass(slots=True)
class Colors:
    """sRGB-encoded, with opacity, within 0..1."""

    colors: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))


@dataclass(slots=True)
class Coordinates:
    """Texture coordinates, from the bottom left, and the texture's id."""

    texture: str
    coordinates: Floats = field(default_factory=lambda: np.zeros((0, 2), np.float32))


@dataclass(slots=True)
class Object:
    """vertices (n, 3); triangles (m, 3); group (m,) is an index into ``groups``, ids of property
    groups or "" for none; properties (m, 3) are indices into that group, a corner each."""

    name: str
    part_number: str = ""
    vertices: Floats = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    triangles: Indices = field(default_factory=lambda: np.zeros((0, 3), np.uint32))
    groups: list[str] = field(default_factory=list)
    group: Indices = field(default_factory=lambda: np.zeros(0, np.uint32))
    properties: Indices = field(default_factory=lambda: np.zeros((0, 3), np.uint32))
    components: list[Use] = field(default_factory=list)


@dataclass(slots=True)
class Model:
    unit: str = "millimeter"
    title: str = ""
    objects: dict[str, Object] = field(default_factory=dict)
    groups: dict[str, Materials | Colors | Coordinates] = field(default_factory=dict)
    textures: dict[str, str] = field(default_factory=dict)
    items: list[Use] = field(default_factory=list)


def parse(content: bytes) -> Model:
    """A model file. Raises `Problem` `corrupt-model`, also for a document type declaration, which
    3MF does not allow and which entities hide in."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _no_doctype
    try:
        for piece in pieces(content):
            if isinstance(piece, Run):
                if not reader.take(piece):
                    parser.Parse(piece.content, False)
            else:
                parser.Parse(piece, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise corrupt(f"the XML of the 3MF is broken ({error})") from None
    except (LookupError, ValueError, OverflowError) as error:
        raise corrupt(f"the 3MF does not follow its specification ({error!r})") from None
    return reader.model


def _no_doctype(*_: object) -> None:
    raise corrupt("the XML of the 3MF has a document type declaration, which is not allowed")


class _Reader:
    """Called for each element, or for a run of them."""

    def __init__(self) -> None:
        self.model = Model()
        self._id = ""
        self._object: Object | None = None
        self._default = ("", "0")
        self._vertices = _Table(3)
        self._coordinates = _Table(2)
        self._triangles: list[str] = []
        self._painted: list[tuple[int, str, str, str, str]] = []
        self._groups: dict[str, int] = {}
        # Triangles so far: corners (n, 3), groups (n,) and properties (n, 3).
        self._done: list[tuple[Indices, Indices, Indices]] = []
        self._colors: list[tuple[float, float, float, float]] = []
        self._titled = False
        # Prefixes are the writer's choice: a name is looked up once by what follows its colon.
        self._starts: dict[str, Callable[[Attributes], None] | None] = {
            "vertex": self._vertex,
            "triangle": self._triangle,
        }
        self._local: Mapping[str, Callable[[Attributes], None]] = {
            "model": self._model,
            "metadata": self._metadata,
            "vertex": self._vertex,
            "triangle": self._triangle,
            "object": self._begin_object,
            "component": self._component,
            "item": self._item,
            "basematerials": self._begin_materials,
            "base": self._base,
            "colorgroup": self._begin_colors,
            "color": self._color,
            "texture2d": self._texture,
            "texture2dgroup": self._begin_coordinates,
            "tex2coord": self._coordinate,
        }

    def start(self, name: str, attributes: dict[str, str]) -> None:
        try:
            handler = self._starts[name]
        except KeyError:
            handler = self._starts[name] = self._local.get(name.rpartition(":")[2])
        if handler is not None:
            handler(attributes)

    def end(self, name: str) -> None:
        match name.rpartition(":")[2]:
            case "object":
                self._end_object()
            case "basematerials" | "colorgroup":
                group = self.model.groups[self._id]
                assert not isinstance(group, Coordinates)
                group.colors = np.array(self._colors, np.float32).reshape(-1, 4)
            case "texture2dgroup":
                group = self.model.groups[self._id]
                assert isinstance(group, Coordinates)
                group.coordinates = self._coordinates.taken()
            case "metadata":
                self._titled = False

    def text(self, content: str) -> None:
        if self._titled:
            self.model.title = (self.model.title + content)[:1000]

    def _model(self, attributes: Attributes) -> None:
        self.model.unit = attributes.get("unit", "millimeter")

    def _metadata(self, attributes: Attributes) -> None:
        self._titled = attributes.get("name") == "Title" and self._object is None

    def _begin_object(self, attributes: Attributes) -> None:
        self._id = attributes["id"]
        self._object = Object(attributes.get("name", ""), attributes.get("partnumber", ""))
        self._default = (attributes.get("pid", ""), attributes.get("pindex", "0"))
        self._vertices, self._triangles, self._painted, self._done = _Table(3), [], [], []
        self._groups = {self._default[0]: 0}

    def _vertex(self, attributes: Attributes) -> None:
        self._vertices.texts += (attributes["x"], attributes["y"], attributes["z"])

    def _triangle(self, attributes: Attributes) -> None:
        if len(attributes) > 3 and ("p1" in attributes or "pid" in attributes):
            group = attributes.get("pid", self._default[0])
            first = attributes.get("p1", self._default[1])
            second, third = attributes.get("p2", first), attributes.get("p3", first)
            self._painted.append((len(self._triangles) // 3, group, first, second, third))
        self._triangles += (attributes["v1"], attributes["v2"], attributes["v3"])

    def take(self, run: Run) -> bool:
        """Take many elements at a time; False if they must be read one by one, to find out what is wrong."""
        needed = {"vertex": ("x", "y", "z"), "tex2coord": ("u", "v")}.get(run.element, ("v1", "v2", "v3"))
        if not run.values.keys() >= set(needed):
            return False
        table: NDArray[Any] = np.column_stack([run.values[name] for name in needed])
        match run.element:
            case "vertex":
                self._vertices.add(table)
            case "tex2coord":
                self._coordinates.add(table)
            case _:
                self._take_triangles(_bounded(table), run.values)
        return True

    def _take_triangles(self, corners: Indices, values: Mapping[str, NDArray[Any]]) -> None:
        group, properties = self._unpainted(len(corners))
        if "pid" in values:
            pids, which = np.unique(values["pid"], return_inverse=True)
            group = np.array([self._group(str(pid)) for pid in pids.tolist()], np.uint32)[which]
        if "pid" in values or "p1" in values:
            if "p1" in values:
                properties[:] = _bounded(values["p1"])[:, None]
            for column, name in ((1, "p2"), (2, "p3")):
                if name in values:
                    properties[:, column] = _bounded(values[name])
        self._finish_triangles()
        self._done.append((corners, group, properties))

    def _group(self, id_: str) -> int:
        return self._groups.setdefault(id_, len(self._groups))

    def _unpainted(self, count: int) -> tuple[Indices, Indices]:
        """The groups and properties of triangles that say none."""
        return np.zeros(count, np.uint32), np.full((count, 3), int(self._default[1]), np.uint32)

    def _finish_triangles(self) -> None:
        """Those that came one by one, as arrays."""
        corners = _indices(self._triangles).reshape(-1, 3)
        group, properties = self._unpainted(len(corners))
        if self._painted:
            which = np.array([one[0] for one in self._painted])
            group[which] = [self._group(one[1]) for one in self._painted]
            properties[which] = _indices([number for one in self._painted for number in one[2:]]).reshape(
                -1, 3
            )
        self._done.append((corners, group, properties))
        self._triangles, self._painted = [], []

    def _end_object(self) -> None:
        made, self._object = self._object, None
        if made is None:
            return
        self._finish_triangles()
        made.vertices = self._vertices.taken()
        made.triangles, made.group, made.properties = (
            np.concatenate(blocks) for blocks in zip(*self._done, strict=True)
        )
        made.groups = list(self._groups)
        self.model.objects[self._id] = made

    def _component(self, attributes: Attributes) -> None:
        if self._object is not None:
            self._object.components.append(_use(attributes))

    def _item(self, attributes: Attributes) -> None:
        self.model.items.append(_use(attributes))

    def _begin_materials(self, attributes: Attributes) -> None:
        self._id, self._colors = attributes["id"], []
        self.model.groups[self._id] = Materials()

    def _base(self, attributes: Attributes) -> None:
        group = self.model.groups[self._id]
        if isinstance(group, Materials):
            group.names.append(attributes.get("name", ""))
            self._colors.append(_color_of(attributes["displaycolor"]))

    def _begin_colors(self, attributes: Attributes) -> None:
        self._id, self._colors = attributes["id"], []
        self.model.groups[self._id] = Colors()

    def _color(self, attributes: Attributes) -> None:
        self._colors.append(_color_of(attributes["color"]))

    def _texture(self, attributes: Attributes) -> None:
        self.model.textures[attributes["id"]] = attributes["path"]

    def _begin_coordinates(self, attributes: Attributes) -> None:
        self._id, self._coordinates = attributes["id"], _Table(2)
        self.model.groups[self._id] = Coordinates(attributes["texid"])

    def _coordinate(self, attributes: Attributes) -> None:
        self._coordinates.texts += (attributes["u"], attributes["v"])


class _Table:
    """Rows of numbers: ``texts`` come one by one, others in blocks (n, width)."""

    def __init__(self, width: int) -> None:
        self.texts: list[str] = []
        self._width = width
        self._blocks: list[Floats] = []

    def add(self, block: NDArray[np.float64]) -> None:
        if self.texts:
            values = np.array(list(map(float, self.texts)), np.float64)
            self.texts = []
            self.add(values.reshape(-1, self._width))
        with np.errstate(over="ignore"):  # to infinity, which is left out later
            self._blocks.append(block.astype(np.float32))

    def taken(self) -> Floats:
        """All rows."""
        self.add(np.zeros((0, self._width)))
        return np.concatenate(self._blocks)


def _indices(texts: list[str]) -> Indices:
    return _bounded(np.array([max(min(int(text), _NOWHERE), -1) for text in texts], np.int64))


def _bounded(values: NDArray[np.int64]) -> Indices:
    """One that is no index becomes one that no list is long enough for."""
    return np.where((values < 0) | (values > _NOWHERE), _NOWHERE, values).astype(np.uint32)


def _color_of(text: str) -> tuple[float, float, float, float]:
    found = _COLOR.match(text)
    if found is None:
        raise ValueError(f"{text[:20]!r} is no colour")
    red, green, blue, alpha = bytes.fromhex(found[1] + (found[2] or "FF"))
    return red / 255, green / 255, blue / 255, alpha / 255


def _use(attributes: Attributes) -> Use:
    path = next((value for name, value in attributes.items() if name.rpartition(":")[2] == "path"), None)
    matrix = None
    if "transform" in attributes:
        # Twelve numbers, row by row, for row vectors: the fourth row is the shift.
        rows = np.array(attributes["transform"].split(), np.float64).reshape(4, 3)
        if not np.isfinite(rows).all():
            raise ValueError("a transform is not finite")
        matrix = np.eye(4)
        matrix[:3] = rows.T
    return Use(attributes["objectid"], path, matrix)
