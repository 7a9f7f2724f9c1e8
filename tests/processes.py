"""Another process of the same bundle, as a second instance would be."""

import asyncio
from typing import Any

from shared.app import App
from shared.settings import read_settings
from tests.pipeline import Loop


def consider(settings: dict[str, Any], path: str, times: int) -> int:
    """Delivers one event so many times at once; how many began a conversion."""

    async def deliver() -> int:
        loop = Loop()
        loop.app = app = App(read_settings(**settings), http=loop)
        try:
            return sum(await asyncio.gather(*(app.lifecycle.consider(path) for _ in range(times))))
        finally:
            await app.close()

    return asyncio.run(deliver())
