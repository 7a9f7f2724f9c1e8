"""The pictures that a scene's materials name: found, made PNG or JPEG, and kept once each."""

from collections.abc import Callable

from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.images import UnreadableImage, for_gltf
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.scene import Image

_Convert = Callable[[bytes], tuple[bytes, str]]


class Textures:
    """Collects a scene's images; what cannot be had becomes a warning 4004, once per material."""

    def __init__(self, files: InputFolder, embedded: dict[str, bytes]) -> None:
        """``embedded`` holds pictures by the names that materials call them."""
        self._files = files
        self._embedded = embedded
        self._known: dict[tuple[str, ...], int] = {}
        self.images: list[Image] = []
        self.warnings: list[Warning_] = []

    def color(self, reference: str, material: str) -> int | None:
        """The index of a picture taken as it is, or None."""
        return self._add(("color", reference), reference, material, for_gltf)

    def normals(self, reference: str, material: str) -> int | None:
        """A normal map; a grey height map is turned into one."""
        from shared.embedded.engine.pillow import as_normal_map

        return self._add(("normals", reference), reference, material, as_normal_map)

    def cut_out(self, reference: str, mask: str, material: str) -> int | None:
        """A picture whose opacity is in another one, or (same name) in its own alpha."""
        found = self._find(mask)
        if mask == reference or found is None:
            return self.color(reference, material)
        from shared.embedded.engine.pillow import with_alpha

        return self._add(("cut", reference, mask), reference, material, lambda data: with_alpha(data, found))

    def metallic_roughness(
        self, rough: tuple[str, str] | None, metal: tuple[str, str] | None, material: str
    ) -> int | None:
        """A picture of both, each taken from a channel ("r" …) of a picture that is named first."""
        found: list[tuple[bytes, str] | None] = []
        for one in (rough, metal):
            data = None if one is None else self._find(one[0])
            found.append(None if one is None or data is None else (data, one[1]))
        first, second = found
        named = next((one for one in (rough, metal) if one is not None), None)
        if named is None:
            return None
        key = ("metallic-roughness", *(rough or ("", "")), *(metal or ("", "")))
        if first is None and second is None:
            return self._add(key, named[0], material, for_gltf)
        from shared.embedded.engine.pillow import metallic_roughness

        here = named[0] if first is not None or rough is None else (metal or named)[0]
        return self._add(key, here, material, lambda _: metallic_roughness(first, second))

    def shininess(self, reference: str, exponent: float, material: str) -> int | None:
        """A picture of how far highlights have ``exponent``, as one of roughness."""
        from shared.embedded.engine.pillow import rough

        key = ("shininess", reference, str(exponent))
        return self._add(key, reference, material, lambda data: rough(data, exponent))

    def has_alpha(self, index: int) -> bool:
        """Whether a picture that was added has pixels that are not opaque."""
        from shared.embedded.engine.pillow import has_alpha

        try:
            return has_alpha(self.images[index].data)
        except UnreadableImage:
            return False

    def _find(self, reference: str) -> bytes | None:
        embedded = self._embedded.get(reference)
        if embedded is not None:
            return embedded
        base = reference.replace("\\", "/").rsplit("/", 1)[-1]
        return self._embedded.get(base) or self._files.find(reference)

    def _add(self, key: tuple[str, ...], reference: str, material: str, convert: _Convert) -> int | None:
        if key in self._known:
            return self._known[key]
        data = self._find(reference)
        reason = "it is not in the model's folder"
        if data is not None:
            try:
                converted, mime = convert(data)
            except UnreadableImage as error:
                reason = f"it is not a picture that can be read ({error})"
            else:
                name = reference.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
                self._known[key] = len(self.images)
                self.images.append(Image(name, converted, mime))
                return self._known[key]
        warning = Warning_(
            "4004",
            "Missing texture",
            {"texture": reference[:200], "material": material, "reason": reason},
        )
        if warning not in self.warnings:
            self.warnings.append(warning)
        return None
