"""One conversion from beginning to end: read, apply the settings, write, count. Runs in a child
process that holds nothing of value and may die at any moment."""

import errno
import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from shared.embedded.engine import images, tree
from shared.embedded.engine.build import GENERATOR, build
from shared.embedded.engine.conversion_settings import ConversionSettings
from shared.embedded.engine.decode import parts
from shared.embedded.engine.document import Document
from shared.embedded.engine.faults import corrupt, too_big
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.formats import (
    OBJECT_IDS,
    PICTURE_TYPES,
    PICTURES,
    READS,
    WRITES,
    check_output,
    picture_size,
    read_format,
    thumbnail_size,
)
from shared.embedded.engine.job import TREE, Failure, Job, Made, Output, Result, Warning_
from shared.embedded.engine.readers import fbx, gltf, obj, ply, step, stl
from shared.embedded.engine.readers.assimp import Imported
from shared.embedded.engine.scene import Matrix, drop_invalid, give_materials
from shared.embedded.engine.statistics import Measures, input_statistics, statistics
from shared.embedded.engine.writers import obj as obj_writer
from shared.embedded.engine.writers import stl as stl_writer
from shared.embedded.engine.writers import thumbnail
from shared.problems import Code, Problem

_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
_COMPANION_TYPES = {".mtl": "model/mtl", ".png": "image/png", ".jpg": "image/jpeg"}


def convert(job: Job) -> Result:
    """Do the job. Whatever is wrong with the model or its settings is the result's error."""
    try:
        return _convert(job)
    except Problem as problem:
        error = problem
    except MemoryError:
        error = too_big("ENGINE_MEMORY_MB", f"more than {job.limits.memory_mb} MB of memory")
    except RecursionError:
        error = corrupt("it is nested too deeply")
    except _MALFORMED as fault:
        # The JSON of a glTF reaches every corner of the engine; other formats' readers hand on
        # values of their own making, where such an error is ours and must be seen as one.
        if read_format(job.model) != "glTF":
            raise
        error = corrupt(f"its glTF JSON does not follow the specification ({fault!r})")
    except OSError as fault:
        if fault.errno != errno.EFBIG:
            raise
        error = too_big("ENGINE_OUTPUT_MB", f"more than {job.limits.output_mb} MB for its output")
    return Result(error=Failure(error.code, error.message))


def _convert(job: Job) -> Result:
    settings = ConversionSettings.check(job.settings)
    for output in job.outputs:
        check_output(output.type, output.advanced)
    format_ = read_format(job.model)
    if PurePosixPath(job.model).suffix.lower() in PICTURES:
        return _convert_picture(job)
    if format_ is None:
        raise Problem(
            Code.UNSUPPORTED_FORMAT,
            f"The engine does not read {PurePosixPath(job.model).suffix or 'files without extension'}. "
            f"It reads {', '.join(sorted(READS))}.",
        )
    files = InputFolder(job.input_folder, job.model)
    document, unit, warnings = _read(format_, files, settings)
    source = dict(document.json.get("asset", {})) if format_ == "glTF" else {}
    before = _measured(document)
    if before.box is None and format_ != "glTF":
        raise corrupt("it holds no triangles, lines or points")
    offset = _offset(settings, before)
    counted = input_statistics(document, before)
    settings.apply_to_materials(document, format_)
    settings.place(document, offset)
    after = _measured(document) if settings.moves(offset) else before

    made = _write(job, document)
    return Result(
        made=tuple(made),
        warnings=(*warnings, *settings.warnings(format_)),
        statistics=statistics(document, after, unit),
        info={
            "conversionSettings": dict(job.settings),
            "inputInfo": {
                "sourceAssetExtension": PurePosixPath(job.model).suffix.lower(),
                "sourceAssetFormat": format_,
                "sourceAssetFormatVersion": str(source.get("version", "")),
                "sourceAssetGenerator": str(source.get("generator", "")),
            },
            "inputStatistics": counted,
            "outputInfo": {"conversionToolVersion": GENERATOR},
            "outputStatistics": {
                "numMeshPartsCreated": len(after.faces),
                "numMeshPartsInstanced": len(after.faces) - _distinct(document),
                "recenteringOffset": [float(value) for value in offset],
                "boundingBox": after.box,
            },
        },
    )


