import pytest

from tests.conftest import MODELS
from tests.embedded.engine.conftest import Bench

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")


async def test_centimetres_become_metres_and_a_lost_animation_is_said(bench: Bench) -> None:
    result = await bench.run(MODELS / "fbx", "Y_Bot.fbx")
    assert result.error is None
    assert result.statistics["sourceUnit"] == "cm"
    assert result.statistics["triangles"] == 55320
    height = result.statistics["boundingBox"]["max"][1] - result.statistics["boundingBox"]["min"][1]
    assert height == pytest.approx(1.80, abs=0.01)
    assert "dropped-animation" in [warning.code for warning in result.warnings]


async def test_embedded_textures_are_kept(bench: Bench) -> None:
    result = await bench.run(MODELS / "fbx", "box.FBX")
    assert result.error is None
    assert result.statistics["textures"] == 1 and result.warnings == ()


async def test_textures_with_another_machines_paths_are_found_beside_the_model(bench: Bench) -> None:
    spider = {path.name: path.read_bytes() for path in (MODELS / "obj" / "spider").iterdir()}
    files = {"spider.fbx": (MODELS / "fbx" / "spider.fbx").read_bytes(), **spider}
    result = await bench.good(files)
    assert result.warnings == ()
    assert result.statistics["textures"] == 4
