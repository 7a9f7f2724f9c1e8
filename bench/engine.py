"""The engine against its peers on the same models in one run: cold against cold, warm against warm.

Cold is a process of its own, its start included; ours is the engine's, as the service starts it. Warm is a
loop in a process that has loaded its libraries. Ours forks a limited child for each conversion, either way.
What the peers do is less: obj2gltf, gltf-transform, gltfpack, assimp and trimesh write a GLB, occt-import-js
and web-ifc only tessellate. Prints a table in Markdown.

    python -m bench.engine [FOLDER OF MODELS]
"""

import asyncio
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shared.embedded.converter import Converter, environment
from shared.embedded.engine.job import Job, Output

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT.parent / "shared" / "models"
COLD, WARM = 3, 7

#: Model -> the peers that read its format.
_MESH = ("assimp", "trimesh")
CASES = {
    "obj/spider/spider.obj": ("obj2gltf", *_MESH),
    "obj/chair_model.obj": ("obj2gltf", *_MESH),
    "stl/counter.unitsmm.STL": _MESH,
    "ply/cycloidal.ply": _MESH,
    "off/ballA.off": _MESH,
    "3mf/multipletextures.3mf": ("assimp",),
    "dae/duck/duck.dae": ("assimp",),
    "dxf/wuson.dxf": ("assimp",),
    "fbx/Y_Bot.fbx": ("assimp",),
    "gltf/DamagedHelmet.glb": ("gltf-transform", "gltfpack", *_MESH),
    "gltf/CesiumMilkTruck.glb": ("gltf-transform", "gltfpack", *_MESH),
    "step/as1-oc-214.stp": ("occt-import-js",),
    "iges/as1_pe_203.igs": ("occt-import-js",),
    "ifc/duplex.ifc": ("web-ifc", "assimp"),
    "usd/BrainStem.usdz": (),
    "las/autzen_trim.laz": (),
}

#: A model made here, of the size where memory and speed show.
_LARGE, _LARGE_PEERS = "a million triangles.obj", ("obj2gltf", *_MESH)

_TRIMESH = """
import sys, time, json, trimesh
seconds = []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    trimesh.load_scene(sys.argv[1]).export(sys.argv[2])
    seconds.append(time.perf_counter() - start)
print(json.dumps({"seconds": seconds}))
"""


class Row(NamedTuple):
    """seconds; the most memory in MB; of the output its KB, validator errors, triangles and textures."""

    name: str
    cold: float | None
    warm: float | None
    memory: float | None
    size: int | None
    errors: int | None
    triangles: int | None
    textures: int | None


def _timed(command: list[str]) -> tuple[float, float, str] | None:
    """Seconds, memory in MB and output of a process; None where it fails."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as out:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - started
        out.seek(0)
        return (took, usage.ru_maxrss / 1024, out.read()) if process.returncode == 0 else None


def _cold_ours(model: Path, out: Path) -> tuple[float, float, str]:
    """Seconds until the engine's process answers its first job, and the memory of it and its child."""
    job = Job(str(model.parent), model.name, str(out.parent), (Output("glb", out.name),))
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "shared.embedded.engine"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"job": job.to_json()}).encode() + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        result = json.loads(process.stdout.readline())["result"]
        took = time.perf_counter() - started
        assert result["error"] is None, result["error"]
        process.stdin.close()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return took, usage.ru_maxrss / 1024, ""


def _cold(peer: str, model: Path, out: Path) -> tuple[float, float, str] | None:
    return _cold_ours(model, out) if peer == "ours" else _timed(_cold_command(peer, model, out))


def _cold_command(peer: str, model: Path, out: Path) -> list[str]:
    bin_ = ROOT / "bench" / "node_modules" / ".bin"
    match peer:
        case "obj2gltf":
            return [str(bin_ / "obj2gltf"), "-i", str(model), "-o", str(out), "-b"]
        case "gltf-transform":
            return [str(bin_ / "gltf-transform"), "copy", str(model), str(out)]
        case "gltfpack":
            return [str(bin_ / "gltfpack"), "-i", str(model), "-o", str(out), "-noq"]
        case "assimp":
            return ["assimp", "export", str(model), str(out), "-fglb2"]
        case _:
            return _loop_command(peer, model, out, 1)


def _loop_command(peer: str, model: Path, out: Path, times: int) -> list[str]:
    if peer == "trimesh":
        return [sys.executable, "-c", _TRIMESH, str(model), str(out), str(times)]
    return ["node", str(ROOT / "bench" / "peers.mjs"), peer, str(model), str(out), str(times)]


def _measure(peer: str, model: Path, out: Path) -> Row:
    out.unlink(missing_ok=True)
    runs = [found for _ in range(COLD) if (found := _cold(peer, model, out)) is not None]
    if not runs:
        return Row(peer, None, None, None, None, None, None, None)
    warm, triangles = None, None
    if peer not in ("assimp", "ours"):
        loop = _timed(_loop_command(peer, model, out, WARM))
        if loop is not None:
            answer = json.loads(loop[2].strip().splitlines()[-1])
            warm, triangles = min(answer["seconds"]), answer.get("triangles")
    cold, memory = min(run[0] for run in runs), statistics.median(run[1] for run in runs)
    if not out.exists():
        return Row(peer, cold, warm, memory, None, None, triangles, None)
    return Row(peer, cold, warm, memory, *judged(out))


