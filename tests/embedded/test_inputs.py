"""The worker fetches a model with what it refers to, and nothing that it should not."""

import io
import json
import stat
import struct
import zipfile

import pytest

from local.azurite import Azurite
from shared.embedded.converter import Converter
from shared.embedded.requests import State
from tests.embedded.bundle import Bundle, start
from tests.embedded.models import gltf, mtl, obj, packed, png, read_glb
from tests.embedded.running import NeverCalled, code, convert, failed, report


async def test_the_companions_of_a_model_are_found_in_another_case_and_under_an_authors_path(
    bundle: Bundle, converter: Converter
) -> None:
    await bundle.upload("Box.OBJ", obj("BOX.mtl"))
    await bundle.upload("box.MTL", mtl("C:\\Users\\me\\Textures\\Skin.PNG"))
    await bundle.upload("textures/skin.png", png())
    record = await convert(bundle, converter, "Box.OBJ")
    assert record.result is not None
    assert record.result["warnings"] == []
    assert len(read_glb(await bundle.result("out/box.glb") or b"")["images"]) == 1


async def test_a_material_in_another_folder_names_its_textures_from_there(
    bundle: Bundle, converter: Converter
) -> None:
    await bundle.upload("box.obj", obj("materials/box.mtl"))
    await bundle.upload("materials/box.mtl", mtl("skin.png"))
    await bundle.upload("materials/skin.png", png())
    await convert(bundle, converter, "box.obj")
    assert len(read_glb(await bundle.result("out/box.glb") or b"")["images"]) == 1


async def test_files_that_are_listed_lie_where_the_list_says_and_nothing_else_does(
    bundle: Bundle, converter: Converter
) -> None:
    await bundle.upload("in/objects/1", obj("box.mtl"))
    await bundle.upload("in/objects/2", mtl("textures/skin.png"))
    await bundle.upload("in/objects/3", png())
    await bundle.upload("in/textures/skin.png", b"not this one")
    files = {"Box.OBJ": "objects/1", "box.mtl": "objects/2", "Textures/skin.png": "objects/3"}
    record = await convert(bundle, converter, "Box.OBJ", source=bundle.source("in/"), files=files)
    assert record.result is not None
    assert record.result["warnings"] == []
    assert len(read_glb(await bundle.result("out/box.glb") or b"")["images"]) == 1


async def test_a_listed_model_that_is_gone_is_told_as_such(bundle: Bundle) -> None:
    await bundle.upload("objects/12", obj())
    record = await convert(bundle, NeverCalled(), "box.obj", files={"box.obj": "objects/1"})
    assert code(record) == "source-deleted"


