import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_SCRIPT = """
import os, socket, subprocess, threading
from shared.embedded.engine.sandbox import refuse_network_and_programs
if not refuse_network_and_programs():
    print("no filter here")
    raise SystemExit
for attempt in (socket.socket, socket.socketpair, lambda: os.execv("/bin/true", ["true"])):
    try:
        attempt()
    except PermissionError:
        print("refused")
threading.Thread(target=lambda: print("threads work")).start()
print(open("/proc/self/status").readline().split()[0])
"""


def test_sockets_and_programs_are_refused_and_the_rest_works() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    if done.stdout == "no filter here\n":
        pytest.skip("this kernel takes no seccomp filter")
    lines = done.stdout.splitlines()
    assert lines.count("refused") == 3
    assert sorted(lines[3:]) == ["Name:", "threads work"]
