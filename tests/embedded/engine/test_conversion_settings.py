from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trimesh

from shared.embedded.engine.conversion_settings import ConversionSettings
from shared.problems import Code, Problem
from tests.conftest import MODELS
from tests.embedded.engine.conftest import Bench
from tests.embedded.engine.shapes import glb, triangle
from tests.embedded.models import mtl, obj

Validate = Callable[[Path], dict[str, Any]]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"scaling": 0}, "scaling"),
        ({"scaling": -1}, "scaling"),
        ({"scaling": "2"}, "scaling"),
        ({"scaling": True}, "scaling"),
        ({"scaling": float("nan")}, "scaling"),
        ({"recenterToOrigin": 1}, "recenterToOrigin"),
        ({"axis": ["Default", "+y", "+z"]}, "axis"),
        ({"axis": ["+x", "+x", "+z"]}, "axis"),
        ({"axis": "+x"}, "axis"),
        ({"axis": ["+x", "+y"]}, "axis"),
        ({"opaqueMaterialDefaultSidedness": "double"}, "opaqueMaterialDefaultSidedness"),
        ({"sceneGraphMode": "Dynamic"}, "sceneGraphMode"),
        ({"metadataKeys": "all"}, "metadataKeys"),
        ({"vertex": {"position": "32_32_FLOAT"}}, "vertex.position"),
        ({"vertex": {"uv": "32_32_FLOAT"}}, "vertex.uv"),
        ({"vertex": []}, "vertex"),
        ({"Scaling": 1}, "Scaling"),
        ({"": 1}, "''"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(content: dict[str, object], named: str) -> None:
    with pytest.raises(Problem) as raised:
        ConversionSettings.check(content)
    assert raised.value.code is Code.INVALID_SETTINGS
    assert named in raised.value.message


async def test_a_wrong_setting_fails_the_conversion(bench: Bench) -> None:
    result = await bench.convert({"a.obj": obj()}, settings={"scale": 2})
    assert result.error is not None and result.made == ()
    assert result.error.code == "invalid-settings" and "'scale'" in result.error.message


def test_every_setting_of_the_contract_is_known() -> None:
    ConversionSettings.check(
        {
            "scaling": 1.0,
            "recenterToOrigin": False,
            "opaqueMaterialDefaultSidedness": "DoubleSided",
            "material-override": "",
            "gammaToLinearMaterial": False,
            "gammaToLinearVertex": False,
            "sceneGraphMode": "dynamic",
            "generateCollisionMesh": True,
            "unlitMaterials": False,
            "deduplicateMaterials": True,
            "fbxAssumeMetallic": True,
            "axis": ["default", "default", "default"],
            "vertex": {
                "position": "16_16_16_16_FLOAT",
                "color0": "NONE",
                "color1": "NONE",
                "normal": "AUTO",
                "tangent": "NONE",
                "binormal": "16_16_16_16_FLOAT",
                "texcoord0": "32_32_FLOAT",
                "texcoord1": "NONE",
            },
            "metadataKeys": ["a", "b*"],
        }
    )


async def test_a_setting_that_cannot_apply_is_a_warning_that_names_it(bench: Bench) -> None:
    settings = {
        "sceneGraphMode": "static",
        "vertex": {"position": "16_16_16_16_FLOAT", "texcoord0": "32_32_FLOAT"},
        "generateCollisionMesh": False,
        "metadataKeys": ["a"],
        "gammaToLinearVertex": True,
    }
    document, data = triangle()
    result = await bench.good({"a.glb": glb(document, data)}, settings=settings)
    assert [(warning.code, warning.details["setting"]) for warning in result.warnings] == [
        ("setting-not-applied", "sceneGraphMode"),
        ("setting-not-applied", "vertex.position"),
        ("setting-not-applied", "gammaToLinearVertex"),
    ]
    assert all(str(warning.details["setting"]) in warning.title for warning in result.warnings)


_PLACED = pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        ({}, [0, 0, 0], [1, 2, 1]),
        ({"scaling": 0.5}, [0, 0, 0], [0.5, 1, 0.5]),
        ({"axis": ["+x", "+z", "-y"]}, [0, 0, -2], [1, 1, 0]),
        ({"axis": ["-x", "default", "default"]}, [-1, 0, 0], [0, 2, 1]),
        ({"recenterToOrigin": True}, [-0.5, -1, -0.5], [0.5, 1, 0.5]),
        (
            {"recenterToOrigin": True, "scaling": 2, "axis": ["+y", "-x", "+z"]},
            [-2, -1, -1],
            [2, 1, 1],
        ),
    ],
)


