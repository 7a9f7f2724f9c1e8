"""A worker in a process of its own, to be killed.

`python -m tests.embedded.killed <settings> <request> <message>` says "converting" when the engine is at work.
"""

import asyncio
import json
import sys

from shared.embedded.containers import Containers
from shared.embedded.converter import Converter
from shared.embedded.engine.job import Job, Result
from shared.embedded.requests import Requests
from shared.embedded.worker import Worker
from shared.outbound import Outbound
from shared.settings import Settings
from shared.storage import Storage


class Telling(Converter):
    """The engine, which says when it has been given a job."""

    async def convert(self, job: Job) -> Result:
        await self.start()
        print("converting", flush=True)
        return await super().convert(job)


async def main(settings: Settings, key: str, message: str) -> None:
    async with Storage.connect(settings) as storage:
        worker = Worker(
            settings,
            Requests(storage, settings),
            Containers(settings, storage),
            Telling(),
            Outbound(settings),
        )
        await worker.run(key, message)


if __name__ == "__main__":
    asyncio.run(main(Settings(**json.loads(sys.argv[1])), sys.argv[2], sys.argv[3]))
