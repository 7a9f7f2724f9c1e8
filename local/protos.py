"""The messages between the Functions host and a Python worker (FunctionRpc).

Microsoft publishes them compiled only inside the tests of the wheel that
protos.txt pins. `python -m local.protos` downloads it and unpacks just the
message modules; installing it would shadow this project's own `tests`.
"""

import importlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from local.places import PROTOS, ROOT

PACKAGE = "functions_rpc"
MODULES = ("FunctionRpc_pb2", "identity.ClaimsIdentityRpc_pb2", "shared.NullableTypes_pb2")


class ProtosMissing(Exception):
    """The messages have not been unpacked yet."""


def fetch(folder: Path = PROTOS) -> None:
    """Downloads the pinned wheel, checked by its hash, and unpacks its messages into `folder`."""
    with tempfile.TemporaryDirectory() as downloads:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
                *("--dest", downloads, "--requirement", str(ROOT / "local" / "protos.txt")),
            ],
            check=True,
        )
        (wheel,) = Path(downloads).glob("*.whl")
        unpack(wheel, folder)


def unpack(wheel: Path, folder: Path) -> None:
    """Writes the message modules of `wheel` as the package `functions_rpc` in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for module in MODULES:
            name = module.replace(".", "/") + ".py"
            target = folder / PACKAGE / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(f"tests/protos/{name}"))
            (target.parent / "__init__.py").touch()


@cache
def load(folder: Path = PROTOS) -> SimpleNamespace:
    """Every message type by its name, as the runtime library expects its `protos` property.

    Raises `ProtosMissing` where `fetch` has not run.
    """
    package = folder / PACKAGE / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        PACKAGE, package, submodule_search_locations=[str(package.parent)]
    )
    if not package.exists() or spec is None:
        raise ProtosMissing(f"{folder} holds no FunctionRpc messages; `make run` and `make test` fetch them")
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    messages = SimpleNamespace()
    for name in MODULES:
        module = importlib.import_module(f"{PACKAGE}.{name}")
        for message in module.DESCRIPTOR.message_types_by_name:
            setattr(messages, message, getattr(module, message))
    return messages


if __name__ == "__main__":
    fetch()
