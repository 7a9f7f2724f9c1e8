"""Models are told from everything else that lands beside them."""

import pytest

from shared import formats
from shared.embedded.engine.formats import READS as ENGINE_READS
from shared.embedded.engine.formats import check_output


@pytest.mark.parametrize(
    "path",
    ["car.obj", "CAR.OBJ", "a/b/car.Stl", "car.v2.step", "x/car.glb", "site.rvt", "pack.ZIP", "wheel.prt.12",
     "a b#?%.ply", "frame.iam", "drawing.dwg"],
)  # fmt: skip
def test_a_file_that_some_service_reads_is_a_model(path: str) -> None:
    assert formats.is_model(path)


@pytest.mark.parametrize(
    "path",
    ["car.mtl", "wood.PNG", "car.bin", "readme.txt", "car", "car.obj.conversion.json", "conversion.json",
     "car.ConversionSettings.json", "car.obj/notes", "._car.obj", "__MACOSX/car.obj", "car.obj.", "",
     "a/.obj"],
)  # fmt: skip
def test_companions_settings_and_unknown_files_are_no_models(path: str) -> None:
    assert not formats.is_model(path)


@pytest.mark.parametrize("path", ["car.mtl", "a/wood.JPEG", "car.bin", "sky.ktx2"])
def test_companions_are_known(path: str) -> None:
    assert formats.is_companion(path)
    assert not formats.is_model(path)


def test_a_model_is_never_taken_for_a_companion() -> None:
    assert not formats.COMPANIONS & frozenset[str]().union(*formats.READS.values())


@pytest.mark.parametrize(
    ("path", "expected"),
    [("A/Car.OBJ", ".obj"), ("wheel.prt.3", ".prt"), ("wheel.ASM.3", ".asm"), ("v.3", ".3"), ("car", ""),
     ("a.b/c", "")],
)  # fmt: skip
def test_the_extension_tells_the_format(path: str, expected: str) -> None:
    assert formats.extension(path) == expected


def test_remote_rendering_reads_what_the_engine_reads_and_zips_of_it() -> None:
    assert formats.READS["remote-rendering"] == {*ENGINE_READS, ".zip"}


@pytest.mark.parametrize(
    ("extension", "services"),
    [
        (".obj", ("remote-rendering", "model-derivative", "api2convert")),
        (".RVT", ("model-derivative",)),
        (".ply", ("remote-rendering", "api2convert")),
        (".txt", ()),
    ],
)
def test_a_format_names_the_services_that_read_it(extension: str, services: tuple[str, ...]) -> None:
    assert formats.services_that_read(extension) == services


def test_every_service_has_default_formats_and_the_engine_makes_those_of_the_default_service() -> None:
    assert formats.DEFAULT_FORMATS.keys() == formats.READS.keys()
    for wanted in formats.DEFAULT_FORMATS["remote-rendering"]:
        check_output(wanted["type"], wanted.get("advanced", {}))


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("a/car.obj.conversion.json", "a/car.obj"),
        ("a/Car.OBJ.Conversion.json", "a/Car.OBJ"),
        ("a/conversion.json", None),
        (".conversion.json", None),
        ("notes.txt.conversion.json", None),
        ("car.obj", None),
        ("car.ConversionSettings.json", None),
    ],
)
def test_a_sidecar_leads_to_its_model(path: str, model: str | None) -> None:
    assert formats.model_of_sidecar(path) == model
