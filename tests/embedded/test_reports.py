"""The JSON files beside an output have the vendor's shapes and names that every file system takes."""

import pytest

from shared.embedded.engine.job import Warning_
from shared.embedded.reports import info_json, info_name, result_json, result_name, short, stem
from shared.embedded.requests import Error

MISSING = Warning_("4004", "Missing texture", {"texture": "skin.png", "material": "skin"})


def test_a_success_is_an_id_and_a_result() -> None:
    assert result_json("1", [], None) == [{"conversionId": "1"}, {"result": "succeeded"}]


def test_warnings_come_before_the_result_that_counts_them() -> None:
    assert result_json("1", [MISSING], None) == [
        {"conversionId": "1"},
        {
            "warning": "4004",
            "title": "Missing texture",
            "details": {"texture": "skin.png", "material": "skin"},
        },
        {"result": "succeeded with warnings"},
    ]


def test_a_corrupt_model_has_the_vendors_number_and_our_message_in_its_details() -> None:
    assert result_json("1", [], Error(code="corrupt-model", message="It ends early."))[1:] == [
        {
            "error": "2007",
            "title": "The input asset is not valid.",
            "details": {"import error": "It ends early."},
        },
        {"result": "failed"},
    ]


def test_any_other_failure_has_our_code_and_message() -> None:
    assert result_json("1", [MISSING], Error(code="too-large", message="Too large."))[2:] == [
        {"error": "too-large", "title": "Too large.", "details": {}},
        {"result": "failed"},
    ]


def test_info_names_the_output_only_where_it_was_asked_for() -> None:
    assert info_json("a.obj", None, {"inputInfo": {}}) == {"files": {"input": "a.obj"}, "inputInfo": {}}
    assert info_json("a.obj", "b.arrAsset", {}) == {"files": {"input": "a.obj", "output": "b.arrAsset"}}


@pytest.mark.parametrize(
    ("model", "expected"),
    [("car.obj", "car"), ("a/b.c/car.v2.OBJ", "car.v2"), ("wheel.prt.12", "wheel.prt"), (".obj", ".obj")],
)
def test_outputs_are_called_as_the_model_without_folder_and_extension(model: str, expected: str) -> None:
    assert stem(model) == expected


def test_a_name_that_no_file_system_takes_is_shortened_and_stays_its_own() -> None:
    long = "模" * 300
    assert len(f"{short(long)}.400x400.result.json".encode()) < 255
    assert short(long) != short(long + "型")
    assert short("車" * 50) == "車" * 50
    assert result_name(f"a/{long}.obj") == f"{short(long)}.result.json"
    assert info_name("car.obj") == "car.info.json"
