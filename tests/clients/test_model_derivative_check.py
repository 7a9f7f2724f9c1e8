"""What the Model Derivative client refuses before it asks, and what may be asked for."""

from collections.abc import Mapping
from typing import Any

import pytest

from shared import model_derivative_formats as table
from shared.clients.model_derivative import AUTODESK, ModelDerivative
from shared.problems import Code, Problem
from tests.clients.designs import CLIENT, SECRET, wanted

VALUES: Mapping[str, list[Any]] = {
    "requestedLinkageIDs": [[], [1, 2]],
    "2dviews": ["legacy", "pdf"],
    "switchLoader": [True, False],
    "conversionMethod": ["legacy", "modern", "v3", "v4"],
    "buildingStoreys": ["hide", "show", "skip"],
    "spaces": ["hide", "show", "skip"],
    "openingElements": ["hide", "show", "skip"],
    "hiddenObjects": [True, False],
    "basicMaterialProperties": [True, False],
    "autodeskMaterialProperties": [True, False],
    "timelinerProperties": [True, False],
    "extractorVersion": ["next", "previous"],
    "generateMasterViews": [True, False],
    "materialMode": ["auto", "basic", "autodesk"],
    "hierarchy": ["Classic", "SystemPath"],
    "width": [100, 200, 400],
    "height": [100, 200, 400],
    "format": ["binary", "ascii"],
    "exportColor": [True, False],
    "exportFileStructure": ["single", "multiple"],
    "applicationProtocol": ["203", "214", "242"],
    "tolerance": [0, 0.001, 1],
    "surfaceType": ["bounded", "trimmed", "wireframe"],
    "sheetType": ["open", "shell", "surface", "wireframe"],
    "solidType": ["solid", "surface", "wireframe"],
    "unit": list(table.UNITS),
    "exportSettingName": ["IFC4 Reference View"],
}
OPTIONS = [
    (kind, name)
    for kind, names in table.ADVANCED.items()
    for name in names
    if name not in ("modelGuid", "objectIds")
]


def autodesk(**more: Any) -> ModelDerivative:
    return ModelDerivative(AUTODESK, CLIENT, SECRET, **more)


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_every_option_of_the_reference_may_have_its_values_and_no_other(kind: str, name: str) -> None:
    for value in VALUES[name]:
        autodesk().check(".ipt", [wanted(kind, **{name: value})], {})
    for value in ("anything", 7, None, {}):
        if name == "exportSettingName" and value == "anything":
            continue
        with pytest.raises(Problem, match=name) as caught:
            autodesk().check(".ipt", [wanted(kind, **{name: value})], {})
        assert caught.value.code is Code.INVALID_SETTINGS


def test_every_type_of_the_reference_may_be_asked_for_of_every_region() -> None:
    formats = [wanted(kind) for kind in table.ADVANCED]
    for region in table.REGIONS:
        autodesk().check(".rvt", formats, {"region": region, "derivativeFormat": "fallback"})


WRONG: list[tuple[str, list[dict[str, Any]], dict[str, Any], str]] = [
    (".ply", [wanted("obj")], {}, "cannot read .ply"),
    (".ipt", [wanted("glb")], {}, "dwg, fbx, ifc, iges, obj, step, stl, svf, svf2, thumbnail"),
    (".ipt", [{"type": "svf2"}], {}, "views"),
    (".ipt", [wanted("obj", color="red")], {}, "'color'"),
    (".ipt", [wanted("obj", objectIds=[2])], {}, "modelGuid"),
    (".ipt", [wanted("obj", modelGuid="g", objectIds=[-2])], {}, "equal or greater than 0"),
    (".ipt", [wanted("obj"), wanted("obj", unit="foot")], {}, "one file"),
    (".ipt", [wanted("thumbnail"), wanted("thumbnail", height=200)], {}, "one file"),
    (".ipt", [wanted("obj")], {"colour": "red"}, "'colour'"),
    (".ipt", [wanted("obj")], {"region": "MARS"}, "EMEA"),
    (".ipt", [wanted("obj")], {"derivativeFormat": "newest"}, "fallback"),
    (".ipt", [wanted("obj")], {"compressedUrn": "yes"}, "compressedUrn"),
    (".ipt", [wanted("obj")], {"checkReferences": 1}, "checkReferences"),
    (".ipt", [wanted("obj")], {"misc": {"workflow": "a_b"}}, "misc.workflow"),
    (".ipt", [wanted("obj")], {"misc": {"workflow": "a" * 37}}, "misc.workflow"),
    (".ipt", [wanted("obj")], {"misc": {"workflowAttribute": {"a": "b" * 1020}}}, "smaller than 1 KB"),
    (".ipt", [wanted("obj")], {"misc": {"flow": "a"}}, "'flow'"),
]


@pytest.mark.parametrize(("extension", "formats", "options", "said"), WRONG)
def test_what_the_service_cannot_do_is_refused_before_it_is_asked(
    extension: str, formats: list[dict[str, Any]], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(Problem) as caught:
        autodesk().check(extension, formats, options)
    assert said in caught.value.message


def test_the_embedded_service_reads_and_makes_what_the_engine_does() -> None:
    autodesk(is_embedded=True).check(".ply", [wanted("glb")], {})
    with pytest.raises(Problem, match="cannot read"):
        autodesk(is_embedded=True).check(".rvt", [wanted("glb")], {})


def test_credentials_do_not_travel_unencrypted() -> None:
    with pytest.raises(Problem, match="https"):
        ModelDerivative("http://elsewhere.test", CLIENT, SECRET).check(".ipt", [wanted("obj")], {})
