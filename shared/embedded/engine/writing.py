"""Which writer writes which output, and how several outputs of one model share their work."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shared.embedded.engine import tree
from shared.embedded.engine.decode import Part, parts
from shared.embedded.engine.document import Document
from shared.embedded.engine.faults import too_big
from shared.embedded.engine.formats import (
    MODEL_GUID,
    OBJECT_IDS,
    PICTURE_TYPES,
    UNITS,
    WHOLE_MODEL,
    WRITES,
    picture_size,
    thumbnail_size,
)
from shared.embedded.engine.job import TREE, Job, Made, Output, Warning_
from shared.embedded.engine.reading import Source
from shared.embedded.engine.writers import gltf, obj, ply, stl
from shared.problems import Code, Problem

_COMPANION_TYPES = {
    ".mtl": "model/mtl",
    ".bin": "application/octet-stream",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ktx2": "image/ktx2",
    ".dds": "image/vnd-ms.dds",
}
#: Files that one output may be of when each object is one.
_MAX_FILES = 1000
_NOT_IN_NAMES = re.compile(r"[^\w-]+")


@dataclass(slots=True)
class _Writer:
    job: Job
    source: Source
    warnings: list[Warning_]

    def write(self, output: Output, path: Path) -> Iterator[tuple[Path, bool]]:
        """Write one output; gives each of its files, and whether it is a companion of another."""
        document, options = self.source.document, output.advanced
        match output.type:
            case "glb":
                document.write_glb(path)
                yield path, False
            case "gltf":
                companions = gltf.write(document, path)
                yield from _with(path, companions)
            case "obj":
                yield from self._obj(document, output, path)
            case "stl":
                yield from self._stl(document, output, path)
            case "ply":
                if ply.write(document, parts(document), path):
                    self._warn("dropped-lines", "Lines are not kept", output)
                yield path, False
            case "3mf":
                from shared.embedded.engine.writers import threemf

                known = self.source.unit is not None
                left_out = threemf.write(document, parts(document), path, metres=known, y_up=self.source.y_up)
                self._warn_of_thin(left_out, output)
                yield path, False
            case "usdz":
                from shared.embedded.engine.writers import usdz

                if usdz.write(document, parts(document), path):
                    self._warn("dropped-lines", "Lines are not kept", output)
                yield path, False
            case "thumbnail" | "png" | "jpg":
                from shared.embedded.engine.writers import thumbnail

                size = thumbnail_size if output.type == "thumbnail" else picture_size
                thumbnail.write(document, parts(document), path, *size(options))
                yield path, False
            case _:
                from shared.embedded.engine.writers import cad  # an optional library, of 250 MB in memory

                for name in cad.write(self.source.data, self.source.format, output.type, options, path):
                    self._warn("option-ignored", f"{name} has no effect", output)
                yield path, False

    def _obj(self, document: Document, output: Output, path: Path) -> Iterator[tuple[Path, bool]]:
        options = output.advanced
        scale = 1.0
        if "unit" in options:
            if self.source.unit is None:
                self._warn("unit-not-applied", "The source has no unit, so its values are unchanged", output)
            else:
                scale = 1 / UNITS[str(options["unit"])]
        ids = options.get(OBJECT_IDS)
        whole = ids is None or list(ids) == [WHOLE_MODEL]  # type: ignore[call-overload]
        chosen = parts(
            document, None if whole else tree.nodes_of(document, PurePosixPath(self.job.model).name, ids)
        )
        multiple = options.get("exportFileStructure") == "multiple"
        if multiple and ids is not None:
            self._warn("option-ignored", "exportFileStructure is ignored when objects are extracted", output)
        if MODEL_GUID in options and ids is None:
            self._warn("option-ignored", "modelGuid has no meaning without objectIds", output)
        materials = obj.Materials(document, path)
        if multiple and ids is None:
            for file, own in _by_object(chosen, path):
                obj.write(materials, own, file, scale)
                yield file, False
        else:
            if not obj.write(materials, chosen, path, scale) and ids is not None:
                raise Problem(Code.INVALID_SETTINGS, "The objects of `advanced.objectIds` have no geometry.")
            yield path, False
        for companion in materials.files:
            yield companion, True

    def _stl(self, document: Document, output: Output, path: Path) -> Iterator[tuple[Path, bool]]:
        ascii_ = output.advanced.get("format") == "ascii"
        colored = output.advanced.get("exportColor") is not False
        if ascii_ and colored and stl.has_colors(document):
            self._warn("dropped-colors", "An ascii STL has no colours", output)
        found = [part for part in parts(document) if part.kind == "triangles"]
        self._warn_of_thin(len(found) == 0, output)
        if output.advanced.get("exportFileStructure") == "multiple":
            for file, own in _by_object(found, path):
                stl.write(document, own, file, ascii_=ascii_, colored=colored)
                yield file, False
        else:
            stl.write(document, found, path, ascii_=ascii_, colored=colored)
            yield path, False

    def _warn_of_thin(self, left_out: bool, output: Output) -> None:
        if left_out:
            self._warn("no-triangles", "Lines and points are not kept", output)

    def _warn(self, code: str, title: str, output: Output) -> None:
        self.warnings.append(Warning_(code, title, {"output": output.name, **output.advanced}))


def write(job: Job, source: Source) -> tuple[list[Made], list[Warning_]]:
    """Everything the job asks for, and what is to be said about it. Raises `Problem`."""
    writer = _Writer(job, source, [])
    made: list[Made] = []
    pictures = _Pictures(job.outputs)
    # What others are made of comes first.
    for output in sorted(job.outputs, key=lambda one: pictures.rendered(one) is not None):
        path = Path(job.output_folder, output.name)
        larger = pictures.rendered(output)
        if larger is not None:
            from shared.embedded.engine.writers import thumbnail

            thumbnail.scale(Path(job.output_folder, larger.name), path, *thumbnail_size(output.advanced))
            files: Iterable[tuple[Path, bool]] = [(path, False)]
        else:
            files = writer.write(output, path)
        for file, companion in files:
            made.append(_made(output, file, companion))
            if sum(one.size for one in made) > job.limits.output_mb * 2**20:
                raise too_big("ENGINE_OUTPUT_MB", f"more than {job.limits.output_mb} MB for its output")
    if job.tree:
        made.append(_write_tree(source.document, job))
    order = {output.name: index for index, output in enumerate(job.outputs)}
    made.sort(key=lambda one: order.get(one.name, len(order)) if one.role is None else len(order))
    return made, writer.warnings


def load(type_: str) -> None:
    """Load what writes a type of `formats.WRITES`, where more than our own code does."""
    match type_:
        case "3mf":
            import shared.embedded.engine.writers.threemf
        case "usdz":
            import shared.embedded.engine.writers.usdz
        case "thumbnail" | "png" | "jpg":
            import shared.embedded.engine.writers.thumbnail  # noqa: F401


def write_pictures(job: Job, data: bytes) -> list[Made]:
    """Other pictures of a picture: the one thing that can be made of it. Raises `Problem`."""
    from shared.embedded.engine import pillow

    made: list[Made] = []
    for output in job.outputs:
        if output.type not in PICTURE_TYPES:
            raise Problem(
                Code.UNSUPPORTED_OUTPUT,
                f"A picture cannot be made into {output.type!r}, only into {' and '.join(PICTURE_TYPES)}.",
            )
        path = Path(job.output_folder, output.name)
        pillow.resize(data, path, output.advanced)
        made.append(_made(output, path, companion=False))
    return made


class _Pictures:
    """Of several thumbnails of one shape only the largest is rendered; the others are made of it."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._largest: dict[float, Output] = {}
        for output in outputs:
            if output.type == "thumbnail":
                width, height = thumbnail_size(output.advanced)
                best = self._largest.setdefault(width / height, output)
                if width > thumbnail_size(best.advanced)[0]:
                    self._largest[width / height] = output

    def rendered(self, output: Output) -> Output | None:
        """The larger thumbnail that this one is made of, or None."""
        if output.type != "thumbnail":
            return None
        width, height = thumbnail_size(output.advanced)
        best = self._largest[width / height]
        return None if best is output else best