@_PLACED
async def test_scaling_axis_and_recentering_place_the_model(
    bench: Bench, gltf_validate: Validate, settings: dict[str, object], low: list[float], high: list[float]
) -> None:
    result = await bench.good({"a.obj": obj(height=2)}, settings=settings)
    box = result.statistics["boundingBox"]
    assert box["min"] == pytest.approx(low) and box["max"] == pytest.approx(high)
    assert trimesh.load_scene(bench.output / "out.glb").bounds.ravel() == pytest.approx([*low, *high])
    assert gltf_validate(bench.output / "out.glb")["issues"]["numErrors"] == 0


@_PLACED
async def test_they_place_a_passed_through_gltf_too(
    bench: Bench, settings: dict[str, object], low: list[float], high: list[float]
) -> None:
    nodes = [{"name": "only", "mesh": 0, "scale": [1, 2, 1]}, {"mesh": 0, "rotation": [0.5, 0.5, 0.5, 0.5]}]
    document, data = triangle(nodes=nodes, scenes=[{"nodes": [0, 1]}])
    result = await bench.good({"a.glb": glb(document, data)}, settings=settings)
    assert result.statistics["boundingBox"]["min"] == pytest.approx(low, abs=1e-6)
    assert result.statistics["boundingBox"]["max"] == pytest.approx(high, abs=1e-6)
    assert bench.json()["nodes"][:2] == nodes
    offset = result.info["outputStatistics"]["recenteringOffset"]
    assert any(offset) == bool(settings.get("recenterToOrigin"))


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not here")
async def test_skins_and_animations_follow_the_placement(bench: Bench) -> None:
    result = await bench.run(MODELS / "gltf", "quad_skin.glb", settings={"scaling": 10})
    before = (await bench.run(MODELS / "gltf", "quad_skin.glb")).statistics["boundingBox"]["max"]
    assert result.statistics["boundingBox"]["max"] == pytest.approx([10 * value for value in before])


async def test_material_settings_are_written_into_the_materials(bench: Bench) -> None:
    files = {"a.obj": obj("a.mtl"), "a.mtl": mtl()}
    settings = {"opaqueMaterialDefaultSidedness": "SingleSided", "unlitMaterials": True}
    await bench.good(files, settings=settings)
    document = bench.json()
    assert document["materials"][0].get("doubleSided", False) is False
    assert document["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]


async def test_gamma_makes_a_colour_linear(bench: Bench) -> None:
    files = {"a.obj": obj("a.mtl"), "a.mtl": b"newmtl skin\nKd 0.5 0 1\n"}
    await bench.good(files, settings={"gammaToLinearMaterial": True})
    color = bench.json()["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"]
    assert color == pytest.approx([0.214, 0, 1, 1], abs=1e-3)


async def test_equal_materials_become_one_when_asked(bench: Bench) -> None:
    text = (
        b"mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
        b"usemtl a\nf 1 2 3\nusemtl b\nf 1 2 4\nusemtl c\nf 1 3 4\n"
    )
    files = {"a.obj": text, "a.mtl": b"newmtl a\nKd 1 0 0\nnewmtl b\nKd 1 0 0\nnewmtl c\nKd 0 0 1\n"}
    assert (await bench.good(files)).statistics["materials"] == 3
    assert (await bench.good(files, settings={"deduplicateMaterials": True})).statistics["materials"] == 2
    used = [primitive["material"] for mesh in bench.json()["meshes"] for primitive in mesh["primitives"]]
    assert sorted(used) == [0, 0, 1]