async def test_a_missing_texture_is_a_warning(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.obj", obj("box.mtl"))
    await bundle.upload("box.mtl", mtl("skin.png"))
    record = await convert(bundle, converter, "box.obj")
    assert record.state is State.SUCCEEDED
    entries = await report(bundle)
    assert entries[1]["warning"] == "4004"
    assert "skin.png" in json.dumps(entries[1]["details"])
    assert entries[-1] == {"result": "succeeded with warnings"}


async def test_a_missing_buffer_fails_the_conversion_and_is_named(bundle: Bundle) -> None:
    document, _ = gltf("data/points.bin")
    await bundle.upload("box.gltf", document)
    record = await convert(bundle, NeverCalled(), "box.gltf")
    assert code(record) == "missing-companion"
    assert record.error is not None
    assert "data/points.bin" in record.error.message


async def test_a_buffer_beside_its_gltf_is_brought(bundle: Bundle, converter: Converter) -> None:
    document, points = gltf("data/the%20points.bin")
    await bundle.upload("box.gltf", document)
    await bundle.upload("data/the points.bin", points)
    assert (await convert(bundle, converter, "box.gltf")).state is State.SUCCEEDED


async def test_a_zip_is_unpacked_and_its_one_model_converted(bundle: Bundle, converter: Converter) -> None:
    files = {"car/box.obj": obj("box.mtl"), "car/box.mtl": mtl("skin.png"), "car/skin.png": png()}
    await bundle.upload("box.zip", packed(files))
    record = await convert(bundle, converter, "box.zip")
    assert record.state is State.SUCCEEDED
    assert len(read_glb(await bundle.result("out/box.glb") or b"")["images"]) == 1


async def test_a_zip_with_two_models_needs_to_know_which(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.zip", packed({"a.obj": obj(), "b.obj": obj(height=7)}))
    refused = await convert(bundle, converter, "box.zip")
    assert code(refused) == "invalid-settings"
    assert refused.error is not None
    assert "a.obj" in refused.error.message
    record, _ = await bundle.requests.accept(
        refused.request.model_copy(
            update={"id": "two", "root": "b.obj", "source": bundle.source(), "target": bundle.target()}
        )
    )
    await bundle.worker(converter).run(record.request.key, "m")
    ended = await bundle.record(record.request.key)
    assert ended.result is not None
    assert ended.result["statistics"]["boundingBox"]["max"][1] == 7


@pytest.mark.parametrize("name", ["box.ConversionSettings.json", "conversionSettings.json"])
async def test_conversion_settings_beside_the_model_are_applied(
    bundle: Bundle, converter: Converter, name: str
) -> None:
    await bundle.upload("in/box.obj", obj())
    await bundle.upload(f"in/{name}", b'\xef\xbb\xbf{"scaling": 3}')
    record = await convert(bundle, converter, "box.obj", source=bundle.source("in/"))
    assert record.result is not None
    assert record.result["statistics"]["boundingBox"]["max"] == [3, 3, 3]


async def test_the_models_own_settings_win(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.obj", obj())
    await bundle.upload("box.ConversionSettings.json", b'{"scaling": 3}')
    await bundle.upload("ConversionSettings.json", b'{"scaling": 5}')
    record = await convert(bundle, converter, "box.obj")
    assert record.result is not None
    assert record.result["statistics"]["boundingBox"]["max"] == [3, 3, 3]


@pytest.mark.parametrize(
    ("content", "said"), [(b"{", "box.ConversionSettings.json"), (b"[]", "box"), (b'{"axis": 1}', "axis")]
)
async def test_wrong_settings_fail_the_conversion_by_name(
    bundle: Bundle, converter: Converter, content: bytes, said: str
) -> None:
    await bundle.upload("box.obj", obj())
    await bundle.upload("box.ConversionSettings.json", content)
    record = await convert(bundle, converter, "box.obj")
    assert code(record) == "invalid-settings"
    assert record.error is not None
    assert said in record.error.message


async def test_material_overrides_are_not_ignored_in_silence(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("box.obj", obj())
    await bundle.upload("box.MaterialOverrides.json", b"[]")
    record = await convert(bundle, converter, "box.obj")
    assert record.result is not None
    assert [warning["code"] for warning in record.result["warnings"]] == ["overrides-ignored"]


async def test_too_large_is_said_before_anything_is_fetched(azurite: Azurite) -> None:
    async with start(azurite, engine_input_mb=1) as bundle:
        await bundle.upload("box.obj", b"#" * 1_100_000)
        reason, message = await failed(bundle, NeverCalled(), "box.obj")
    assert reason == "too-large"
    assert "1.0 MiB" in message


@pytest.mark.parametrize(
    ("size", "free", "reason"),
    [(1_100_000, 10**9, "too-large"), (0, 10**9, "empty"), (150, 100, "too-large")],
)
async def test_a_model_that_is_not_listed_is_measured_as_it_comes(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch, size: int, free: int, reason: str
) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr("shared.embedded.inputs.shutil.disk_usage", lambda _: usage)
    async with start(azurite, engine_input_mb=1) as bundle:
        await bundle.upload("objects/1", b"#" * size)
        files = {"box.obj": "objects/1"}
        assert (await failed(bundle, NeverCalled(), "box.obj", files=files))[0] == reason


@pytest.mark.parametrize("more", [{}, {"files": {"box.obj": "box.obj"}}])
async def test_a_model_that_memory_cannot_hold_is_too_large(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch, more: dict[str, dict[str, str]]
) -> None:
    # Settings have no memory so small; in KiB they have.
    monkeypatch.setattr("shared.embedded.inputs._MEBIBYTE", 1024)
    async with start(azurite, engine_memory_mb=256, engine_input_mb=512) as bundle:
        await bundle.upload("box.obj", b"#" * 150 * 1024)
        assert (await failed(bundle, NeverCalled(), "box.obj", **more))[0] == "too-large"


async def test_companions_count_towards_the_limit(azurite: Azurite) -> None:
    async with start(azurite, engine_input_mb=1) as bundle:
        await bundle.upload("box.obj", obj("box.mtl"))
        await bundle.upload("box.mtl", mtl() + b"#" * 1_048_500)
        assert (await failed(bundle, NeverCalled(), "box.obj"))[0] == "too-large"


async def test_a_zip_counts_unpacked(azurite: Azurite) -> None:
    async with start(azurite, engine_input_mb=1) as bundle:
        await bundle.upload("box.zip", packed({"box.obj": b"#" * 3_000_000}))
        assert (await failed(bundle, NeverCalled(), "box.zip"))[0] == "too-large"


async def test_the_disk_must_have_room_for_model_and_outputs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bundle.upload("box.obj", obj())
    usage = type("Usage", (), {"free": 200})
    monkeypatch.setattr("shared.embedded.inputs.shutil.disk_usage", lambda _: usage)
    assert (await failed(bundle, NeverCalled(), "box.obj"))[0] == "too-large"


@pytest.mark.parametrize(
    "files", [{"../box.obj": obj()}, {"box.obj": obj(), "more.zip": packed({})}, {"readme.txt": b""}]
)
async def test_a_zip_that_is_not_plain_is_refused(bundle: Bundle, files: dict[str, bytes]) -> None:
    await bundle.upload("box.zip", packed(files))
    assert (await failed(bundle, NeverCalled(), "box.zip"))[0] in ("corrupt-model", "unsupported-format")


async def test_a_link_in_a_zip_is_refused(bundle: Bundle) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("box.obj", obj("box.mtl"))
        link = zipfile.ZipInfo("box.mtl")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    await bundle.upload("box.zip", data.getvalue())
    reason, message = await failed(bundle, NeverCalled(), "box.zip")
    assert reason == "corrupt-model"
    assert "box.mtl" in message


async def test_a_zip_that_lies_about_a_size_is_refused_at_that_size(azurite: Azurite) -> None:
    honest = packed({"box.obj": b"#" * 3_000_000})
    lying = honest.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 3_000))
    assert lying != honest
    async with start(azurite, engine_input_mb=1) as bundle:
        await bundle.upload("box.zip", lying)
        assert (await failed(bundle, NeverCalled(), "box.zip"))[0] == "corrupt-model"


async def test_a_reference_never_leaves_the_models_folder(bundle: Bundle, converter: Converter) -> None:
    await bundle.upload("secret.png", png())
    await bundle.upload("in/box.obj", obj("box.mtl"))
    await bundle.upload("in/box.mtl", mtl("../secret.png"))
    await convert(bundle, converter, "in/box.obj")
    assert "images" not in read_glb(await bundle.result("out/box.glb") or b"")


async def test_a_companion_that_no_disk_can_hold_is_a_warning(bundle: Bundle, converter: Converter) -> None:
    name = "x" * 300 + ".png"
    await bundle.upload("box.obj", obj("box.mtl"))
    await bundle.upload("box.mtl", mtl(name))
    await bundle.upload(name, png())
    record = await convert(bundle, converter, "box.obj")
    assert record.state is State.SUCCEEDED
    assert record.result is not None
    assert {warning["code"] for warning in record.result["warnings"]} == {"companion-name", "4004"}


async def test_a_model_with_a_name_of_1000_characters_is_converted(
    bundle: Bundle, converter: Converter
) -> None:
    await bundle.upload("x" * 1000 + ".obj", obj())
    record = await convert(bundle, converter, "x" * 1000 + ".obj")
    assert record.state is State.SUCCEEDED
    assert all(len(name) < 200 for name in await bundle.results())


async def test_one_file_under_two_spellings_is_fetched_once_and_found_twice(
    bundle: Bundle, converter: Converter
) -> None:
    await bundle.upload("box.obj", obj("box.mtl"))
    two = b"newmtl skin\nmap_Kd Skin.png\nnewmtl other\nmap_Kd textures\\SKIN.PNG\n"
    await bundle.upload("box.mtl", two)
    await bundle.upload("skin.png", png())
    record = await convert(bundle, converter, "box.obj")
    assert record.result is not None
    assert record.result["warnings"] == []
