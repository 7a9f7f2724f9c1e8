"""The real engine over files that a test writes down."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.embedded.converter import Converter
from shared.embedded.engine.job import Job, Limits, Output, Result

GLB = Output("glb", "out.glb")


class Bench:
    """An input folder, an output folder, and the engine between them."""

    def __init__(self, converter: Converter, folder: Path) -> None:
        self._converter = converter
        self.input = folder / "in"
        self.output = folder / "out"
        self.input.mkdir()
        self.output.mkdir()

    async def convert(
        self,
        files: Mapping[str, bytes],
        *outputs: Output,
        settings: Mapping[str, object] | None = None,
        limits: Limits | None = None,
    ) -> Result:
        """Convert the first of the files, by default to out.glb."""
        for name, data in files.items():
            path = self.input / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return await self.run(self.input, next(iter(files)), *outputs, settings=settings, limits=limits)

    async def run(
        self,
        folder: Path,
        model: str,
        *outputs: Output,
        settings: Mapping[str, object] | None = None,
        limits: Limits | None = None,
    ) -> Result:
        job = Job(str(folder), model, str(self.output), outputs or (GLB,), settings or {}, limits or Limits())
        return await self._converter.convert(job)

    async def good(
        self, files: Mapping[str, bytes], *outputs: Output, settings: Mapping[str, object] | None = None
    ) -> Result:
        """`convert`, of something that must succeed."""
        result = await self.convert(files, *outputs, settings=settings)
        assert result.error is None, result.error
        return result

    def json(self, name: str = "out.glb") -> dict[str, Any]:
        """The JSON of a GLB in the output folder."""
        data = (self.output / name).read_bytes()
        content: dict[str, Any] = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
        return content


@pytest.fixture
def bench(converter: Converter, tmp_path: Path) -> Bench:
    return Bench(converter, tmp_path)
