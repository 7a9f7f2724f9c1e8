"""What the engine's process loads, and when: after too much the first one waits, after too little all do."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.embedded.converter import Converter
from shared.embedded.engine.formats import read_format
from shared.embedded.engine.job import Job, Output
from tests.embedded.engine import made

_ROOT = Path(__file__).resolve().parents[3]
_LIBRARIES = {
    "DracoPy", "PIL", "assimp_py", "cascadio", "embreex", "ifclite_geom", "laspy", "lazrs", "numpy", "pye57",
    "tinyusdz",
}  # fmt: skip
#: What each format needs beside numpy and Draco, which everything may need.
_OWN = {
    "STEP": {"cascadio"},
    "IGES": {"cascadio"},
    "IFC": {"ifclite_geom"},
    "USD": {"tinyusdz"},
    "LAS": {"laspy", "lazrs"},
    "E57": {"pye57"},
    **{name: {"assimp_py"} for name in ("3DS", "DAE", "DXF", "FBX", "OFF", "PLY", "X3D")},
}
_ONE = """
import json, sys
from shared.embedded.engine.convert import convert
from shared.embedded.engine.job import Job
from shared.embedded.engine.loading import Loading
job = Job.from_json(json.loads(sys.argv[1]))
Loading().for_job(job)
loaded = set(sys.modules)
result = convert(job)
late = set(sys.modules) - loaded
print(json.dumps({"loaded": sorted(loaded), "late": sorted(late), "error": result.error}))
"""
_ALL = """
import json, sys
from shared.embedded.engine.loading import Loading
loading = Loading()
while loading.next():
    pass
print(json.dumps({"loaded": sorted(sys.modules)}))
"""


@pytest.fixture
async def own() -> AsyncIterator[Converter]:
    """A converter of the test's own."""
    running = Converter()
    yield running
    await running.close()


def _mapped(converter: Converter) -> str:
    return Path("/proc", str(converter.process_id), "maps").read_text()


def _run(script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _libraries(modules: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} & _LIBRARIES


def _job(folder: Path, name: str, data: bytes, *outputs: Output) -> Job:
    (folder / name).write_bytes(data)
    return Job(str(folder), name, str(folder), outputs or (Output("glb", "out.glb"),))


@pytest.mark.parametrize("name", made.every_model())
def test_a_conversion_finds_its_own_libraries_loaded_and_no_others(name: str, tmp_path: Path) -> None:
    job = _job(tmp_path, name, made.every_model()[name])
    found = _run(_ONE, json.dumps(job.to_json()))
    assert found["error"] is None
    assert _libraries(found["loaded"]) - {"numpy", "DracoPy"} == _OWN.get(str(read_format(name)), set())
    assert [late for late in found["late"] if late.startswith("shared.") or _libraries([late])] == []


def test_a_picture_is_what_needs_the_libraries_of_pictures(tmp_path: Path) -> None:
    job = _job(tmp_path, "a.stl", made.every_model()["a.stl"], Output("thumbnail", "out.png"))
    found = _run(_ONE, json.dumps(job.to_json()))
    assert _libraries(found["loaded"]) == {"numpy", "DracoPy", "PIL", "embreex"}
    assert not any(late.startswith(("shared.", "numpy.")) for late in found["late"])


@pytest.mark.parametrize("name", ["a.obj", "a.3mf"])
def test_squares_and_colours_need_no_more_of_numpy_than_triangles_do(name: str, tmp_path: Path) -> None:
    """numpy loads its masked arrays, for as long as a small conversion takes, at the first plain `unique`."""
    square = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n"
    table = '<basematerials id="7"><base name="red" displaycolor="#FF0000"/></basematerials>'
    mesh = made.threemf_mesh(' pid="7" p1="0"')
    painted = made.threemf(
        made.threemf_model(f'{table}<object id="1">{mesh}</object>', '<item objectid="1"/>')
    )
    job = _job(tmp_path, name, {"a.obj": square, "a.3mf": painted}[name])
    found = _run(_ONE, json.dumps(job.to_json()))
    assert found["error"] is None
    assert not any(late.startswith("numpy.") for late in found["late"])


def test_all_is_loaded_in_the_end_and_nothing_that_speaks_to_a_network() -> None:
    found = _run(_ALL)
    assert _libraries(found["loaded"]) == _LIBRARIES
    assert not {"requests", "urllib3", "trimesh"} & set(found["loaded"])


async def test_an_engine_with_nothing_to_do_loads_the_rest_and_can_still_fork(
    own: Converter, tmp_path: Path
) -> None:
    await own.start()
    for _ in range(1200):
        loaded = _mapped(own)
        if all(library in loaded for library in ("cascadio", "embree", "tinyusdz", "lazrs", "pye57")):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("it does not load the rest")
    engine = own.process_id
    result = await own.convert(_job(tmp_path, "a.obj", made.every_model()["a.obj"]))
    assert result.error is None and own.process_id == engine


async def test_what_a_conversion_needed_stays_loaded(own: Converter, tmp_path: Path) -> None:
    result = await own.convert(_job(tmp_path, "a.stp", made.every_model()["a.stp"]))
    assert result.error is None
    assert "cascadio" in _mapped(own)
