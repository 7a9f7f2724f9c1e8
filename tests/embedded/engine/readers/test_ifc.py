import pytest

from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench


async def test_a_wall_stands_on_its_storey_in_metres_and_y_up(bench: Bench) -> None:
    result = await bench.good({"a.ifc": made.ifc()})
    assert (result.statistics["triangles"], result.statistics["sourceUnit"]) == (12, "mm")
    box = result.statistics["boundingBox"]
    assert (*box["min"], *box["max"]) == pytest.approx((-2, 0, -0.1, 2, 3, 0.1))
    nodes = bench.json()["nodes"]
    by_name = {node.get("name"): node for node in nodes}
    assert nodes[by_name["Ground"]["children"][0]]["name"] == "Front wall"


async def test_a_room_is_air_and_not_drawn(bench: Bench) -> None:
    await bench.good({"a.ifc": made.ifc()})
    assert "Room" not in {node.get("name") for node in bench.json()["nodes"]}


async def test_type_identity_and_properties_are_kept(bench: Bench) -> None:
    await bench.good({"a.ifc": made.ifc()})
    extras = next(node["extras"] for node in bench.json()["nodes"] if node.get("name") == "Front wall")
    assert (extras["ifcType"], extras["GlobalId"]) == ("IfcWall", "3YvctVUKr0kugbFTf53O9L")
    assert extras["propertySets"] == {"Pset_WallCommon": {"FireRating": "F90"}}


async def test_a_file_without_geometry_fails_although_the_library_is_content(bench: Bench) -> None:
    data = made.ifc().replace(b"IFCEXTRUDEDAREASOLID", b"IFCFANTASY")
    result = await bench.convert({"a.ifc": data})
    assert result.error is not None and "no geometry" in result.error.message


async def test_a_model_far_from_the_origin_keeps_its_millimetres(bench: Bench) -> None:
    far = b"#23=IFCCARTESIANPOINT((5000000000.,4000000000.,0.));\n#24=IFCAXIS2PLACEMENT3D(#23,$,$);\n"
    far += b"ENDSEC;\nEND-"
    data = (
        made.ifc().replace(b"LOCALPLACEMENT($,#6)", b"LOCALPLACEMENT($,#24)").replace(b"ENDSEC;\nEND-", far)
    )
    result = await bench.good({"a.ifc": data})
    box = result.statistics["boundingBox"]
    assert box["max"][2] - box["min"][2] == pytest.approx(0.2, abs=1e-3)
