"""The package that is deployed, built by the rules of .funcignore."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pathspec
import pytest

from local.places import ROOT

SCRIPT = ROOT / "infra" / "scripts" / "package.py"
NEVER = {"tests", "samples", "local", "bench", "infra", "docs", ".ci", ".local", ".venv", "out"}
LARGEST_KIB = 480


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / ".git").exists():
        pytest.skip("the package is made of what git knows, and this is no checkout")
    path = tmp_path_factory.mktemp("package") / "app.zip"
    subprocess.run([sys.executable, str(SCRIPT), str(path)], check=True, capture_output=True)
    return path


def names(package: Path) -> list[str]:
    with zipfile.ZipFile(package) as opened:
        assert opened.testzip() is None
        return opened.namelist()


def test_it_holds_the_app_and_neither_tests_nor_samples_nor_the_local_host(package: Path) -> None:
    there = names(package)
    assert {"function_app.py", "host.json", "requirements.txt", "constraints.txt"} <= set(there)
    assert {PurePosixPath(name).parts[0] for name in there if "/" in name} == {"functions", "shared"}
    assert not [name for name in there if NEVER & set(PurePosixPath(name).parts)]


def test_it_is_small(package: Path) -> None:
    assert package.stat().st_size < LARGEST_KIB * 1024


def test_it_is_what_the_functions_tools_would_pack(package: Path) -> None:
    lines = (ROOT / ".funcignore").read_text(encoding="utf-8").splitlines()
    ignored = pathspec.GitIgnoreSpec.from_lines(lines)
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert names(package) == sorted(name for name in listed if not ignored.match_file(name))


def test_a_folder_that_is_not_ignored_would_be_seen() -> None:
    spec = importlib.util.spec_from_file_location("package", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.is_ignored("tests/infra/test_package.py", ["tests/"])
    assert module.is_ignored("docs/deploy.md", ["*.md"])
    assert not module.is_ignored("tests/infra/test_package.py", ["test/", "*.md"])


def test_it_runs_from_its_own_folder(package: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(package) as opened:
        opened.extractall(tmp_path)
    environment = {
        "MODEL_STORAGE__blobServiceUri": "https://data.blob.core.windows.net",
        "MODEL_STORAGE__queueServiceUri": "https://data.queue.core.windows.net",
        "EMBEDDED_ACCOUNT_ID": "30ea64bd-100f-4bf0-adc9-29fa45d4880c",
        "EMBEDDED_ACCOUNT_KEY": "a key that only the tests know",
        "WEBSITE_HOSTNAME": "func-test.azurewebsites.net",
    }
    code = (
        "import sys; sys.path.insert(0, '.'); import function_app, shared.embedded.worker, "
        "shared.embedded.converter; print(len(function_app.app.get_functions()))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "6", done.stderr
