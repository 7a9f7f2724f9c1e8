"""Binary USD layers, written by the library that reads them."""

import random
from pathlib import Path

import pytest
import tinyusdz

from shared.references import references
from shared.usd_crate import is_crate, words
from tests.embedded.engine import made


@pytest.fixture
def crate(tmp_path: Path) -> bytes:
    """A layer with two pictures, and many prims of like names, which is what packing is for."""
    prims = "".join(f'def Xform "a_prim_of_a_long_name_{number}" {{}}\n' for number in range(500))
    layer = made.usda("textures/skin.png") + prims.encode()
    layer = layer.replace(b'def Shader "Reader"', b'asset other = @Grass.JPG@\ndef Shader "Reader"')
    tinyusdz.load_bytes(layer).save(str(tmp_path / "a.usdc"))
    return (tmp_path / "a.usdc").read_bytes()


def test_its_words_are_unpacked(crate: bytes) -> None:
    assert is_crate(crate) and not is_crate(made.usda())
    found = words(crate)
    assert found is not None
    assert {"metersPerUnit", "Skin", "textures/skin.png"} <= set(found)
    assert {f"a_prim_of_a_long_name_{number}" for number in range(500)} <= set(found)


@pytest.mark.parametrize("extension", [".usdc", ".usd"])
def test_its_pictures_are_what_it_refers_to(crate: bytes, extension: str) -> None:
    found = references(extension, crate)
    assert found.complete
    assert {one.uri for one in found.references} == {"textures/skin.png", "Grass.JPG"}


def test_a_part_of_it_tells_nothing(crate: bytes) -> None:
    assert references(".usdc", crate[:500], whole=False) == references(".usdc", crate[:500])
    assert not references(".usdc", crate[:500]).complete


def test_damage_is_no_exception_and_takes_no_time(crate: bytes) -> None:
    chance = random.Random(1)
    for _ in range(2000):
        changed = bytearray(crate)
        for _ in range(chance.randint(1, 20)):
            changed[chance.choice((chance.randrange(len(crate)), chance.randrange(24)))] = chance.randrange(
                256
            )
        words(bytes(changed[: chance.choice((len(crate), chance.randrange(len(crate))))]))