def _with(path: Path, companions: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    yield path, False
    for companion in companions:
        yield companion, True


def _by_object(found: Iterable[Part], path: Path) -> Iterator[tuple[Path, list[Part]]]:
    """The parts of each object, and a file name of its own: `car.3.front-door.stl`."""
    groups = itertools.groupby(found, lambda part: part.node)
    for number, (_, group) in enumerate(groups, 1):
        if number > _MAX_FILES:
            raise Problem(
                Code.LIMIT_EXCEEDED,
                f"The model has more than {_MAX_FILES} objects, too many for a file each. "
                "Use the exportFileStructure 'single'.",
            )
        own = list(group)
        label = _NOT_IN_NAMES.sub("-", own[0].name).strip("-")[:40]
        name = ".".join(filter(None, (path.stem, str(number), label)))
        yield path.with_name(name + path.suffix), own


def _made(output: Output, file: Path, companion: bool) -> Made:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    kind = _COMPANION_TYPES[file.suffix] if companion else WRITES[output.type].content_type
    return Made(output.type, file.name, file.stat().st_size, digest, kind, "companion" if companion else None)


def _write_tree(document: Document, job: Job) -> Made:
    path = Path(job.output_folder, TREE)
    data = json.dumps(tree.objects(document, PurePosixPath(job.model).name)).encode()
    path.write_bytes(data)
    return Made(TREE, TREE, len(data), hashlib.sha256(data).hexdigest(), "application/json", "report")
