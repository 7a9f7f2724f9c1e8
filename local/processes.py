"""Child processes that never outlive the process that started them.

Run as a script it is the tether itself: `processes.py <parent pid> <command…>`
asks the kernel for a SIGKILL at the parent's death and then becomes the command.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ends this process when `parent`, its parent's pid, ends.

    Linux only; elsewhere an orderly stop of the parent is what ends its children.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)


def tethered(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` as a child which dies with this process."""
    return [sys.executable, "-IS", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - becoming the command is the purpose
