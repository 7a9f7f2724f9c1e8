"""An engine that converts nothing: what it makes is the model's own bytes, at once."""

import hashlib
from pathlib import Path

from shared.embedded.engine.job import Job, Made, Result


class Copier:
    """For tests of what happens around a conversion, many times over."""

    async def convert(self, job: Job) -> Result:
        """Every output is a copy of the model."""
        data = (Path(job.input_folder) / job.model).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        for output in job.outputs:
            (Path(job.output_folder) / output.name).write_bytes(data)
        return Result(
            made=tuple(
                Made(output.type, output.name, len(data), digest, "model/gltf-binary")
                for output in job.outputs
            )
        )
