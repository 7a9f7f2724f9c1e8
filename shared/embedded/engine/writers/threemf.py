"""Meshes as 3MF in millimetres, with colours and textures."""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from shared.embedded.engine.decode import Part
from shared.embedded.engine.document import Document, Json
from shared.embedded.engine.images import EXTENSIONS, UnreadableImage, for_gltf
from shared.embedded.engine.readers.gltf import sources
from shared.embedded.engine.writers.colors import encoded, vertex_colors
from shared.embedded.engine.writers.obj import texcoords_of

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_MATERIALS = "http://schemas.microsoft.com/3dmanufacturing/material/2015/02"
_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Types xmlns="http://schemas.openxmlformats.org/package/2006/'
    'content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
    'relationships+xml"/><Default Extension="model" ContentType="application/vnd.ms-package.'
    '3dmanufacturing-3dmodel+xml"/><Default Extension="png" ContentType="image/png"/>'
    '<Default Extension="jpg" ContentType="image/jpeg"/></Types>'
)
_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
_MODEL_KIND = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_TEXTURE_KIND = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dtexture"
_MODEL = "3D/3dmodel.model"


def write(document: Document, parts: Iterable[Part], path: Path, *, metres: bool, y_up: bool) -> bool:
    """Write the package, one object per part; returns whether there was more than triangles.

    ``metres`` says that lengths are, and are to be written as millimetres; without a unit the numbers
    are kept. ``y_up`` models are turned to 3MF's z-up."""
    turn = np.eye(3) if not y_up else np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float64)
    turn = turn * (1000 if metres else 1)
    found = list(parts)
    solid = [part for part in found if part.kind == "triangles" and len(part.indices)]
    writer = _Writer(document)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as package:
        package.writestr("[Content_Types].xml", _TYPES)
        package.writestr("_rels/.rels", _relationships({f"/{_MODEL}": _MODEL_KIND}))
        with package.open(_MODEL, "w", force_zip64=True) as model:
            model.write(
                f'<?xml version="1.0" encoding="UTF-8"?>\n<model unit="millimeter" xml:lang="en-US" '
                f'xmlns="{_CORE}" xmlns:m="{_MATERIALS}"><resources>\n'.encode()
            )
            objects = []
            for part in solid:
                for piece in writer.part(part, turn):
                    model.write(piece.encode())
                objects.append(writer.last)
            items = "".join(f'<item objectid="{one}"/>' for one in objects)
            model.write(f"</resources><build>{items}</build></model>\n".encode())
        if writer.pictures:
            targets = {f"/{name}": _TEXTURE_KIND for name in writer.pictures}
            package.writestr("3D/_rels/3dmodel.model.rels", _relationships(targets))
        for name, data in writer.pictures.items():
            package.writestr(zipfile.ZipInfo(name), data)
    return len(solid) < len(found)


def _relationships(targets: dict[str, str]) -> str:
    lines = [
        f'<Relationship Target="{target}" Id="rel{index}" Type="{kind}"/>'
        for index, (target, kind) in enumerate(targets.items())
    ]
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f'{head}<Relationships xmlns="{_RELATIONSHIPS}">{"".join(lines)}</Relationships>'


class _Writer:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._texture_ids: dict[int, int | None] = {}
        self.pictures: dict[str, bytes] = {}
        self.last = 0  # resource ids are one sequence, and a resource stands before what uses it

    def part(self, part: Part, turn: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Iterator[str]:
        """The XML of an object and of what it is painted with; its id is `last` at the end."""
        corners = part.indices.astype(np.int64)
        texture, pieces = self._texture(part)
        yield from pieces
        texcoords = texcoords_of(self._document, part) if texture is not None else None
        if texcoords is not None:
            group = self._next()
            flipped = np.column_stack([texcoords[:, 0], 1 - texcoords[:, 1]])
            yield f'<m:texture2dgroup id="{group}" texid="{texture}">\n'
            yield _lines('<m:tex2coord u="%.7g" v="%.7g"/>\n', np.nan_to_num(flipped))
            yield "</m:texture2dgroup>\n"
            properties = corners
        elif part.colors is not None:
            group = self._next()
            colors, which = np.unique(
                encoded(vertex_colors(self._document, part)), axis=0, return_inverse=True
            )
            yield f'<m:colorgroup id="{group}">\n'
            yield _lines('<m:color color="#%02X%02X%02X%02X"/>\n', colors)
            yield "</m:colorgroup>\n"
            properties = which.ravel()[corners]
        else:
            group = self._next()
            material: Json = {}
            if part.material is not None:
                material = self._document.items("materials")[part.material]
            color = encoded(vertex_colors(self._document, part)[:1])[0] if len(part.positions) else ()
            shown = "".join(f"{int(value):02X}" for value in color)
            name = quoteattr(_printable(material.get("name")) or f"material {part.material}")
            yield f'<basematerials id="{group}"><base name={name} displaycolor="#{shown}"/></basematerials>\n'
            properties = np.zeros_like(corners)
        places = part.positions.astype(np.float64) @ turn.T
        name = quoteattr(_printable(part.name) or "object")
        yield f'<object id="{self._next()}" name={name} type="model" pid="{group}" pindex="0">'
        yield "<mesh><vertices>\n"
        yield _lines('<vertex x="%.9g" y="%.9g" z="%.9g"/>\n', places)
        yield "</vertices><triangles>\n"
        # A triangle must have three corners that differ.
        a, b, c = corners.T
        proper = (a != b) & (b != c) & (a != c)
        yield _lines(
            f'<triangle v1="%d" v2="%d" v3="%d" pid="{group}" p1="%d" p2="%d" p3="%d"/>\n',
            np.column_stack([corners, properties])[proper],
        )
        yield "</triangles></mesh></object>\n"

    def _next(self) -> int:
        self.last += 1
        return self.last

    def _texture(self, part: Part) -> tuple[int | None, list[str]]:
        """The resource of a part's base colour texture, and its XML when it is new."""
        if part.material is None:
            return None, []
        material = self._document.items("materials")[part.material]
        slot = material.get("pbrMetallicRoughness", {}).get("baseColorTexture")
        images = sources(self._document.items("textures")[slot["index"]]) if slot else []
        if not images:
            return None, []
        image = images[0]
        if image in self._texture_ids:
            return self._texture_ids[image], []
        self._texture_ids[image] = None
        try:
            view = self._document.items("images")[image]["bufferView"]
            data, mime = for_gltf(bytes(self._document.view(view)))
        except UnreadableImage:
            return None, []
        name = f"3D/Textures/texture{image}{EXTENSIONS[mime]}"
        self.pictures[name] = data
        id_ = self._texture_ids[image] = self._next()
        return id_, [f'<m:texture2d id="{id_}" path="/{name}" contenttype="{mime}"/>\n']


def _lines(pattern: str, rows: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    return (pattern * len(rows)) % tuple(rows.ravel().tolist())


def _printable(name: object) -> str:
    """A name without the characters that XML cannot hold."""
    return "".join(one for one in str(name or "") if one.isprintable())
