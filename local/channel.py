"""Length-prefixed FunctionRpc messages over a stream: what gRPC does in Azure.

Frame: four bytes big-endian length, then one serialised `StreamingMessage`.
"""

import asyncio
import struct
from typing import Any

from local.protos import load

HEADER = struct.Struct("!I")


def frame(message: Any) -> bytes:
    """One `StreamingMessage` as it goes over the wire."""
    body: bytes = message.SerializeToString()
    return HEADER.pack(len(body)) + body


async def read(reader: asyncio.StreamReader) -> Any | None:
    """The next `StreamingMessage`, or None when the other side is gone."""
    try:
        (size,) = HEADER.unpack(await reader.readexactly(HEADER.size))
        return load().StreamingMessage.FromString(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
