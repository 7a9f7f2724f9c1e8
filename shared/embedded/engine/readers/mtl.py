"""MTL: the materials of an OBJ, with their textures, as metallic-roughness ones."""

import re
from pathlib import PurePosixPath

import numpy as np

from shared.embedded.engine.files import InputFolder
from shared.embedded.engine.job import Warning_
from shared.embedded.engine.readers.textures import Textures
from shared.embedded.engine.scene import Floats, Image, Material, linear
from shared.references import material_libraries, picture_of, text_of

_GREY = (0.8, 0.8, 0.8)
_MATT = 0.9
# What a map_Ns scales where there is no Ns.
_SHININESS = 100.0
# Models of illumination without highlights.
_WITHOUT_HIGHLIGHTS = ("0", "1")
_PLACED = re.compile(r"(?:^|\s)-([os])\s+([-+.\deE]+)(?:\s+([-+.\deE]+))?", re.IGNORECASE)

_Statements = dict[str, str]


class Library:
    """The materials of an OBJ's material files, each made when it is asked for: what no element uses is
    left out, and its textures with it."""

    def __init__(self, files: InputFolder, *, gamma: bool) -> None:
        """``gamma`` says that colours are sRGB-encoded."""
        self._files = files
        self._gamma = gamma
        self._textures = Textures(files, {})
        self._known: dict[str, tuple[_Statements, str]] = {}  # with the folder that the file is in
        self._missing: list[Warning_] = []
        self._made: dict[str, int] = {}
        self._placements: list[Floats | None] = []
        self.materials: list[Material] = []

    @property
    def images(self) -> list[Image]:
        return self._textures.images

    @property
    def warnings(self) -> list[Warning_]:
        """Of files and textures that are missing, each once."""
        return [*self._textures.warnings, *self._missing]

    def load(self, line: str) -> None:
        """The files that an ``mtllib`` line names. Of materials with one name, the first file's counts."""
        for name in [line] if self._files.resolve(line) else material_libraries(line):
            found = self._files.resolve(name)
            if found is None:
                details = {"file": name[:200], "reason": "it is not in the model's folder"}
                self._missing.append(Warning_("4004", "Missing material file", details))
                # A model is renamed with its materials, but still names them as they were.
                found = self._files.resolve(f"{self._files.model.stem}.mtl")
            if found is not None:
                for material, statements in _statements(self._files.read(found)).items():
                    self._known.setdefault(material, (statements, str(PurePosixPath(found).parent)))

    def index(self, name: str) -> int | None:
        """The place of a material among ``materials``: grey, if no file has it. None for no name."""
        if not name:
            return None
        if name not in self._made:
            self._made[name] = len(self.materials)
            statements, folder = self._known.get(name, ({}, ""))
            self.materials.append(self._material(name, statements, folder))
            self._placements.append(_placement(statements.get("map_kd", "")))
        return self._made[name]

    def placed(self, texcoords: Floats, index: int | None) -> Floats:
        """Texture coordinates (n, 2) from the bottom left, with the scale and shift of the material's
        picture applied."""
        placement = None if index is None else self._placements[index]
        return texcoords if placement is None else texcoords * placement[0] + placement[1]

    def _material(self, name: str, statements: _Statements, folder: str) -> Material:
        def picture(*keywords: str) -> str | None:
            for keyword in keywords:
                named = picture_of(statements.get(keyword, ""))
                if named:
                    beside = f"{folder}/{named}"
                    return beside if folder != "." and self._files.resolve(beside) else named
            return None

        textures = self._textures
        material = Material(name)
        color = self._color(statements, "kd") or _GREY
        opacity = _opacity(statements)
        base, mask = picture("map_kd"), picture("map_d", "map_opacity")
        if base is not None:
            if mask is None:
                material.base_color_texture = textures.color(base, name)
            else:
                material.base_color_texture = textures.cut_out(base, mask, name)
        if material.base_color_texture is not None:
            # Exporters leave the colour under a texture at anything, black included.
            color = (1.0, 1.0, 1.0)
            material.blend = mask is not None and textures.has_alpha(material.base_color_texture)
        material.base_color = (*color, opacity)
        material.blend = material.blend or opacity < 1

        material.emissive = self._color(statements, "ke") or (0.0, 0.0, 0.0)
        if (glow := picture("map_ke")) is not None:
            material.emissive_texture = textures.color(glow, name)
            if material.emissive_texture is not None:
                material.emissive = (1.0, 1.0, 1.0)
        if (relief := picture("norm", "map_kn", "map_bump", "bump")) is not None:
            material.normal_texture = textures.normals(relief, name)
        occlusion = picture("map_ka")
        # Exporters often name the diffuse texture as the ambient one too; that is no occlusion.
        if occlusion is not None and occlusion != base:
            material.occlusion_texture = textures.color(occlusion, name)
        if (specular := picture("map_ks")) is not None:
            material.specular_texture = textures.color(specular, name)
        self._surface(material, statements, picture("map_pr"), picture("map_pm"), picture("map_ns"))
        return material

    def _surface(
        self,
        material: Material,
        statements: _Statements,
        rough: str | None,
        metal: str | None,
        gloss: str | None,
    ) -> None:
        """How rough and how metallic the material is."""
        material.metallic = min(max(_number(statements, "pm", 0.0), 0.0), 1.0)
        material.roughness = _roughness(statements)
        if rough is not None or metal is not None:
            found = self._textures.metallic_roughness(
                None if rough is None else (rough, "r"),
                None if metal is None else (metal, "r"),
                material.name,
            )
            if found is not None:
                material.roughness = 1.0 if rough is not None else material.roughness
                material.metallic = 1.0 if metal is not None else material.metallic
        elif gloss is not None:
            exponent = _number(statements, "ns", 0.0)
            found = self._textures.shininess(gloss, exponent if exponent > 0 else _SHININESS, material.name)
            if found is not None:
                material.roughness = 1.0
        else:
            found = None
        material.metallic_roughness_texture = found

    def _color(self, statements: _Statements, keyword: str) -> tuple[float, float, float] | None:
        """Three numbers, or one for all three; spectral and CIE colours are not known."""
        values = _numbers(statements.get(keyword, ""))[:3]
        if len(values) not in (1, 3):
            return None
        color = np.clip(np.array(values * 3 if len(values) == 1 else values), 0, 1)
        red, green, blue = linear(color).tolist() if self._gamma else color.tolist()
        return red, green, blue


