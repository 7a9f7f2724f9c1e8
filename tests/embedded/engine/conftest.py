"""The real engine over files that a test writes down."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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

    def values(self, name: str, attribute: str) -> NDArray[np.float64]:
        """The 16-bit values (n, 4), as 0..1, of an attribute of the first primitive of a GLB."""
        content = self.json(name)
        data = (self.output / name).read_bytes()
        start = 20 + int.from_bytes(data[12:16], "little") + 8
        accessor = content["accessors"][content["meshes"][0]["primitives"][0]["attributes"][attribute]]
        view = content["bufferViews"][accessor["bufferView"]]
        found = np.frombuffer(data, "<u2", accessor["count"] * 4, start + view["byteOffset"])
        return found.reshape(-1, 4) / 65535


@pytest.fixture
def bench(converter: Converter, tmp_path: Path) -> Bench:
    return Bench(converter, tmp_path)
