"""Every model of a folder through the engine: a GLB and a thumbnail of each, judged by others.

The GLB goes through Khronos' validator, and what is in it is compared with what an independent reader finds
in the source: trimesh, assimp's command, occt-import-js or web-ifc. "size" and "area" are the reader's by
ours: the size shows the unit (1000 where the reader stays in millimetres), and the area, with the size taken
out, is 1.00 where both see the same surface. Prints a table in Markdown, and lays the thumbnails out on one
sheet, out/thumbnails.png.

    python -m bench.models [FOLDER OF MODELS] [SHEET.png]
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import trimesh
from PIL import Image, ImageDraw

from bench.engine import MODELS, ROOT, judged
from shared.embedded.converter import Converter
from shared.embedded.engine.formats import read_format
from shared.embedded.engine.job import Job, Output, Result

SHEET = ROOT / "out" / "thumbnails.png"
_SIDE, _COLUMNS, _LABEL = 200, 8, 16
_TRIMESH = {"OBJ", "STL", "PLY", "OFF", "glTF"}
_ASSIMP = {"3MF", "DAE", "DXF", "FBX"}
_NODE = {"STEP": "occt-import-js", "IGES": "occt-import-js", "IFC": "web-ifc"}
_SECONDS = 300
_HEADS = (
    "model", "errors", "triangles", "reader's", "reader", "size", "area", "sides", "textures", "nodes",
    "warnings",
)  # fmt: skip


class Seen(NamedTuple):
    """What a reader finds: triangles; the longest side and the surface of its triangles, if it tells."""

    reader: str
    triangles: int
    longest: float | None = None
    area: float | None = None


def found() -> dict[str, Path]:
    """The models of the folder by their names, each file that is a model and no companion."""
    folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else MODELS
    listed = folder / "MANIFEST.tsv"
    if listed.exists():
        names = [line.partition("\t")[0] for line in listed.read_text("utf-8").splitlines()[1:]]
    else:
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return {name: folder / name for name in names if read_format(name) is not None}


def _independent(model: Path, folder: Path) -> Seen | None:
    format_ = read_format(model.name)
    if format_ in _TRIMESH:
        return _by_trimesh("trimesh", model)
    if format_ in _ASSIMP and shutil.which("assimp"):
        made = folder / "independent.glb"
        made.unlink(missing_ok=True)
        _quietly(["assimp", "export", str(model), str(made), "-fglb2"])
        return _by_trimesh("assimp", made)
    if format_ in _NODE:
        peers = ROOT / "bench" / "peers.mjs"
        said = _quietly(["node", str(peers), _NODE[format_], str(model), str(folder / "none"), "1"])
        return Seen(_NODE[format_], int(json.loads(said)["triangles"]))
    return None


def _quietly(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    return done.stdout


def _by_trimesh(reader: str, path: Path) -> Seen:
    try:
        scene = trimesh.load_scene(path, process=False)
    except Exception as error:  # a reader that fails is told, and does not end the others' work
        return Seen(f"{reader} fails: {type(error).__name__}", 0)
    meshes = [one for one in scene.dump() if isinstance(one, trimesh.Trimesh)]
    if not meshes:
        return Seen(reader, 0)
    longest = float(max(scene.extents))
    return Seen(reader, sum(len(one.faces) for one in meshes), longest, sum(one.area for one in meshes))


def _row(name: str, model: Path, result: Result, folder: Path) -> str:
    if result.error is not None:
        return f"| {name} | {result.error.code} |" + " – |" * (len(_HEADS) - 2)
    counted = result.statistics
    _, errors, _, textures = judged(folder / "model.glb")
    box = counted["boundingBox"]
    sides = [high - low for low, high in zip(box["min"], box["max"], strict=True)]
    nodes = result.info["inputStatistics"]["numNodes"]
    ours, theirs = _by_trimesh("", folder / "model.glb"), _independent(model, folder)
    size = area = None
    if theirs and theirs.longest and ours.longest and theirs.area and ours.area:
        size = theirs.longest / ours.longest
        area = theirs.area / ours.area / size**2
    cells = [
        name,
        "–" if errors is None else str(errors),
        str(counted["triangles"] or f"{counted['points']} points"),
        "–" if theirs is None else str(theirs.triangles),
        "–" if theirs is None else theirs.reader,
        "–" if size is None else f"{size:.4g}",
        "–" if area is None else f"{area:.2f}",
        " × ".join(f"{side:.4g}" for side in sides),
        str(textures),
        str(nodes),
        ", ".join(sorted({warning.code for warning in result.warnings})) or "–",
    ]
    return f"| {' | '.join(cells)} |"


def _sheet(pictures: dict[str, Path], to: Path) -> None:
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _SIDE, rows * (_SIDE + _LABEL)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (name, path) in enumerate(pictures.items()):
        x, y = index % _COLUMNS * _SIDE, index // _COLUMNS * (_SIDE + _LABEL)
        with Image.open(path) as picture:
            sheet.paste(picture, (x, y), picture)
        draw.text((x + 4, y + _SIDE), name.rpartition("/")[2][:32], fill="black")
    to.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(to)


async def run(models: dict[str, Path], to: Path) -> None:
    """Prints the table as it grows, and writes the sheet."""
    print(f"Measured {datetime.now(UTC):%Y-%m-%d}; lengths in metres where the file says its unit.\n")
    print(f"| {' | '.join(_HEADS)} |\n|{'---|' * len(_HEADS)}")
    converter = Converter()
    pictures: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            for index, (name, model) in enumerate(models.items()):
                picture = Output("thumbnail", f"{index}.png", {"width": _SIDE})
                outputs = (Output("glb", "model.glb"), picture)
                result = await converter.convert(Job(str(model.parent), model.name, temporary, outputs))
                if result.error is None:
                    pictures[name] = folder / picture.name
                print(_row(name, model, result, folder), flush=True)
        finally:
            await converter.close()
        _sheet(pictures, to)
    print(f"\n{len(pictures)} of {len(models)} models converted; their thumbnails are in {to}.")


def main() -> None:
    """Prints the table; the second argument is where the sheet goes."""
    models = found()
    if not models:
        sys.exit("There are no models in the folder.")
    asyncio.run(run(models, Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else SHEET))


if __name__ == "__main__":
    main()
