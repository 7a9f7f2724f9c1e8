"""What the deployed package weighs, and what each library of the engine adds to it.

Installs requirements.txt into a folder of its own, as Azure does, and counts: bytes on a disk, and bytes of
the same files in a zip, which is what a new instance fetches. Prints a table in Markdown.

    python -m bench.package_size
"""

import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Libraries of the engine -> what they bring along that nothing else needs.
LIBRARIES = {
    "cascadio": (),
    "numpy": (),
    "pye57": ("pyquaternion",),
    "embreex": (),
    "pillow": (),
    "tinyusdz": (),
    "assimp_py": (),
    "ifclite-geom": (),
    "DracoPy": (),
    "laspy": (),
    "lazrs": (),
}
OPTIONAL = "requirements-cad.txt"
_ALL_ELSE = "the service: Azure's clients, HTTP, telemetry"


def _install(requirements: Path, folder: Path, *more: str) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-compile",
            "-t",
            folder,
            *more,
            "-r",
            requirements,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Bytes on a disk and in a zip of every distribution in a folder."""
    found: dict[str, tuple[int, int]] = {}
    for distribution in distributions(path=[str(folder)]):
        paths = [Path(str(file.locate())) for file in distribution.files or ()]
        found[_key(distribution.name)] = _weighed([path for path in paths if path.is_file()])
    return found


def _weighed(paths: list[Path]) -> tuple[int, int]:
    with tempfile.TemporaryFile() as packed, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as package:
        for number, path in enumerate(paths):
            package.write(path, str(number))
        return sum(one.file_size for one in package.infolist()), sum(
            one.compress_size for one in package.infolist()
        )


def _key(name: str) -> str:
    return name.lower().replace("_", "-")


def _row(name: str, size: tuple[int, int]) -> str:
    return f"| {name} | {size[0] / 1e6:.1f} | {size[1] / 1e6:.1f} |"


def _sum(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(size[0] for size in sizes), sum(size[1] for size in sizes)


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, cad = Path(temporary, "app"), Path(temporary, "cad")
        _install(ROOT / "requirements.txt", folder)
        _install(ROOT / OPTIONAL, cad, "--no-deps")
        sizes, optional = _sizes(folder), _sum(list(_sizes(cad).values()))
        own = Path(temporary, "own.zip")
        subprocess.run(
            [sys.executable, ROOT / "infra" / "scripts" / "package.py", own],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with zipfile.ZipFile(own) as package:
            entries = package.infolist()
            code = sum(one.file_size for one in entries), sum(one.compress_size for one in entries)
    groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
    owners = {_key(one): name for name, more in LIBRARIES.items() for one in (name, *more)}
    for name, size in sizes.items():
        groups[owners.get(name, _ALL_ELSE)].append(size)
    rows = {name: _sum(found) for name, found in groups.items()}
    rest = rows.pop(_ALL_ELSE)
    engine = _sum(list(rows.values()))
    print(f"Measured {datetime.now(UTC):%Y-%m-%d}; megabytes.\n")
    print("| | unpacked | packed |\n|---|---|---|")
    for name, size in sorted(rows.items(), key=lambda row: -row[1][0]):
        print(_row(name, size))
    print(_row("**the engine's libraries**", engine))
    print(_row(_ALL_ELSE, rest))
    print(_row("this project's own code", code))
    print(_row("**the package**", _sum([engine, rest, code])))
    print(_row(f"{OPTIONAL}, if added", optional))


if __name__ == "__main__":
    main()
