"""How long a cold process takes to import the function app, against the packages that it cannot do without.

An instance's first request waits for this import. Both are measured in turn, in processes of their own, so
that whatever else the machine does slows both; the time of the interpreter itself is in neither.

    python -m bench.import_time
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench.tables import table
from local.azurite import ACCOUNT, KEY
from local.config import app_settings

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 9
PRESCRIBED = "azure.functions, azure.storage.blob, azure.identity, httpx"
# Nothing is sent while importing, so nothing has to listen there.
STORAGE = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/{ACCOUNT};" + (
    f"QueueEndpoint=http://127.0.0.1:1/{ACCOUNT};"
)


def seconds(modules: str) -> float:
    """Of one import of ``modules`` in a new process."""
    code = f"from time import perf_counter as now; t = now(); import {modules}; print(now() - t)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **app_settings({}, STORAGE, 1)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    """Prints the medians and their ratio."""
    for modules in (PRESCRIBED, "function_app"):
        seconds(modules)  # compiles, and warms the disk's cache
    peers, ours = [], []
    for _ in range(ROUNDS):
        peers.append(seconds(PRESCRIBED))
        ours.append(seconds("function_app"))
    peer, own = statistics.median(peers), statistics.median(ours)
    print("### Import time")
    table(
        (f"median of {ROUNDS} cold processes", "time", "ratio"),
        (
            (f"`{PRESCRIBED}`", f"{peer:.2f} s", "1"),
            ("`function_app`: the whole app, its HTTP APIs built", f"{own:.2f} s", f"{own / peer:.2f}"),
        ),
    )


if __name__ == "__main__":
    main()
