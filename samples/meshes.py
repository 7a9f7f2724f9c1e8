"""Shapes with normals and texture coordinates, and their OBJ."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]
Array = NDArray[Any]


@dataclass(frozen=True)
class Corner:
    """A corner of a face: position in metres (y up), unit normal, texture coordinate."""

    position: Vector
    normal: Vector
    coordinate: tuple[float, float]


@dataclass
class Mesh:
    """Convex faces, seen anticlockwise from outside."""

    faces: list[list[Corner]] = field(default_factory=list)

    def moved(self, offset: Vector = (0, 0, 0), *, turn: Vector = (0, 0, 0)) -> "Mesh":
        """Turned about x, y and z by so many degrees, in this order, then moved."""
        matrix = _rotation(turn)

        def place(corner: Corner) -> Corner:
            position = matrix @ corner.position + offset
            return Corner(_vector(position), _vector(matrix @ corner.normal), corner.coordinate)

        return Mesh([[place(corner) for corner in face] for face in self.faces])

    def flattened(self) -> tuple[Array, Array, Array, Array]:
        """Positions (n, 3), normals (n, 3), coordinates (n, 2; v down, as glTF has it) and the
        triangles' indices, with equal corners joined."""
        corners: dict[Corner, int] = {}
        index: list[int] = []
        for face in self.faces:
            numbers = [corners.setdefault(corner, len(corners)) for corner in face]
            for second, third in pairwise(numbers[1:]):
                index += [numbers[0], second, third]
        position = np.array([corner.position for corner in corners])
        normal = np.array([corner.normal for corner in corners])
        coordinate = np.array([(corner.coordinate[0], 1 - corner.coordinate[1]) for corner in corners])
        return position, normal, coordinate, np.array(index)


def joined(meshes: Iterable[Mesh]) -> Mesh:
    return Mesh([face for mesh in meshes for face in mesh.faces])


def box(size: Vector, *, bevel: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0, 0)) -> Mesh:
    """A box around the origin, its edges broken by `bevel` metres and shaded round.

    Each side shows the picture along the box's longest edge, `scale` times a metre, moved by `shift`;
    without a bevel each side shows the picture once.
    """
    half = np.array(size) / 2
    mesh = Mesh()

    def corner(signs: Sequence[float], axis: int, painted: int) -> Corner:
        """The corner of one side, painted as the side across `painted` is."""
        inset = half - [0 if other == axis else bevel for other in range(3)]
        position = inset * signs
        normal = [signs[other] if other == axis else 0.0 for other in range(3)]
        return Corner(_vector(position), _vector(normal), coordinate(position, painted, signs))

    def coordinate(position: Array, axis: int, signs: Sequence[float]) -> tuple[float, float]:
        along, across = (other for other in range(3) if other != axis)
        if size[across] > size[along]:
            along, across = across, along
        if bevel:
            return (position[along] * scale + shift[0], position[across] * scale + shift[1])
        # Right and up, as one sees the side from outside.
        right, up = {0: (2, 1), 1: (0, 2), 2: (0, 1)}[axis]
        flip = {0: -signs[0], 1: 1, 2: signs[2]}[axis]
        upright = {0: 1, 1: -signs[1], 2: 1}[axis]
        return (0.5 + flip * position[right] / size[right], 0.5 + upright * position[up] / size[up])

    def add(corners: list[Corner]) -> None:
        first, second, third = (np.array(corner.position) for corner in corners[:3])
        outwards = np.sum([corner.normal for corner in corners], axis=0)
        seen_from_outside = np.dot(np.cross(second - first, third - first), outwards) > 0
        mesh.faces.append(corners if seen_from_outside else corners[::-1])

    for axis in range(3):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        for sign in (-1.0, 1.0):
            around = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
            add([corner(_signs({axis: sign, one: a, other: b}), axis, axis) for a, b in around])
            if bevel:
                # The edge between this axis and the next one, along the third.
                for next_sign in (-1.0, 1.0):
                    ends = [_signs({axis: sign, one: next_sign, other: end}) for end in (-1.0, 1.0)]
                    near = [corner(end, axis, axis) for end in ends]
                    far = [corner(end, one, axis) for end in ends]
                    add([*near, *far[::-1]])
    if bevel:
        for x in (-1.0, 1.0):
            for y in (-1.0, 1.0):
                for z in (-1.0, 1.0):
                    add([corner((x, y, z), axis, 0) for axis in range(3)])
    return mesh


