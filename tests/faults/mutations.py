"""The mutation check: takes each guard out of a copy of the code, and shows which test goes red.

``make mutations`` checks all of them, ``make mutations GUARDS="sweep-etag tick-lease"`` some. It prints a
table in Markdown, and ends with 1 if a guard's removal turned no test red, or could not be tried: the text to
replace is not there any more, or the tests do not run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from local.places import ROOT
from tests.faults.guard import Guard, Lost
from tests.faults.guards import GUARDS

# A mutant may never end; pytest's own limit ends a test, this one what ignores it.
_SECONDS = 1200
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".local", "node_modules", "__pycache__", ".*_cache", ".hypothesis"
)
_INSTALLED = (Path("local", "node_modules"), Path(".local", "protos"))

_FAILED = 1  # pytest's status when tests ran and some failed


@dataclass(frozen=True)
class Run:
    """What pytest said. ``red`` is the first test that failed, None where none did or nothing could run."""

    status: int
    red: str | None
    said: str
    seconds: float


def main(arguments: Sequence[str], guards: Sequence[Guard] = GUARDS, root: Path = ROOT) -> int:
    """Prints the table; 0 if every guard that was asked for is missed by a test."""
    parser = argparse.ArgumentParser(prog="mutations", description=__doc__)
    parser.add_argument("guards", nargs="*", metavar="GUARD", help="ids of guards; without, all of them")
    wanted = parser.parse_args(arguments).guards
    if unknown := set(wanted) - {guard.id for guard in guards}:
        parser.error(f"no such guard: {', '.join(sorted(unknown))}")
    chosen = [guard for guard in guards if not wanted or guard.id in wanted]

    # Red says something only of a test that is green otherwise.
    whole = check(None, list(dict.fromkeys(test for guard in chosen for test in guard.tests)), root)
    if whole.status:
        print(f"Not green with every guard in place, status {whole.status}: {whole.said}", file=sys.stderr)
        return 1
    print("| guard | rule | removed | first red test | seconds |\n|---|---|---|---|---|", flush=True)
    bad = 0
    with ThreadPoolExecutor(os.cpu_count()) as several:
        for guard, run in zip(chosen, several.map(partial(_without, root=root), chosen), strict=True):
            if run.red is None:
                bad += 1
                why = f"no verdict, status {run.status}: {run.said}" if run.status else "nothing noticed"
                print(f"{guard.id}: {why}", file=sys.stderr)
            red = f"`{run.red}`" if run.red else "**none**"
            print(f"| {guard.id} | {guard.rule} | {guard.removed} | {red} | {run.seconds:.0f} |", flush=True)
    print(f"\n{len(chosen) - bad} of {len(chosen)} guards are missed by a test.", file=sys.stderr)
    return 1 if bad else 0


def _without(guard: Guard, root: Path) -> Run:
    try:
        return check(guard, guard.tests, root)
    except Lost as lost:
        return Run(-1, None, str(lost), 0.0)


def check(guard: Guard | None, tests: Sequence[str], root: Path) -> Run:
    """Runs tests on a copy of the source tree at ``root``, without ``guard``.

    Raises:
        Lost: the guard cannot be removed any more.
    """
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder, "copy")
        shutil.copytree(root, copy, ignore=_LEFT_OUT)
        for part in _INSTALLED:
            if (root / part).exists():
                (copy / part).parent.mkdir(exist_ok=True)
                (copy / part).symlink_to((root / part).resolve())
        if guard is not None:
            guard.remove(copy)
        return _pytest(copy, tests, until_red=guard is not None)


def _pytest(folder: Path, tests: Sequence[str], *, until_red: bool) -> Run:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # One mutant is one process, of several at a time; the whole has all of them.
    command += ["-x"] if until_red else ["--numprocesses", "auto", "--dist", "loadfile"]
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=folder,
            # Nothing from outside may lead to the code that is not changed; names of tests are long.
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            | {"COLUMNS": "400"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Run(-1, None, f"no end in {_SECONDS} s", time.monotonic() - begun)
    seconds = time.monotonic() - begun
    red = [line.removeprefix("FAILED ") for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode != _FAILED or not red:
        return Run(done.returncode, None, done.stdout[-4000:], seconds)
    name, _, why = red[0].partition(" - ")
    print(f"{name}: {why}", file=sys.stderr)
    return Run(done.returncode, name, done.stdout[-4000:], seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
