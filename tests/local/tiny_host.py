"""The tiny function app under a host of its own, Azurite included: `tiny_host <state folder>`."""

import asyncio
import os
import sys
from pathlib import Path

from local.host import running
from local.run import until_signal
from tests.local.conftest import APP, SETTINGS


async def up(state: Path) -> int:
    """Prints a line when the host is up."""
    async with running(APP, state, os.environ | SETTINGS) as host:
        print(host.runtime.pid, flush=True)
        await host.failed
    return 0


if __name__ == "__main__":
    try:
        asyncio.run(until_signal(up(Path(sys.argv[1]))))
    except asyncio.CancelledError:
        sys.exit(7)