def judged(path: Path) -> tuple[int, int | None, int, int]:
    """Size in KB, the validator's errors (None without it), triangles as drawn once, textures."""
    with path.open("rb") as file:
        header = file.read(20)
        content: dict[str, Any] = json.loads(file.read(int.from_bytes(header[12:16], "little")))
    triangles = 0
    for mesh in content.get("meshes", []):
        for primitive in mesh["primitives"]:
            if primitive.get("mode", 4) == 4:
                counted = primitive.get("indices", primitive["attributes"].get("POSITION"))
                triangles += content["accessors"][counted]["count"] // 3
    return path.stat().st_size // 1024, _errors(path), triangles, len(content.get("images", []))


_VALIDATE = """
const validator = require("gltf-validator"), fs = require("fs");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])), { maxIssues: 0 })
  .then((report) => console.log(report.issues.numErrors));
"""


def _errors(path: Path) -> int | None:
    modules = os.pathsep.join([str(ROOT / "local" / "node_modules"), os.environ.get("NODE_PATH", "")])
    done = subprocess.run(
        ["node", "-e", _VALIDATE, str(path)],
        env={**os.environ, "NODE_PATH": modules},
        capture_output=True,
        text=True,
        check=False,
    )
    return int(done.stdout) if done.returncode == 0 else None


async def _warm(models: list[Path], out: Path) -> dict[Path, float]:
    """The least seconds of each model through one converter that is up."""
    converter = Converter()
    await converter.start()
    best: dict[Path, float] = {}
    for model in models:
        job = Job(str(model.parent), model.name, str(out), (Output("glb", "warm.glb"),))
        for _ in range(WARM):
            started = time.perf_counter()
            result = await converter.convert(job)
            took = time.perf_counter() - started
            assert result.error is None, result.error
            best[model] = min(best.get(model, took), took)
    await converter.close()
    return best


def _make_large(path: Path) -> None:
    """A sphere of 991,232 triangles with texture coordinates, normals and three materials."""
    steps = 704
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, steps + 1), np.linspace(0, np.pi, steps + 1))
    normals = np.stack([np.cos(u) * np.sin(v), np.cos(v), np.sin(u) * np.sin(v)], -1).reshape(-1, 3)
    places = np.arange(1, len(normals) + 1).reshape(u.shape)
    a, b, c, d = (one.ravel() for one in (places[:-1, :-1], places[:-1, 1:], places[1:, 1:], places[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    coordinates = np.stack([u / (2 * np.pi), v / np.pi], -1).reshape(-1, 2)
    with path.open("w") as file:
        for pattern, values in (
            ("v %.6f %.6f %.6f\n", 50 * normals),
            ("vt %.6f %.6f\n", coordinates),
            ("vn %.6f %.6f %.6f\n", normals),
        ):
            file.write((pattern * len(values)) % tuple(values.ravel().tolist()))
        for number, part in enumerate(np.array_split(triangles, 3)):
            corners = tuple(np.repeat(part.ravel(), 3).tolist())
            file.write(f"usemtl {number}\n" + ("f %d/%d/%d %d/%d/%d %d/%d/%d\n" * len(part)) % corners)


def _rows(folder: Path, models: Path, name: str, peers: tuple[str, ...]) -> Iterator[Row]:
    model = models / name
    yield _measure("ours", model, folder / "out.glb")
    for peer in peers:
        if peer != "assimp" or shutil.which("assimp"):
            yield _measure(peer, model, folder / "peer.glb")


def _cell(value: float | int | None, pattern: str = "{}") -> str:
    return "–" if value is None else pattern.format(value)


def main() -> None:
    """Prints the table."""
    models = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else MODELS
    cases = {name: peers for name, peers in CASES.items() if (models / name).exists()}
    if not cases:
        sys.exit(f"{models} has none of the models that are measured.")
    today, processors = f"{datetime.now(UTC):%Y-%m-%d}", os.cpu_count()
    print(f"Measured {today}, {processors} processors; best of {COLD} cold, {WARM} warm.\n")
    print("| model | by | cold s | warm s | memory MB | output KB | errors | triangles | textures |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # In a process of its own: what this one has taken would count as memory of those that it starts.
        making = multiprocessing.get_context("spawn").Process(target=_make_large, args=(folder / _LARGE,))
        making.start()
        making.join()
        cases[str(folder / _LARGE)] = _LARGE_PEERS
        warm = asyncio.run(_warm([models / name for name in cases], folder))
        for name, peers in cases.items():
            for row in _rows(folder, models, name, peers):
                seconds = warm[models / name] if row.name == "ours" else row.warm
                cells = [
                    name.removeprefix(f"{folder}/") if row.name == "ours" else "",
                    f"**{row.name}**" if row.name == "ours" else row.name,
                    "fails" if row.cold is None else f"{row.cold:.2f}",
                    _cell(seconds, "{:.3f}"),
                    _cell(row.memory, "{:.0f}"),
                    *map(_cell, row[4:]),
                ]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
