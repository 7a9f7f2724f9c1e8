"""The mutation check can still be made: every guard is where its row says, and so are its tests."""

import ast
from pathlib import Path

import pytest

from local.places import ROOT
from tests.faults.guard import Edit, Guard, Lost
from tests.faults.guards import GUARDS
from tests.faults.mutations import main

CODE = "def least(a: int, b: int) -> int:\n    return a if a < b else b\n"
GOOD = "from whole import least\n\ndef test_the_least():\n    assert least(2, 1) == least(1, 2) == 1\n"


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.id)
def test_a_guard_can_be_removed_and_what_is_left_compiles(guard: Guard, tmp_path: Path) -> None:
    for edit in guard.edits:
        (tmp_path / edit.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / edit.file).write_text((ROOT / edit.file).read_text(encoding="utf-8"), encoding="utf-8")
    guard.remove(tmp_path)
    for file in {edit.file for edit in guard.edits}:
        left = (tmp_path / file).read_text(encoding="utf-8")
        assert left != (ROOT / file).read_text(encoding="utf-8")
        compile(left, file, "exec")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.id)
def test_the_tests_that_ought_to_notice_are_there(guard: Guard) -> None:
    assert guard.tests
    for test in guard.tests:
        file, _, name = test.partition("::")
        code = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        names = {node.name for node in code.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not name or name.partition("[")[0] in names, test


def test_every_guard_has_an_id_of_its_own() -> None:
    ids = [guard.id for guard in GUARDS]
    assert len(set(ids)) == len(ids)


def test_the_published_table_has_every_guard_in_its_order() -> None:
    lines = (ROOT / "docs" / "mutations.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    told = [row for row in rows if row[0] != "guard"]
    assert [row[:3] for row in told] == [[guard.id, guard.rule, guard.removed] for guard in GUARDS]
    assert not [row for row in told if "none" in row[3]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one function, and a test that is whole."""
    (tmp_path / "whole.py").write_text(CODE)
    (tmp_path / "test_code.py").write_text(GOOD)
    return tmp_path


def guard(text: str, by: str) -> Guard:
    return Guard("least", "R0", "Something.", (Edit("whole.py", text, by),), ("test_code.py",))


def test_a_guard_that_is_missed_is_told_with_the_first_red_test(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["least"], [guard("a < b", "a > b")], project) == 0
    assert "| least | R0 | Something. | `test_code.py::test_the_least` |" in capsys.readouterr().out
    assert (project / "whole.py").read_text() == CODE


@pytest.mark.parametrize(
    ("text", "by", "said"),
    [
        pytest.param("a < b", "a <= b", "nothing noticed", id="nobody misses it"),
        pytest.param("a <", "<", "SyntaxError", id="the tests do not run"),
        pytest.param("min(a, b)", "a", "has 0 times", id="it is not there any more"),
        pytest.param("int", "str", "has 3 times", id="it is there more than once"),
    ],
)
def test_a_guard_that_nothing_is_known_of_is_no_success(
    project: Path, capsys: pytest.CaptureFixture[str], text: str, by: str, said: str
) -> None:
    assert main([], [guard(text, by)], project) == 1
    told = capsys.readouterr()
    assert said in told.err
    assert "**none**" in told.out


def test_red_tests_say_nothing_if_they_are_red_anyway(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "test_code.py").write_text(GOOD.replace("== 1", "== 2"))
    assert main([], [guard("a < b", "a > b")], project) == 1
    told = capsys.readouterr()
    assert "Not green with every guard in place" in told.err
    assert told.out == ""


def test_an_edit_names_the_file_that_lost_its_text(project: Path) -> None:
    with pytest.raises(Lost, match=r"whole\.py has 0 times"):
        guard("nothing", "").remove(project)
