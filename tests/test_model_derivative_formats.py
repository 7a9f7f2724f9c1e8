"""The job's body against every row of its reference: what is right passes, what is wrong is refused."""

import base64
from pathlib import Path
from typing import Any

import pytest

from shared import model_derivative_formats as seed
from shared.problems import Code, Problem

SOURCE = "urn:adsk.objects:os.object:modelderivative/A5.zip"
URN = base64.urlsafe_b64encode(SOURCE.encode()).decode().rstrip("=")
GUID = "4f981e94-8241-4eaf-b08b-cd337c6b8b1f"


def body(*formats: Any, **changes: Any) -> dict[str, Any]:
    return {"input": {"urn": URN}, "output": {"formats": list(formats) or [{"type": "stl"}]}, **changes}


def refused(value: object, region: str | None = None) -> str:
    """Why the body is refused."""
    with pytest.raises(Problem) as problem:
        seed.check(value, region)
    assert problem.value.code == Code.INVALID_SETTINGS
    return problem.value.message


def test_the_printed_urns_stand_for_their_objects() -> None:
    assert URN == "dXJuOmFkc2sub2JqZWN0czpvcy5vYmplY3Q6bW9kZWxkZXJpdmF0aXZlL0E1LnppcA"
    padded = "dXJuOmFkc2sub2JqZWN0czpvcy5vYmplY3Q6anBfZW1lYV9idWNrZXQvYm94LmlwdA=="
    order = seed.check(body() | {"input": {"urn": padded}}, None)
    assert order.urn == padded.rstrip("=")
    assert order.source == "urn:adsk.objects:os.object:jp_emea_bucket/box.ipt"


@pytest.mark.parametrize(
    "urn",
    [
        "",
        "not base64!",
        base64.b64encode(b"urn:adsk.objects:os.object:a/\xfb\xff\xbf").decode(),
        base64.urlsafe_b64encode(b"urn:adsk.objects:os.object:a/\xff").decode(),
        base64.urlsafe_b64encode(b"https://somewhere/else").decode(),
        SOURCE,
        URN[:-1],
        7,
        None,
    ],
)
def test_a_urn_that_is_none_is_refused(urn: object) -> None:
    assert "urn" in refused(body() | {"input": {"urn": urn}}).lower()


# Each row: an option of an output type, values that are right, values that are wrong.
ROWS: list[tuple[str, str, list[Any], list[Any]]] = [
    ("svf", "requestedLinkageIDs", [[], [1, 2]], ["1", [1.5], ["1"], [True], None]),
    ("svf", "2dviews", ["legacy", "pdf"], ["PDF", "", None, 1]),
    ("svf2", "switchLoader", [True, False], ["true", 1, 0, None]),
    ("svf2", "conversionMethod", ["legacy", "modern", "v3", "v4"], ["v5", "V3", None]),
    ("svf2", "buildingStoreys", ["hide", "show", "skip"], ["Hide", True, None]),
    ("svf2", "spaces", ["hide", "show", "skip"], ["none", None]),
    ("svf2", "openingElements", ["hide", "show", "skip"], ["none", None]),
    ("svf2", "hiddenObjects", [True, False], ["false", 0]),
    ("svf2", "basicMaterialProperties", [True, False], ["false", 0]),
    ("svf2", "autodeskMaterialProperties", [True, False], ["false", 0]),
    ("svf2", "timelinerProperties", [True, False], ["false", 0]),
    ("svf", "extractorVersion", ["next", "previous"], ["current", "", None]),
    ("svf", "generateMasterViews", [True, False], ["true", 1]),
    ("svf", "materialMode", ["auto", "basic", "autodesk"], ["Auto", None]),
    ("svf", "hierarchy", ["Classic", "SystemPath"], ["classic", "systempath", None]),
    ("thumbnail", "width", [100, 200, 400], [300, "100", 100.0, True, None]),
    ("thumbnail", "height", [100, 200, 400], [0, "100", -100, None]),
    ("stl", "format", ["binary", "ascii"], ["ASCII", "text", None]),
    ("stl", "exportColor", [True, False], ["true", 1, None]),
    ("stl", "exportFileStructure", ["single", "multiple"], ["many", None]),
    ("step", "applicationProtocol", ["203", "214", "242"], [214, "215", None]),
    ("step", "tolerance", [0, 0.001, 1, 1.0], [-0.1, 1.1, "0.1", True, None]),
    ("iges", "tolerance", [0, 0.5, 1], [-1, 2, "0", None]),
    ("iges", "surfaceType", ["bounded", "trimmed", "wireframe"], ["solid", None]),
    ("iges", "sheetType", ["open", "shell", "surface", "wireframe"], ["bounded", None]),
    ("iges", "solidType", ["solid", "surface", "wireframe"], ["shell", None]),
    ("obj", "exportFileStructure", ["single", "multiple"], ["", None]),
    ("obj", "unit", list(seed.UNITS), ["metre", "mm", "Meter", "", None]),
    ("dwg", "exportSettingName", ["", "any name"], [1, None]),
    ("ifc", "exportSettingName", ["IFC4 Reference View"], [True, None]),
]