def lathe(profile: Sequence[tuple[float, float]], around: int) -> Mesh:
    """A profile of (radius, height) in metres, from below, turned about the y axis."""
    points = np.array(profile, dtype=float)
    # Normals across the profile, shared by neighbours.
    steps = np.diff(points, axis=0)
    across = np.stack([steps[:, 1], -steps[:, 0]], axis=1)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    smooth = np.vstack([across[:1], across[:-1] + across[1:], across[-1:]])
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    heights = np.concatenate([[0.0], np.cumsum(np.linalg.norm(steps, axis=1))])
    heights /= heights[-1]

    def corner(step: int, level: int) -> Corner:
        angle = 2 * math.pi * (step % around) / around
        cos, sin = math.cos(angle), -math.sin(angle)
        radius, height = points[level]
        out, up = smooth[level]
        return Corner(
            _vector((radius * cos, height, radius * sin)),
            _vector((out * cos, up, out * sin)),
            (step / around, float(heights[level])),
        )

    mesh = Mesh()
    for step in range(around):
        for level in range(len(points) - 1):
            face = [
                corner(step, level),
                corner(step + 1, level),
                corner(step + 1, level + 1),
                corner(step, level + 1),
            ]
            if points[level][0] == 0:
                del face[1]
            elif points[level + 1][0] == 0:
                del face[2]
            mesh.faces.append(face)
    return mesh


def sphere(radius: float, around: int, levels: int) -> Mesh:
    """A ball around the origin, with the poles on the y axis."""
    mesh = Mesh()

    def corner(step: int, level: int) -> Corner:
        longitude = 2 * math.pi * (step % around) / around
        latitude = math.pi * level / levels
        ring = 0.0 if level in (0, levels) else math.sin(latitude)
        normal = np.array([ring * math.cos(longitude), -math.cos(latitude), -ring * math.sin(longitude)])
        return Corner(_vector(normal * radius), _vector(normal), (step / around, level / levels))

    for step in range(around):
        for level in range(levels):
            face = [
                corner(step, level),
                corner(step + 1, level),
                corner(step + 1, level + 1),
                corner(step, level + 1),
            ]
            if level == 0:
                del face[1]
            elif level == levels - 1:
                del face[2]
            mesh.faces.append(face)
    return mesh


def arc(radius: float, thickness: float, *, start: float, end: float, around: int, sides: int) -> Mesh:
    """A round bar bent about the z axis, from `start` to `end` degrees, open at its ends."""
    mesh = Mesh()

    def corner(step: int, side: int) -> Corner:
        along = math.radians(start + (end - start) * step / around)
        about = 2 * math.pi * (side % sides) / sides
        out = np.array([math.cos(along), math.sin(along), 0.0])
        normal = out * math.cos(about) + np.array([0.0, 0.0, math.sin(about)])
        return Corner(
            _vector(out * radius + normal * thickness), _vector(normal), (step / around, side / sides)
        )

    for step in range(around):
        for side in range(sides):
            mesh.faces.append(
                [
                    corner(step, side),
                    corner(step + 1, side),
                    corner(step + 1, side + 1),
                    corner(step, side + 1),
                ]
            )
    return mesh


def obj(parts: Sequence[tuple[str, str, Mesh]], material_library: str) -> bytes:
    """Parts of (name, material, mesh) as an OBJ; equal positions, normals and coordinates once."""
    lines = ["# Made by samples/make_samples.py. Metres, y up.", f"mtllib {material_library}"]
    numbers: dict[str, int] = {}
    counts = {"v": 0, "vt": 0, "vn": 0}

    def number(kind: str, values: Iterable[float], digits: int) -> int:
        # Adding nothing turns -0 into 0.
        line = f"{kind} " + " ".join(f"{round(value, digits) + 0.0:g}" for value in values)
        if line not in numbers:
            counts[kind] += 1
            numbers[line] = counts[kind]
            lines.append(line)
        return numbers[line]

    for name, material, mesh in parts:
        faces = []
        for face in mesh.faces:
            corners = []
            for corner in face:
                v = number("v", corner.position, 5)
                vt = number("vt", corner.coordinate, 4)
                vn = number("vn", corner.normal, 3)
                corners.append(f"{v}/{vt}/{vn}")
            faces.append(" ".join(["f", *corners]))
        lines += [f"o {name}", f"usemtl {material}", *faces]
    return "\n".join([*lines, ""]).encode()


def _signs(by_axis: dict[int, float]) -> tuple[float, float, float]:
    return (by_axis[0], by_axis[1], by_axis[2])


def _rotation(turn: Vector) -> Array:
    matrix = np.eye(3)
    for axis, degrees in enumerate(turn):
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        one, other = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[one, one], about[one, other], about[other, one], about[other, other] = cos, -sin, sin, cos
        matrix = about @ matrix
    return matrix


def _vector(values: Iterable[float]) -> Vector:
    x, y, z = (float(value) for value in values)
    return (x, y, z)
