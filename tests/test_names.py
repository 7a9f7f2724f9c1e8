"""Whatever a model is called: where its manifest lands, and whether it is converted."""

import pytest

from local.azurite import Azurite
from shared import paths
from shared.conversion import Status
from tests.copier import Copier
from tests.pipeline import Pipeline, start
from tests.shapes import sample

CUBE = sample("cube.stl")

#: The name of a model; how it ends; whether its folder in the converted container has its own name.
NAMES: list[tuple[str, str, bool]] = [
    ("plain.stl", "success", True),
    ("folder/plain.stl", "success", True),
    ("with space and 'quotes' \"double\".stl", "success", True),
    ("a#b?c%d&e=f+g;h,i.stl", "success", True),
    ("%2e%2e%2fescaped.stl", "success", True),
    ("100%.stl", "success", True),
    ("Größe/模型/модель.stl", "success", True),
    ("de\u0301compose\u0301.stl", "success", True),
    ("emoji-🚗🏎️.stl", "success", True),
    ("rtl-\u202etxt.stl", "success", True),
    ("line\nbreak.stl", "invalid-name", False),
    ("tab\tand\rreturn.stl", "invalid-name", False),
    ("..hidden.stl", "success", True),
    ("dots...stl", "success", True),
    ("folder./plain.stl", "success", False),
    ("folder /plain .stl", "success", True),
    ("double//slash.stl", "success", False),
    ("~long/" + "0" * 64 + "/plain.stl", "success", False),
    ("~plain.stl", "success", True),
    ("-rf.stl", "success", True),
    ("$(touch x);`y`.stl", "success", True),
    ("<b>&amp;.stl", "success", True),
    ("{name}.stl", "success", True),
    ("con.stl", "success", True),
    (".stl", "ignored", False),
    ("manifest.json.stl", "success", True),
    ("0123456789abcdef0123456789abcdef/x.stl", "success", True),
    ("d/" * 199 + "x.stl", "success", True),
    ("d/" * 201 + "x.stl", "success", False),
    ("d/" * 253 + "x.stl", "success", False),
    ("n" * 696 + ".stl", "success", True),
    ("n" * 697 + ".stl", "success", False),
    ("n" * 1020 + ".stl", "success", False),
    ("ü" * 1020 + ".stl", "success", False),
    ("🚗" * 510 + ".stl", "success", False),
    ("f" * 600 + "/" + "n" * 419 + ".stl", "success", False),
]


@pytest.mark.parametrize(("name", "ends", "keeps_name"), NAMES, ids=[repr(name[0][:40]) for name in NAMES])
async def test_a_model_of_any_name(azurite: Azurite, name: str, ends: str, keeps_name: bool) -> None:
    async with start(azurite, converter=Copier()) as pipeline:
        await pipeline.drop(name, CUBE)
        if ends == "ignored":
            assert await pipeline.records() == []
            return
        await pipeline.settle()
        manifest = await pipeline.manifest(name)
        assert (manifest.errors[0].code if manifest.errors else manifest.status) == ends, manifest.messages
        assert manifest.source.path == name
        assert (paths.folder(name) == name) == keeps_name
        assert await stray(pipeline, name) == []
        for item in manifest.derivatives:
            assert len(await pipeline.read(item.path)) == item.size
        # Its events come again, and the sweep looks: nothing more happens.
        await pipeline.event(name)
        assert await pipeline.records() == []
        assert await pipeline.manifest(name) == manifest
        assert await pipeline.app.sweep.run() == 0


async def stray(pipeline: Pipeline, name: str) -> list[str]:
    """What lies anywhere but in the model's folder, or has a name that Azure refuses."""
    settings = pipeline.app.settings
    found = []
    async for blob in pipeline.app.storage.list(settings.converted_container):
        units = len(blob.name.encode("utf-16-le")) // 2
        inside = blob.name.startswith(f"{paths.folder(name)}/")
        if not inside or units > 1024 or blob.name.count("/") >= 254:
            found.append(blob.name)
    async for blob in pipeline.app.storage.list(settings.models_container):
        found += [blob.name] if blob.name != name else []
    async for blob in pipeline.app.storage.list(settings.in_flight_container):
        found += [blob.name] if blob.name != "tick.lock" else []
    async for blob in pipeline.app.storage.list(settings.embedded_container):
        found += [blob.name] if not blob.name.startswith("remote-rendering/") else []
    return found


@pytest.mark.parametrize(
    "name",
    ["../up.stl", "a/../../in-flight/x.stl", "./here.stl", "a/./b.stl", "a\\..\\..\\b.stl", "/root.stl"],
)
async def test_an_event_of_a_name_that_would_leave_its_container_touches_nothing(
    azurite: Azurite, name: str
) -> None:
    # No storage client of ours can make such a blob; an event may still say anything.
    async with start(azurite) as pipeline:
        await pipeline.event(name)
        assert await pipeline.records() == []
        assert await stray(pipeline, name) == []


async def test_storage_takes_a_backslash_for_a_slash_and_the_slash_is_what_counts(azurite: Azurite) -> None:
    async with start(azurite, converter=Copier()) as pipeline:
        await pipeline.drop("back\\slash.stl", CUBE)
        assert await pipeline.records() == []
        models = pipeline.app.storage.list(pipeline.app.settings.models_container)
        assert [blob.name async for blob in models] == ["back/slash.stl"]


async def test_two_models_whose_names_differ_in_one_character_share_nothing(azurite: Azurite) -> None:
    names = ["a.stl", "A.stl", "a.stl ", "a .stl", "a%20.stl"]
    async with start(azurite, converter=Copier()) as pipeline:
        for name in names:
            await pipeline.drop(name, CUBE)
        await pipeline.settle()
        folders = {paths.folder(name) for name in names}
        assert len(folders) == len(names)
        models = [name for name in names if name != "a.stl "]
        for name in models:
            assert (await pipeline.manifest(name)).status is Status.SUCCESS