def entry(kind: str, advanced: dict[str, Any]) -> dict[str, Any]:
    views = {"views": ["3d"]} if kind.startswith("svf") else {}
    return {"type": kind, **views, "advanced": advanced}


def test_every_option_of_the_reference_has_a_row() -> None:
    rows = {(("svf" if kind == "svf2" else kind), name) for kind, name, _, _ in ROWS}
    known = {
        ("svf" if kind == "svf2" else kind, name)
        for kind, options in seed.ADVANCED.items()
        for name in options
    }
    assert known - rows == {("obj", "modelGuid"), ("obj", "objectIds")}


@pytest.mark.parametrize(("kind", "name", "right", "wrong"), ROWS, ids=lambda value: str(value)[:30])
def test_an_option_takes_the_values_of_the_reference_only(
    kind: str, name: str, right: list[Any], wrong: list[Any]
) -> None:
    for value in right:
        (checked,) = seed.check(body(entry(kind, {name: value})), None).formats
        assert checked.advanced == {name: value}
    for value in wrong:
        message = refused(body(entry(kind, {name: value})))
        assert f"'output.formats[0].advanced.{name}' must be " in message


def test_the_units_are_the_references() -> None:
    assert len(seed.UNITS) == 11
    assert {"yard", "foot", "inch", "mil", "microinch"} < set(seed.UNITS)


@pytest.mark.parametrize("kind", sorted(seed.ADVANCED))
def test_an_option_that_a_type_does_not_have_is_refused(kind: str) -> None:
    assert "'zoom'" in refused(body(entry(kind, {"zoom": 1})))
    # The SDK's types nest the options twice; the reference does not.
    assert "'advanced'" in refused(body(entry(kind, {"advanced": {}})))


def test_an_option_of_another_type_is_refused() -> None:
    assert "'applicationProtocol'" in refused(body(entry("stl", {"applicationProtocol": "214"})))


@pytest.mark.parametrize("views", [[], ["4d"], "3d", ["3d", 2], None, [["3d"]]])
@pytest.mark.parametrize("kind", ["svf", "svf2"])
def test_views_are_2d_and_3d(kind: str, views: object) -> None:
    assert "views" in refused(body({"type": kind, "views": views}))


def test_views_are_required_for_viewables_and_refused_elsewhere() -> None:
    for kind in ("svf", "svf2"):
        assert "views" in refused(body({"type": kind}))
        for views in (["2d"], ["3d"], ["2d", "3d"]):
            assert seed.check(body({"type": kind, "views": views}), None)
    assert "views" in refused(body({"type": "stl", "views": ["3d"]}))


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([-2], seed.BAD_OBJECT_IDS),
        ([3, -5, -1], seed.BAD_OBJECT_IDS),
        ([-1, 2], "-1"),
        ([], "empty"),
        ("2", "a list of integers"),
        ([True], "a list of integers"),
        ([2.0], "a list of integers"),
    ],
)
def test_object_ids_that_cannot_be_are_refused(ids: object, said: str) -> None:
    message = refused(body(entry("obj", {"modelGuid": GUID, "objectIds": ids})))
    assert said in message


def test_the_words_for_negative_ids_are_the_references() -> None:
    assert seed.BAD_OBJECT_IDS == (
        "The values of 'objectIds' should be equal or greater than 0. "
        "You can also set the value as [-1] for getting the whole model."
    )


@pytest.mark.parametrize("ids", [[-1], [0], [2, 3, 4]])
def test_object_ids_with_their_guid_are_accepted(ids: list[int]) -> None:
    (one,) = seed.check(body(entry("obj", {"modelGuid": GUID, "objectIds": ids})), None).formats
    assert (one.model_guid, one.object_ids) == (GUID, tuple(ids))


@pytest.mark.parametrize("advanced", [{"modelGuid": GUID}, {"objectIds": [2]}])
def test_a_guid_and_ids_need_each_other(advanced: dict[str, Any]) -> None:
    assert "needs" in refused(body(entry("obj", advanced)))


@pytest.mark.parametrize("kind", ["svg", "", "STL", 7, None, ["stl"]])
def test_a_type_that_nobody_has_is_refused(kind: object) -> None:
    assert "type" in refused(body({"type": kind}))


