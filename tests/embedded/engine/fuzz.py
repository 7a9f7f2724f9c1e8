"""`make fuzz`: small models with random damage through the engine as it runs, 10,000 of them or as many as
the first argument says. Every one must be answered, and the engine's process must live through all.

Prints how they ended, and every ending that should not be: those in which the converter crashed, by the
model they came of and the seed, so that each can be made again."""

import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from shared.embedded.converter import Converter
from shared.embedded.engine.job import Job, Limits, Output
from tests.embedded.engine import made
from tests.embedded.engine.corpus import flipped, resealed, unsealed

_LIMITS = Limits(memory_mb=1000, cpu_seconds=10, wall_seconds=15, output_mb=50)
_CRASHED = "converter-crashed"


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(1, len(data))]


def _moved(data: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(data)) for _ in range(2))
    at = chance.randrange(len(data))
    return data[:at] + data[start:end] + data[at:]


def _dropped(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randrange(1, 40) :]


def _numbered(data: bytes, chance: random.Random) -> bytes:
    """A number of a text, or four bytes, become an extreme one."""
    extreme = chance.choice([b"-1", b"4294967295", b"1e999", b"nan", b"0", b"2147483648", b"-1e-300", b""])
    digits = [at for at, byte in enumerate(data) if 48 <= byte < 58]
    if digits and chance.random() < 0.7:
        at = chance.choice(digits)
        return data[:at] + extreme + data[at + 1 :]
    at = chance.randrange(len(data))
    return data[:at] + chance.choice([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"]) + data[at + 4 :]


_WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, _cut, _moved, _dropped, _numbered)


def mutated(name: str, seed: int) -> bytes:
    """The same damage for the same name and seed."""
    data = made.every_model()[name]
    chance = random.Random(f"{name} {seed}")
    sealed = name.endswith(".e57") and chance.random() < 0.8
    data = unsealed(data) if sealed else data
    for _ in range(chance.randint(1, 3)):
        if len(data) > 1:
            data = chance.choice(_WAYS)(data, chance)
    return resealed(data) if sealed else data


def _job(folder: Path, name: str, seed: int) -> Job:
    place, output = folder / name / "in", folder / name / "out"
    place.mkdir(parents=True, exist_ok=True)
    output.mkdir(exist_ok=True)
    (place / name).write_bytes(mutated(name, seed))
    picture = Output("thumbnail", "a.png", {"width": 100})
    outputs = (Output("glb", "a.glb"), *([picture] if seed % 10 == 0 else []))
    return Job(str(place), name, str(output), outputs, limits=_LIMITS)


async def run(count: int) -> int:
    """Convert that many; the number of times that the engine's process had to be started again."""
    names = list(made.every_model())
    endings: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    converter = Converter()
    await converter.start()
    engine, deaths = converter.process_id, 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            name = names[seed % len(names)]
            result = await converter.convert(_job(Path(folder), name, seed))
            code = "converted" if result.error is None else result.error.code
            endings[code] += 1
            if result.error is not None and code == _CRASHED:
                print(f"{name} {seed}: {result.error.message.partition(' while')[0]}")
            if code in (_CRASHED, "limit-exceeded"):
                bad[f"{code} {name}"] += 1
            if converter.process_id != engine:
                engine, deaths = converter.process_id, deaths + 1
    await converter.close()
    print(f"{count} files, {deaths} deaths of the engine: {dict(endings)}; {dict(bad)}")
    return deaths


if __name__ == "__main__":
    sys.exit(asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)) > 0)
