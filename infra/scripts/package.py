"""The function app as it is deployed, in a zip: every file that git knows, less what .funcignore names.

python3 infra/scripts/package.py app.zip
"""

import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]


def files(root: Path = ROOT) -> list[str]:
    """The paths of the package's files, relative to ``root``."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    lines = (root / ".funcignore").read_text(encoding="utf-8").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return sorted(path for path in listed.split("\0") if path and not is_ignored(path, patterns))


def is_ignored(path: str, patterns: list[str]) -> bool:
    """Whether a pattern names the file or a folder of it; ``name``, ``name/`` and ``*`` as git has them."""
    *folders, name = PurePosixPath(path).parts
    for pattern in patterns:
        if any(fnmatch(folder, pattern.rstrip("/")) for folder in folders):
            return True
        if not pattern.endswith("/") and fnmatch(name, pattern):
            return True
    return False


def build(to: Path, root: Path = ROOT) -> list[str]:
    """Writes the zip; the paths in it."""
    names = files(root)
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as package:
        for name in names:
            package.write(root / name, name)
    return names


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    package = Path(sys.argv[1])
    print(f"{package}: {len(build(package))} files, {package.stat().st_size / 1024:.0f} KiB")