def test_types_of_the_reference_and_of_the_engine_are_known() -> None:
    for kind in ("dwg", "fbx", "ifc", "iges", "obj", "step", "stl", "thumbnail", "glb"):
        assert seed.check(body({"type": kind}), None).formats[0].type == kind
    assert "zoom" in refused(body({"type": "glb", "advanced": {"zoom": 1}}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"compressedUrn": True}, "'input.rootFilename' is mandatory"),
        ({"compressedUrn": "true", "rootFilename": "a"}, "input.compressedUrn"),
        ({"compressedUrn": 1}, "input.compressedUrn"),
        ({"rootFilename": ""}, "input.rootFilename"),
        ({"rootFilename": 3}, "input.rootFilename"),
        ({"checkReferences": "yes"}, "input.checkReferences"),
        ({"zip": True}, "'zip'"),
    ],
)
def test_the_inputs_other_attributes_are_checked(given: dict[str, Any], said: str) -> None:
    assert said in refused(body() | {"input": {"urn": URN, **given}})


def test_the_inputs_attributes_arrive() -> None:
    given = {"urn": URN, "compressedUrn": True, "rootFilename": "A5.iam", "checkReferences": True}
    order = seed.check(body() | {"input": given}, None)
    assert (order.compressed, order.root, order.check_references) == (True, "A5.iam", True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "{}",
        {},
        {"input": {"urn": URN}},
        {"output": {"formats": [{"type": "stl"}]}},
        body() | {"output": {}},
        body() | {"output": {"formats": []}},
        body() | {"output": {"formats": {"type": "stl"}}},
        body() | {"output": {"formats": ["stl"]}},
        body() | {"output": {"formats": [{"type": "stl"}] * 51}},
        body() | {"output": {"formats": [{"type": "stl", "advanced": []}]}},
        body() | {"input": []},
        body() | {"extra": 1},
    ],
)
def test_a_body_of_another_shape_is_refused(value: object) -> None:
    refused(value)


@pytest.mark.parametrize("region", ["US", "EMEA", "AUS", "CAN", "DEU", "IND", "JPN", "GBR"])
def test_every_region_is_known(region: str) -> None:
    assert seed.check_region(region.lower(), "region") == region


def test_the_header_wins_over_the_bodys_region() -> None:
    emea = body(output={"destination": {"region": "emea"}, "formats": [{"type": "stl"}]})
    assert seed.check(emea, None).region == "EMEA"
    assert seed.check(emea, "US").region == "US"
    assert seed.check(body(), None).region == "US"


@pytest.mark.parametrize("region", ["APAC", "", "moon", 7])
def test_an_unknown_region_is_refused(region: object) -> None:
    where = body(output={"destination": {"region": region}, "formats": [{"type": "stl"}]})
    assert "output.destination.region" in refused(where)


@pytest.mark.parametrize("workflow", ["", "x" * 37, "a b", "ä", "a_b", 7, None])
def test_a_workflow_is_letters_digits_and_hyphens(workflow: object) -> None:
    assert "misc.workflow" in refused(body(misc={"workflow": workflow}))


def test_a_workflow_and_its_attribute_arrive() -> None:
    order = seed.check(body(misc={"workflow": "a-1" * 12, "workflowAttribute": {"a": {"b": 1}}}), None)
    assert (order.workflow, order.attribute, order.notes) == ("a-1" * 12, {"a": {"b": 1}}, ())


def test_an_attribute_is_an_object_below_one_kilobyte() -> None:
    assert "JSON object" in refused(body(misc={"workflow": "w", "workflowAttribute": [1]}))
    largest = {"a": "x" * (1023 - len('{"a":""}'))}
    assert seed.check(body(misc={"workflow": "w", "workflowAttribute": largest}), None).attribute == largest
    larger = {"a": largest["a"] + "x"}
    assert "1 KB" in refused(body(misc={"workflow": "w", "workflowAttribute": larger}))


def test_an_attribute_without_a_workflow_is_ignored_with_a_note() -> None:
    order = seed.check(body(misc={"workflowAttribute": {"a": 1}}), None)
    assert order.attribute is None
    assert "ignored" in order.notes[0]


def test_every_row_of_the_reference_is_in_the_documents_table() -> None:
    document = (Path(__file__).parents[1] / "docs" / "model-derivative.md").read_text(encoding="utf-8")
    told = [line for line in document.splitlines() if line.startswith("| ")]

    def has(*words: str) -> bool:
        return any(all(f"`{word}`" in line for word in words) for line in told)

    attributes = ["urn", "compressedUrn", "rootFilename", "checkReferences"]
    for name in (
        *("Authorization", "Content-Type", "region", "x-ads-force", "x-ads-derivative-format"),
        *("input", *(f"input.{one}" for one in attributes), "output", "output.destination"),
        *("output.destination.region", "output.formats", "output.formats[].type"),
        *("misc", "misc.workflow", "misc.workflowAttribute", "views", *seed.ADVANCED),
        *("result", "urn", "diagnostics", *seed.REGIONS, *seed.UNITS),
    ):
        assert has(name), name
    for kind, name, right, _ in ROWS:
        values = [value for value in right if isinstance(value, str) and " " not in value and value]
        assert has(name, *(values if kind not in ("dwg", "ifc") else ())), name
    for status in (200, 201, 400, 401, 403, 404, 406, 409, 429, 500):
        assert any(line.startswith(f"| {status} |") for line in told), status
