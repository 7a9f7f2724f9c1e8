"""Where the local host keeps its things, inside the project's own folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

STATE = ROOT / ".local"
"""Everything a running host writes: endpoints, log, downloaded messages. Not tracked."""

OUT = ROOT / "out"
"""Where `make run` copies the derivatives to. Not tracked."""

NODE_MODULES = ROOT / "local" / "node_modules"
PROTOS = STATE / "protos"