def _statements(data: bytes) -> dict[str, _Statements]:
    """What each material of a file says, by keyword in small letters; the last of two counts."""
    found: dict[str, _Statements] = {}
    own: _Statements = {}
    for line in re.split(r"[\r\n]+", text_of(data.removeprefix(b"\xef\xbb\xbf"))):
        keyword, _, rest = line.strip().replace("\t", " ").partition(" ")
        if keyword.lower() == "newmtl":
            own = found[rest.strip()] = {}
        else:
            own[keyword.lower()] = rest.strip()
    return found


def _numbers(rest: str) -> list[float]:
    """The numbers at the start of a statement."""
    found: list[float] = []
    for word in rest.split():
        try:
            value = float(word)
        except ValueError:
            break
        if not np.isfinite(value):
            break
        found.append(value)
    return found


def _number(statements: _Statements, keyword: str, default: float) -> float:
    return next(iter(_numbers(statements.get(keyword, ""))), default)


def _opacity(statements: _Statements) -> float:
    dissolved = statements.get("d", "").removeprefix("-halo ")
    values = _numbers(dissolved)
    opacity = values[0] if values else 1 - _number(statements, "tr", 0.0)
    # Some exporters write the opacity where the transparency belongs; nobody exports what cannot be
    # seen at all.
    return min(opacity, 1.0) if opacity > 0 else 1.0


def _roughness(statements: _Statements) -> float:
    if "pr" in statements:
        return min(max(_number(statements, "pr", _MATT), 0.0), 1.0)
    shininess = _number(statements, "ns", 0.0)
    matt = statements.get("illum") in _WITHOUT_HIGHLIGHTS
    if matt or shininess <= 0 or max(_numbers(statements.get("ks", ""))[:3], default=0.0) <= 0:
        return _MATT
    # Blinn-Phong's exponent as the roughness of the same width of highlight.
    return float(np.clip(np.sqrt(2 / (shininess + 2)), 0.1, 1.0))


def _placement(rest: str) -> Floats | None:
    """The scale and the shift (2, 2) that a map statement asks for, None for none."""
    placement = np.array([[1, 1], [0, 0]], np.float32)
    for option, *values in _PLACED.findall(rest):
        row = 0 if option.lower() == "s" else 1
        for column, value in enumerate(values):
            if numbers := _numbers(value):
                placement[row, column] = numbers[0]
    return None if np.array_equal(placement, [[1, 1], [0, 0]]) else placement
