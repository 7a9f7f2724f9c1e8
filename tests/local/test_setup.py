"""The choice of a Python by local/setup.sh."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.places import ROOT

SHELL_TOOLS = ("sh", "dirname", "cat", "cksum")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A PATH folder that holds the shell's tools and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in SHELL_TOOLS:
        found = next(place for place in ("/bin", "/usr/bin") if (Path(place) / tool).exists())
        (folder / tool).symlink_to(Path(found) / tool)
    return folder


def program(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def working(file: Path) -> Path:
    """A Python 3.13 that has ensurepip, started by whatever name."""
    return program(file, f'exec "{sys.executable}" "$@"')


def choose(machine: Path, home: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/sh", str(ROOT / "local" / "setup.sh"), "python"],
        env={"PATH": os.fspath(machine), "HOME": os.fspath(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_python_3_13_on_path_is_taken(machine: Path, tmp_path: Path) -> None:
    expected = working(machine / "python3.13")
    assert choose(machine, tmp_path).stdout.strip() == str(expected)


def test_a_shim_that_does_not_run_is_passed_over_for_pyenvs_own_version(
    machine: Path, tmp_path: Path
) -> None:
    program(machine / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    expected = working(tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin" / "python3.13")
    assert choose(machine, tmp_path).stdout.strip() == str(expected)


def test_a_python3_of_another_version_is_passed_over_for_uvs(machine: Path, tmp_path: Path) -> None:
    program(machine / "python3", "exit 1")
    expected = working(tmp_path / "uv" / "python3.13")
    program(machine / "uv", f'[ "$1 $2" = "python find" ] && echo "{expected}"')
    assert choose(machine, tmp_path).stdout.strip() == str(expected)


def test_uv_installs_it_when_nothing_else_has_it(machine: Path, tmp_path: Path) -> None:
    expected = tmp_path / "uv" / "python3.13"
    working(tmp_path / "store" / "python3.13")
    (tmp_path / "uv").mkdir()
    program(
        machine / "uv",
        f'case "$2" in\n'
        f'install) /bin/ln -s "{tmp_path}/store/python3.13" "{expected}" ;;\n'
        f'find) [ -e "{expected}" ] && echo "{expected}" ;;\n'
        f"esac",
    )
    assert choose(machine, tmp_path).stdout.strip() == str(expected)


def test_python3_is_taken_where_it_is_3_13(machine: Path, tmp_path: Path) -> None:
    expected = working(machine / "python3")
    assert choose(machine, tmp_path).stdout.strip() == str(expected)


def test_without_any_the_message_says_what_to_do(machine: Path, tmp_path: Path) -> None:
    chosen = choose(machine, tmp_path)
    assert chosen.returncode == 1
    assert "no working Python 3.13" in chosen.stderr
