import pytest

from shared.embedded.engine.readers import threemf_runs, threemf_xml
from shared.embedded.engine.readers.threemf_runs import Run, pieces
from shared.embedded.engine.readers.threemf_xml import Model
from shared.problems import Problem
from tests.embedded.engine import made

_LINE = "\n      "


def _model(vertices: str, triangles: str, groups: str = "") -> bytes:
    mesh = f"<mesh><vertices>{vertices}</vertices><triangles>{triangles}</triangles></mesh>"
    return made.threemf_model(f'{groups}<object id="1" pid="7" pindex="2">{mesh}</object>', "")


def _vertices(count: int, pattern: str = '<vertex x="{0}" y="-{0}.5" z="{0}e-2" />') -> str:
    return "".join(_LINE + pattern.format(number) for number in range(count)) + _LINE


def _triangles(count: int, more: str = "") -> str:
    pattern = '<triangle v1="{0}" v2="{1}" v3="{2}"{3}/>'
    return _LINE.join(pattern.format(n, n + 1, n + 2, more.format(n % 5, n % 3)) for n in range(count))


def _runs(content: bytes) -> int:
    return sum(isinstance(piece, Run) for piece in pieces(content))


def _one_by_one(content: bytes) -> Model:
    """The model as it is read without runs: a comment says that anything may come."""
    slow = content.replace(b"<build>", b"<!-- --><build>")
    assert _runs(slow) == 0
    return threemf_xml.parse(slow)


_PAINTED = ' pid="{0}" p1="{1}" p2="4" p3="99999999999999999999"'


@pytest.mark.parametrize("block", [500, 2**19])
@pytest.mark.parametrize("more", ["", _PAINTED, ' p1="{1}"', ' pid="{0}"', ' p1="{0}" p2="{1}"', ' p2="3"'])
def test_a_run_is_read_as_its_elements_are(block: int, more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threemf_runs, "_BLOCK", block)
    group = '<m:texture2dgroup id="7" texid="2">' + '<m:tex2coord u="0.25" v="-1" />' * 50
    content = _model(_vertices(100), _triangles(98, more), group + "</m:texture2dgroup>")
    assert _runs(content) >= 3
    fast, slow = threemf_xml.parse(content), _one_by_one(content)
    one, other = fast.objects["1"], slow.objects["1"]
    assert len(one.vertices) == 100 and len(one.triangles) == 98
    for name in ("vertices", "triangles", "properties"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert [one.groups[index] for index in one.group] == [other.groups[index] for index in other.group]
    assert repr(fast.groups) == repr(slow.groups)


def test_elements_that_differ_are_read_one_by_one_between_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threemf_runs, "_BLOCK", 300)
    triangles = _triangles(20) + _triangles(1, ' pid="3" p1="1"') + _triangles(20, ' pid="4" p1="{1}"')
    vertices = _vertices(20) + '<vertex z="3" y="2" x="1"/>' + "<vertex x='4' y='5' z='6'/>" + _vertices(2)
    content = _model(vertices, triangles)
    assert _runs(content) > 4
    fast, slow = threemf_xml.parse(content).objects["1"], _one_by_one(content).objects["1"]
    assert fast.vertices.tolist() == slow.vertices.tolist()
    assert fast.vertices[20:22].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert [fast.groups[index] for index in fast.group] == ["7"] * 20 + ["3"] + ["4"] * 20
    assert fast.properties.tolist() == slow.properties.tolist()


@pytest.mark.parametrize(
    "odd",
    [
        '<vertex x="1" z="2" y="3" />',
        '<vertex x="1" y="2" z="3" w="4"/>',
        '<vertex  x="1" y="2" z="3" />',
        '<vertex x="1" y="2" z="&#51;" />',
        '<other x="1" y="2" z="3" />',
        '<vertex x="1" y="2" z="3"></vertex>',
    ],
)
def test_an_element_unlike_the_others_is_noticed_wherever_it_stands(odd: str) -> None:
    for vertices in (odd + _vertices(3), _vertices(3) + odd, _vertices(2) + odd + _vertices(2)):
        content = _model(vertices, "")
        fast, slow = threemf_xml.parse(content).objects["1"], _one_by_one(content).objects["1"]
        assert fast.vertices.tolist() == slow.vertices.tolist()


def test_a_prefix_is_the_writers_choice() -> None:
    content = _model(_vertices(5), _triangles(3))
    for name in (b"vertices", b"vertex", b"triangles", b"triangle"):
        for mark in (b"<", b"</"):
            content = content.replace(mark + name + b" ", mark + b"c:" + name + b" ")
            content = content.replace(mark + name + b">", mark + b"c:" + name + b">")
    assert _runs(content) == 2
    assert len(threemf_xml.parse(content).objects["1"].triangles) == 3


@pytest.mark.parametrize(
    "vertices",
    [
        _vertices(3, '<vertex x="{0}" y="1,5" z="0" />'),
        _vertices(3, '<vertex x="{0}" y="1" />'),
        _vertices(3, '<vertex x="{0}" y="" z="1 2" />'),
        _vertices(3, '<vertex x="{0}" x="1" y="1" z="2" />'),
        _vertices(3, '<vertex x="{0}" y="1" z="2">'),
        _vertices(3).replace('" />', '"'),
    ],
)
def test_what_is_wrong_in_a_run_is_refused(vertices: str) -> None:
    with pytest.raises(Problem) as found:
        threemf_xml.parse(_model(vertices, ""))
    assert found.value.code == "corrupt-model"


def test_a_run_that_never_ends_is_broken_xml() -> None:
    with pytest.raises(Problem, match="XML of the 3MF is broken"):
        threemf_xml.parse(_model(_vertices(50), "")[:-200])
