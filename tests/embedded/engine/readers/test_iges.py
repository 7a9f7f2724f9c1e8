import pytest

from shared.embedded.engine.readers.iges import _parameters
from tests.embedded.engine import made
from tests.embedded.engine.conftest import Bench


async def test_millimetres_become_metres_as_in_a_step_of_the_same_box(bench: Bench) -> None:
    boxes = []
    for name in ("box.igs", "box.stp"):
        result = await bench.good({name: (made.DATA / name).read_bytes()})
        assert (result.statistics["triangles"], result.statistics["sourceUnit"]) == (12, "mm")
        boxes.append(result.statistics["boundingBox"]["max"])
    assert boxes[0] == pytest.approx([0.01, 0.02, 0.03], abs=1e-6)
    assert boxes[1] == pytest.approx(boxes[0], abs=1e-6)


async def test_what_is_no_iges_is_said_to_be_none(bench: Bench) -> None:
    result = await bench.convert({"a.iges": b"hello " * 100})
    assert result.error is not None and "80 characters" in result.error.message


@pytest.mark.parametrize(
    ("section", "unit"),
    [
        (",,4HA,B;,1H.,1Hx,1Hy,32,308,15,308,15,,1.,6,1HM,1,", "6"),
        ("1H//1H;/3Ha/b/x/x/x/x/x/x/x/x/x/1.0/2/", "2"),
        ("", None),
        ("9999999HA", None),
    ],
)
def test_the_unit_is_the_fourteenth_parameter_whatever_the_separator(section: str, unit: str | None) -> None:
    found = _parameters(section)
    assert (found[13] if len(found) > 13 else None) == unit
