"""The corpus of bad input: each file fails with a code and a message, or is converted in part.

None may end the engine, run past its limit, use more memory than its limit, open a connection or read
what is outside its folder."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.embedded.converter import Converter
from shared.embedded.engine.formats import READS
from shared.embedded.engine.job import Limits, Output
from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.corpus import corpus
from tests.embedded.engine.shapes import glb, triangle
from tests.embedded.models import mtl, obj

_LIMITS = Limits(memory_mb=1500, cpu_seconds=20, wall_seconds=30, output_mb=100)
_CORPUS = corpus()
_CLEAR = {"corrupt-model", "limit-exceeded", "missing-companion", "unsupported-format", "empty"}
_CANARY = b"a canary that must not be in any output"


@pytest.mark.parametrize("name", _CORPUS)
async def test_a_bad_file_ends_in_an_error_or_in_what_could_be_saved(
    bench: Bench, converter: Converter, name: str
) -> None:
    await converter.start()
    engine = converter.process_id
    outputs = (Output("glb", "out.glb"), Output("thumbnail", "out.png", {"width": 100}))
    started = time.monotonic()
    result = await bench.convert({name: _CORPUS[name]}, *outputs, limits=_LIMITS)
    assert time.monotonic() - started < _LIMITS.wall_seconds + 5
    assert converter.process_id == engine
    if result.error is None:
        assert result.made[0].size > 0
    else:
        assert result.error.code in _CLEAR | {"converter-crashed"}, result.error
        assert len(result.error.message) > 30


def _with_reference(reference: str) -> Iterator[dict[str, bytes]]:
    yield {"car.obj": obj("car.mtl"), "car.mtl": mtl(reference)}
    yield {"car.obj": obj(reference), "car.mtl": b""}
    yield {"car.dae": made.dae(reference)}
    yield {"car.x3d": made.x3d(reference)}
    yield {"car.fbx": made.fbx(named=reference)}
    yield {"car.3ds": made.threeds(reference)}
    yield {"car.usda": made.usda(reference)}
    yield {"car.usdz": made.usdz(made.usda(reference))}
    document, data = triangle(images=[{"uri": reference}], textures=[{"source": 0}])
    yield {"car.glb": glb(document, data)}
    group = f'<m:texture2d id="2" path="{reference}" contenttype="image/png"/>'
    group += '<m:texture2dgroup id="7" texid="2"><m:tex2coord u="0" v="0"/></m:texture2dgroup>'
    mesh = made.threemf_mesh(' pid="7" p1="0"')
    model = made.threemf_model(f'{group}<object id="1">{mesh}</object>', '<item objectid="1"/>')
    yield {"car.3mf": made.threemf(model)}
    component = f'<component p:path="{reference}" objectid="1"/>'
    table = f'<object id="1"><components>{component}</components></object>'
    yield {"car.3mf": made.threemf(made.threemf_model(table, '<item objectid="1"/>'))}
    yield {"car.usda": made.usda(head=f"subLayers = [@{reference}@]")}


@pytest.mark.parametrize(
    "reference",
    ["http://127.0.0.1:9/canary.png", "file://{outside}", "{outside}", "../canary.png", "link.png"],
)
async def test_no_format_reaches_outside_its_folder(bench: Bench, tmp_path: Path, reference: str) -> None:
    outside = tmp_path / "canary.png"
    outside.write_bytes(_CANARY)
    (bench.input / "link.png").symlink_to(outside)
    for files in _with_reference(reference.format(outside=outside)):
        result = await bench.convert(files, limits=_LIMITS)
        if result.error is None:
            assert _CANARY[:13] not in (bench.output / "out.glb").read_bytes()
            codes = {warning.code for warning in result.warnings}
            assert "4004" in codes or b"subLayers" in files["car.usda"]
        else:
            assert result.error.code in _CLEAR, result.error


def test_the_corpus_is_of_every_format_and_none_of_it_used_up_this_process() -> None:
    extensions = {f".{name.rpartition('.')[2]}" for name in _CORPUS}
    formats = {READS[extension] for extension in extensions}
    assert formats == set(READS.values())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4_000_000
