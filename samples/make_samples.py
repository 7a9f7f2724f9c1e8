"""Makes every sample model in this folder: `python -m samples.make_samples [FOLDER]`.

The same files come out each time, on any machine: noise is hashed, pictures are computed without
functions that differ between processors, and zip entries have a fixed date.
"""

import io
import json
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

from samples import still_life, textures
from samples.meshes import Array, Mesh, box, obj

HERE = Path(__file__).resolve().parent


def crate() -> dict[str, bytes]:
    """The still life that `make run` converts: an OBJ, its MTL, and three pictures in a folder."""
    return {
        "crate/crate.obj": still_life.model("crate.mtl"),
        "crate/crate.mtl": still_life.MATERIALS.encode(),
        "crate/textures/planks.png": textures.planks(),
        "crate/textures/globe.png": textures.globe(),
        "crate/textures/tiles.png": textures.tiles(),
    }


def cubes() -> dict[str, bytes]:
    """The same cube, one metre wide around the origin, in each small format."""
    cube = box((1.0, 1.0, 1.0))
    picture = textures.checks()
    gltf, buffer = _gltf(cube, image_uri="checks.png", buffer_uri="cube.bin")
    files = {
        "cube/cube.obj": obj([("cube", "checks", cube)], "cube.mtl"),
        "cube/cube.mtl": b"newmtl checks\nKd 1 1 1\nmap_Kd checks.png\n",
        "cube/checks.png": picture,
        "cube/cube.gltf": gltf,
        "cube/cube.bin": buffer,
        "cube/cube.glb": _glb(cube, picture),
        "cube/cube.stl": _binary_stl(cube),
        "cube/cube-ascii.stl": _ascii_stl(cube),
        "cube/cube.ply": _ply(cube),
    }
    packed = {name: files[f"cube/{name}"] for name in ("cube.obj", "cube.mtl", "checks.png")}
    return {**files, "cube/cube.zip": _zip(packed)}


def make() -> dict[str, bytes]:
    """Every sample, by its path in the samples folder."""
    return {**crate(), **cubes()}


def _gltf(
    mesh: Mesh, *, image_uri: str | None, buffer_uri: str | None, image: bytes = b""
) -> tuple[bytes, bytes]:
    """A glTF document and its buffer, which holds `image` when there is no `image_uri`."""
    position, normal, coordinate, index = mesh.flattened()
    arrays = (position, normal, coordinate, index.astype("<u2"))
    chunks = [array.astype("<f4").tobytes() for array in arrays[:3]] + [arrays[3].tobytes()]
    views, buffer = [], b""
    for chunk, target in zip([*chunks, image], [34962, 34962, 34962, 34963, None], strict=True):
        if chunk:
            view = {"buffer": 0, "byteOffset": len(buffer), "byteLength": len(chunk)}
            views.append(view | ({"target": target} if target else {}))
            buffer += chunk + b"\0" * (-len(chunk) % 4)
    float_, short = 5126, 5123
    document = {
        "asset": {"version": "2.0", "generator": "make_samples"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "cube", "mesh": 0}],
        "meshes": [
            {
                "name": "cube",
                "primitives": [
                    {"attributes": {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2}, "indices": 3, "material": 0}
                ],
            }
        ],
        "materials": [
            {
                "name": "checks",
                "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0},
            }
        ],
        "textures": [{"source": 0}],
        "images": [{"uri": image_uri} if image_uri else {"bufferView": 4, "mimeType": "image/png"}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": float_,
                "count": len(position),
                "type": "VEC3",
                "min": position.min(axis=0).tolist(),
                "max": position.max(axis=0).tolist(),
            },
            {"bufferView": 1, "componentType": float_, "count": len(normal), "type": "VEC3"},
            {"bufferView": 2, "componentType": float_, "count": len(coordinate), "type": "VEC2"},
            {"bufferView": 3, "componentType": short, "count": len(index), "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(buffer)} | ({"uri": buffer_uri} if buffer_uri else {})],
    }
    return json.dumps(document, indent=1).encode(), buffer


def _glb(mesh: Mesh, image: bytes) -> bytes:
    document, buffer = _gltf(mesh, image_uri=None, buffer_uri=None, image=image)
    document += b" " * (-len(document) % 4)
    length = 12 + 8 + len(document) + 8 + len(buffer)
    head = struct.pack("<4sII", b"glTF", 2, length)
    return (
        head
        + struct.pack("<I4s", len(document), b"JSON")
        + document
        + struct.pack("<I4s", len(buffer), b"BIN\0")
        + buffer
    )


def _triangles(mesh: Mesh) -> tuple[Array, Array]:
    """Corners (n, 3, 3) and unit normals (n, 3)."""
    position, _, _, index = mesh.flattened()
    corners = position[index.reshape(-1, 3)]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return corners, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _binary_stl(mesh: Mesh) -> bytes:
    corners, normals = _triangles(mesh)
    facets = np.zeros(len(corners), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
    facets["normal"], facets["corners"] = normals, corners
    return b"cube, one metre wide".ljust(80) + struct.pack("<I", len(facets)) + facets.tobytes()


def _ascii_stl(mesh: Mesh) -> bytes:
    lines = ["solid cube"]
    for corners, normal in zip(*_triangles(mesh), strict=True):
        lines += [f"facet normal {_numbers(normal)}", " outer loop"]
        lines += [f"  vertex {_numbers(corner)}" for corner in corners]
        lines += [" endloop", "endfacet"]
    return "\n".join([*lines, "endsolid cube", ""]).encode()


def _ply(mesh: Mesh) -> bytes:
    position, _, _, index = mesh.flattened()
    faces = index.reshape(-1, 3)
    lines = [
        "ply", "format ascii 1.0", f"element vertex {len(position)}",
        "property float x", "property float y", "property float z",
        f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header",
    ]  # fmt: skip
    lines += [_numbers(vertex) for vertex in position]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces]
    return "\n".join([*lines, ""]).encode()


def _numbers(values: Array) -> str:
    return " ".join(f"{value + 0.0:g}" for value in values)


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, content in make().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"{len(content):>9,}  {name}")


if __name__ == "__main__":
    main()