def _convert_picture(job: Job) -> Result:
    """Makes other pictures of a picture: the one thing that can be made of it."""
    data = InputFolder(job.input_folder, job.model).read_model()
    made: list[Made] = []
    for output in job.outputs:
        if output.type not in PICTURE_TYPES:
            raise Problem(
                Code.UNSUPPORTED_OUTPUT,
                f"A picture cannot be made into {output.type!r}, only into {' and '.join(PICTURE_TYPES)}.",
            )
        path = Path(job.output_folder, output.name)
        images.resize(data, path, output.advanced)
        made.append(_made(output, path, path))
    return Result(made=tuple(made))


def _read(
    format_: str, files: InputFolder, settings: ConversionSettings
) -> tuple[Document, str | None, list[Warning_]]:
    """The model as a document, its length unit and what is to be said about it."""
    data = files.read_model()
    if not data:
        raise Problem(Code.EMPTY, "The model is empty. Upload it again.")
    name = files.model.stem
    # Remote Rendering's defaults: colours are sRGB-encoded in FBX materials and PLY vertices.
    gamma: dict[str, Any] = {
        "gamma_material": _said(settings.gamma_material, format_ == "FBX"),
        "gamma_vertex": _said(settings.gamma_vertex, format_ in ("FBX", "PLY")),
    }
    match format_:
        case "glTF":
            document, warnings = gltf.read(data, files)
            return document, "m", warnings
        case "STEP":
            document, unit = step.read(data)
            return document, unit, []
        case "STL":
            return _built(Imported(stl.read(data, name), []), None)
        case "FBX":
            return _built(*fbx.read(data, files, **gamma))
        case "PLY":
            return _built(ply.read(data, files, **gamma), None)
        case _:
            return _built(obj.read(data, files, **gamma), None)


def _said(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def _built(imported: Imported, unit: str | None) -> tuple[Document, str | None, list[Warning_]]:
    dropped = drop_invalid(imported.scene)
    if dropped:
        imported.warnings.append(
            Warning_("invalid-geometry", "Invalid triangles are left out", {"elements": dropped})
        )
    give_materials(imported.scene)
    return build(imported.scene), unit, imported.warnings


def _measured(document: Document) -> Measures:
    measures = Measures()
    for part in parts(document):
        measures.add(part)
    return measures


def _offset(settings: ConversionSettings, measures: Measures) -> Matrix:
    """The shift that brings the middle of the placed model to the origin, if that is asked for."""
    if not settings.recenter or measures.box is None:
        return np.zeros(3)
    turned = settings.turn() @ ((measures.low + measures.high) / 2)
    return np.asarray(-turned)


def _distinct(document: Document) -> int:
    used = {node["mesh"] for node in document.items("nodes") if "mesh" in node}
    return sum(len(document.items("meshes")[mesh]["primitives"]) for mesh in used)


def _write(job: Job, document: Document) -> list[Made]:
    name = PurePosixPath(job.model).name
    made: list[Made] = []
    for output in job.outputs:
        path = Path(job.output_folder, output.name)
        for file in _write_one(document, name, output, path):
            made.append(_made(output, path, file))
            if sum(one.size for one in made) > job.limits.output_mb * 2**20:
                raise too_big("ENGINE_OUTPUT_MB", f"more than {job.limits.output_mb} MB for its output")
    if job.tree:
        made.append(_write_tree(document, name, Path(job.output_folder, TREE)))
    return made


def _write_tree(document: Document, name: str, path: Path) -> Made:
    data = json.dumps(tree.objects(document, name)).encode()
    path.write_bytes(data)
    return Made(TREE, TREE, len(data), hashlib.sha256(data).hexdigest(), "application/json", "report")


def _write_one(document: Document, name: str, output: Output, path: Path) -> list[Path]:
    """Write one output; returns its files, the one that was asked for first."""
    match output.type:
        case "glb":
            path.write_bytes(document.to_glb())
        case "obj":
            chosen = tree.nodes_of(document, name, output.advanced.get(OBJECT_IDS))
            return [path, *obj_writer.write(document, parts(document, chosen), path)]
        case "stl":
            stl_writer.write(parts(document), path, str(output.advanced.get("format", "binary")))
        case "thumbnail":
            thumbnail.write(document, parts(document), path, *thumbnail_size(output.advanced))
        case _:
            thumbnail.write(document, parts(document), path, *picture_size(output.advanced))
    return [path]


def _made(output: Output, main: Path, file: Path) -> Made:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    companion = file != main
    return Made(
        output.type,
        file.name,
        file.stat().st_size,
        digest,
        _COMPANION_TYPES[file.suffix] if companion else WRITES[output.type].content_type,
        "companion" if companion else None,
    )
