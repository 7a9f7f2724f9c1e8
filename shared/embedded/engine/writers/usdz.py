"""Meshes as a USDZ package: one layer of USD text, and the textures beside it, uncompressed and aligned."""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from shared.embedded.engine.build import unit_normals
from shared.embedded.engine.decode import Part
from shared.embedded.engine.document import Document, Json
from shared.embedded.engine.images import EXTENSIONS, UnreadableImage, for_gltf
from shared.embedded.engine.readers.gltf import sources
from shared.embedded.engine.writers.colors import vertex_colors
from shared.embedded.engine.writers.obj import texcoords_of

_ALIGNMENT = 64  # USDZ: every file's data starts at a multiple of it
_HEAD = """#usda 1.0
(
    defaultPrim = "model"
    metersPerUnit = 1
    upAxis = "Y"
)

def Xform "model" (
    kind = "component"
)
{
"""
_WRAPS = {33071: "clamp", 33648: "mirror"}


def write(document: Document, parts: Iterable[Part], path: Path) -> bool:
    """Write the package; returns whether there were lines, which it leaves out."""
    found = list(parts)
    kept = [part for part in found if part.kind != "lines" and len(part.indices)]
    writer = _Writer(document)
    text = io.StringIO()
    text.write(_HEAD)
    for index, part in enumerate(kept):
        for piece in writer.part(index, part):
            text.write(piece)
    for piece in writer.materials():
        text.write(piece)
    text.write("}\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as package:
        # The layer that opens must be the first file.
        _add(package, "model.usda", text.getvalue().encode())
        for name, data in writer.pictures.items():
            _add(package, name, data)
    return any(part.kind == "lines" for part in found)


def _add(package: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name)
    assert package.fp is not None
    start = package.fp.tell() + 30 + len(name.encode())
    padding = -start % _ALIGNMENT
    if 0 < padding < 4:
        padding += _ALIGNMENT
    if padding:
        # An extra field of a number that nobody uses, as long as is needed.
        info.extra = b"\x86\x19" + (padding - 4).to_bytes(2, "little") + bytes(padding - 4)
    package.writestr(info, data)


class _Writer:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._used: set[int] = set()
        self.pictures: dict[str, bytes] = {}
        self._written: dict[int, str | None] = {}

    def part(self, index: int, part: Part) -> Iterator[str]:
        """The prim of a part."""
        label = "".join(one for one in part.name if one.isprintable()).replace("\\", "/").replace('"', "'")
        kind = "Mesh" if part.kind == "triangles" else "Points"
        head = f'    def {kind} "{_identifier(part.name)}_{index}" (\n'
        head += f'        displayName = "{label or "object"}"\n'
        if part.material is not None and kind == "Mesh":
            head += '        prepend apiSchemas = ["MaterialBindingAPI"]\n'
        yield head + "    )\n    {\n"
        low, high = part.positions.min(axis=0), part.positions.max(axis=0)
        yield f"        float3[] extent = {_tuples(np.stack([low, high]))}\n"
        if kind == "Points":
            yield f"        point3f[] points = {_tuples(part.positions[part.indices.ravel()])}\n"
            colors = vertex_colors(self._document, part)[part.indices.ravel(), :3]
            yield f"        color3f[] primvars:displayColor = {_tuples(colors)} (\n"
            yield '            interpolation = "vertex"\n        )\n    }\n'
            return
        yield '        uniform bool doubleSided = 1\n        uniform token subdivisionScheme = "none"\n'
        yield f"        int[] faceVertexCounts = [{', '.join(['3'] * len(part.indices))}]\n"
        yield f"        int[] faceVertexIndices = [{', '.join(map(str, part.indices.ravel().tolist()))}]\n"
        yield f"        point3f[] points = {_tuples(part.positions)}\n"
        if part.normals is not None:
            yield f"        normal3f[] normals = {_tuples(unit_normals(part.normals))} (\n"
            yield '            interpolation = "vertex"\n        )\n'
        texcoords = texcoords_of(self._document, part)
        if texcoords is not None:
            flipped = np.nan_to_num(np.column_stack([texcoords[:, 0], 1 - texcoords[:, 1]]))
            yield f"        texCoord2f[] primvars:st = {_tuples(flipped)} (\n"
            yield '            interpolation = "vertex"\n        )\n'
        if part.colors is not None:
            yield f"        color3f[] primvars:displayColor = {_tuples(part.colors[:, :3])} (\n"
            yield '            interpolation = "vertex"\n        )\n'
        if part.material is not None:
            self._used.add(part.material)
            yield f"        rel material:binding = </model/Materials/material_{part.material}>\n"
        yield "    }\n"

    def materials(self) -> Iterator[str]:
        """The prims of all materials that were used."""
        yield '    def Scope "Materials"\n    {\n'
        for index in sorted(self._used):
            yield from self._material(index, self._document.items("materials")[index])
        yield "    }\n"

    def _material(self, index: int, material: Json) -> Iterator[str]:
        here = f"/model/Materials/material_{index}"
        pbr = material.get("pbrMetallicRoughness", {})
        red, green, blue, alpha = pbr.get("baseColorFactor", (1, 1, 1, 1))
        blended = material.get("alphaMode", "OPAQUE") != "OPAQUE"
        inputs, nodes = [], []

        def picture(
            name: str, slot: Json | None, *outputs: str, scale: tuple[float, ...] = (1, 1, 1, 1)
        ) -> bool:
            found = None if slot is None else self._picture(slot)
            if found is None:
                return False
            file, wrap_s, wrap_t = found
            bias = ""
            if name == "normal":  # from 0..1 to -1..1
                bias, scale = "                float4 inputs:bias = (-1, -1, -1, -1)\n", (2, 2, 2, 2)
            kind = "sRGB" if name in ("diffuse", "emissive") else "raw"
            outs = "".join(
                f"                {'float3' if one == 'rgb' else 'float'} outputs:{one}\n" for one in outputs
            )
            nodes.append(
                f'            def Shader "{name}_texture"\n            {{\n'
                '                uniform token info:id = "UsdUVTexture"\n'
                f"                asset inputs:file = @{file}@\n"
                f'                token inputs:sourceColorSpace = "{kind}"\n'
                f'                token inputs:wrapS = "{wrap_s}"\n'
                f'                token inputs:wrapT = "{wrap_t}"\n'
                f"{bias}                float4 inputs:scale = ({', '.join(f'{one:.6g}' for one in scale)})\n"
                f"                float2 inputs:st.connect = <{here}/st.outputs:result>\n"
                f"{outs}            }}\n"
            )
            return True

        wanted = ("rgb", "a") if blended else ("rgb",)
        if picture("diffuse", pbr.get("baseColorTexture"), *wanted, scale=(red, green, blue, alpha)):
            inputs.append(f"color3f inputs:diffuseColor.connect = <{here}/diffuse_texture.outputs:rgb>")
            if blended:
                inputs.append(f"float inputs:opacity.connect = <{here}/diffuse_texture.outputs:a>")
        else:
            inputs.append(f"color3f inputs:diffuseColor = ({red:.6g}, {green:.6g}, {blue:.6g})")
            if blended:
                inputs.append(f"float inputs:opacity = {alpha:.6g}")
        if material.get("alphaMode") == "MASK":
            inputs.append(f"float inputs:opacityThreshold = {material.get('alphaCutoff', 0.5):.6g}")
        rough, metal = pbr.get("roughnessFactor", 1), pbr.get("metallicFactor", 1)
        if picture("surface", pbr.get("metallicRoughnessTexture"), "g", "b", scale=(1, rough, metal, 1)):
            inputs.append(f"float inputs:roughness.connect = <{here}/surface_texture.outputs:g>")
            inputs.append(f"float inputs:metallic.connect = <{here}/surface_texture.outputs:b>")
        else:
            inputs += [f"float inputs:roughness = {rough:.6g}", f"float inputs:metallic = {metal:.6g}"]
        if picture("normal", material.get("normalTexture"), "rgb"):
            inputs.append(f"normal3f inputs:normal.connect = <{here}/normal_texture.outputs:rgb>")
        if picture("occlusion", material.get("occlusionTexture"), "r"):
            inputs.append(f"float inputs:occlusion.connect = <{here}/occlusion_texture.outputs:r>")
        glow = material.get("emissiveFactor", (0, 0, 0))
        if picture("emissive", material.get("emissiveTexture"), "rgb", scale=(*glow, 1)):
            inputs.append(f"color3f inputs:emissiveColor.connect = <{here}/emissive_texture.outputs:rgb>")
        elif any(glow):
            inputs.append("color3f inputs:emissiveColor = ({:.6g}, {:.6g}, {:.6g})".format(*glow))
        if nodes:
            nodes.append(
                '            def Shader "st"\n            {\n'
                '                uniform token info:id = "UsdPrimvarReader_float2"\n'
                '                string inputs:varname = "st"\n'
                "                float2 outputs:result\n            }\n"
            )
        lines = "".join(f"                {one}\n" for one in inputs)
        yield (
            f'        def Material "material_{index}"\n        {{\n'
            f"            token outputs:surface.connect = <{here}/surface.outputs:surface>\n"
            '            def Shader "surface"\n            {\n'
            '                uniform token info:id = "UsdPreviewSurface"\n'
            f"{lines}                token outputs:surface\n            }}\n{''.join(nodes)}        }}\n"
        )

    def _picture(self, slot: Json) -> tuple[str, str, str] | None:
        texture = self._document.items("textures")[slot["index"]]
        images = sources(texture)
        if not images:
            return None
        image = images[0]
        if image not in self._written:
            self._written[image] = None
            try:
                view = self._document.items("images")[image]["bufferView"]
                data, mime = for_gltf(bytes(self._document.view(view)))
            except UnreadableImage:
                return None
            name = f"textures/texture{image}{EXTENSIONS[mime]}"
            self._written[image], self.pictures[name] = name, data
        file = self._written[image]
        if file is None:
            return None
        sampler = self._document.items("samplers")[texture["sampler"]] if "sampler" in texture else {}
        wrap_s, wrap_t = (_WRAPS.get(sampler.get(key, 0), "repeat") for key in ("wrapS", "wrapT"))
        return file, wrap_s, wrap_t


def _identifier(name: str) -> str:
    found = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:60]
    return found if found and not found[0].isdigit() else f"_{found}"


def _tuples(rows: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    one = "(" + ", ".join(["%.9g"] * rows.shape[1]) + "), "
    return "[" + ((one * len(rows)) % tuple(rows.ravel().tolist()))[:-2] + "]"
