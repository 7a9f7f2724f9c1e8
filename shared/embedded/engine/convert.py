"""One conversion from beginning to end: read, apply the settings, write, count. Runs in a child
process that holds nothing of value and may die at any moment."""

import errno
from pathlib import PurePosixPath

import numpy as np

from shared.embedded.engine.build import GENERATOR
from shared.embedded.engine.conversion_settings import ConversionSettings
from shared.embedded.engine.decode import parts
from shared.embedded.engine.document import Document
from shared.embedded.engine.faults import corrupt, too_big
from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.formats import PICTURES, READS, check_output, read_format
from shared.embedded.engine.job import Failure, Job, Result
from shared.embedded.engine.reading import read
from shared.embedded.engine.scene import Matrix
from shared.embedded.engine.statistics import Measures, input_statistics, statistics
from shared.embedded.engine.writing import write, write_pictures
from shared.problems import Code, Problem

_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


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
    format_ = read_format(job.model)
    for output in job.outputs:
        check_output(output.type, output.advanced, format_)
    if PurePosixPath(job.model).suffix.lower() in PICTURES:
        return Result(made=tuple(write_pictures(job, InputFolder(job.input_folder, job.model).read_model())))
    if format_ is None:
        raise Problem(
            Code.UNSUPPORTED_FORMAT,
            f"The engine does not read {PurePosixPath(job.model).suffix or 'files without extension'}. "
            f"It reads {', '.join(sorted(READS))}.",
        )
    files = InputFolder(job.input_folder, job.model)
    read_ = read(format_, files, settings)
    document = read_.document
    source = dict(document.json.get("asset", {})) if format_ == "glTF" else {}
    before = _measured(document)
    if before.box is None and format_ != "glTF":
        raise corrupt("it holds no triangles, lines or points")
    offset = _offset(settings, before)
    counted = input_statistics(document, before)
    settings.apply_to_materials(document, format_)
    settings.place(document, offset)
    after = _measured(document) if settings.moves(offset) else before

    made, notes = write(job, read_)
    return Result(
        made=tuple(made),
        warnings=(*read_.warnings, *settings.warnings(format_), *notes),
        statistics=statistics(document, after, read_.unit),
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


def _measured(document: Document) -> Measures:
    measures = Measures()
    for part in parts(document, shaded=False):
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
