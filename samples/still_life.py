"""A still life: a wooden crate on a tiled floor, a globe in a brass stand on it, a vase beside it."""

from samples.meshes import Mesh, arc, box, joined, lathe, obj, sphere

MATERIALS = """\
# Made by samples/make_samples.py.
newmtl pine
Ka 0 0 0
Kd 1 1 1
Ks 0.04 0.04 0.04
Ns 12
map_Kd textures/planks.png

newmtl planet
Ka 0 0 0
Kd 1 1 1
Ks 0.2 0.2 0.2
Ns 80
map_Kd textures/globe.png

newmtl tiles
Ka 0 0 0
Kd 1 1 1
Ks 0.3 0.3 0.3
Ns 120
map_Kd textures/tiles.png

newmtl brass
Ka 0 0 0
Kd 0.72 0.53 0.2
Ks 0.6 0.5 0.3
Ns 90

newmtl glaze
Ka 0 0 0
Kd 0.62 0.11 0.1
Ks 0.4 0.4 0.4
Ns 200
"""

_SIDE = 0.6  # metres, the crate's
_BOARD = 0.02
_FRAME = 0.085
_GLOBE = 0.2
_TILE = 0.15


def model(material_library: str) -> bytes:
    """The whole still life as an OBJ, standing on y = 0 around the y axis."""
    # Nine by seven of the picture's tiles, of which four fill a picture; half a one left of the middle.
    floor = box((9 * _TILE, 0.05, 7 * _TILE), bevel=0.006, scale=1 / (4 * _TILE), shift=(0.125, 0.125))
    floor = floor.moved((0.12, 0.025, 0.08))
    crate = _crate().moved((-0.08, 0.05, -0.02), turn=(0, 24, 0))
    top = 0.05 + _SIDE + _BOARD
    globe = sphere(_GLOBE, 48, 24).moved((0, _GLOBE + 0.12, 0), turn=(0, 200, -23))
    place = (-0.1, top, -0.03)
    return obj(
        [
            ("floor", "tiles", floor),
            ("crate", "pine", crate),
            ("globe", "planet", globe.moved(place)),
            ("stand", "brass", _stand().moved(place, turn=(0, 24, 0))),
            ("vase", "glaze", _vase().moved((0.56, 0.05, 0.34))),
        ],
        material_library,
    )


def _crate() -> Mesh:
    """Five walls of boards, open to the floor; it stands on y = 0."""
    half = _SIDE / 2
    walls = [
        _wall(side, braced=True).moved((0, half, half)).moved(turn=(0, 90 * side, 0)) for side in range(4)
    ]
    lid = _wall(4, braced=False).moved(turn=(-90, 0, 0)).moved((0, _SIDE, 0))
    return joined([*walls, lid])


def _wall(number: int, *, braced: bool) -> Mesh:
    """Planks in the plane z = 0 with a frame before them, and a brace from corner to corner."""
    planks = 5
    pitch = _SIDE / planks
    boards: list[Mesh] = []

    def board(width: float, height: float, x: float, y: float, *, front: float, turn: float = 0) -> None:
        # Each board is cut from another place of the wood.
        cut = (0.37 * (number * 11 + len(boards)) % 1, 0.23 * (number * 7 + len(boards)) % 1)
        piece = box((width, height, _BOARD), bevel=0.004, scale=1.5, shift=cut)
        boards.append(piece.moved((x, y, front), turn=(0, 0, turn)))

    for plank in range(planks):
        y = (plank + 0.5) * pitch - _SIDE / 2
        board(_SIDE - 2 * _BOARD, pitch - 0.006, 0, y, front=-_BOARD / 2)
    edge = (_SIDE - _FRAME) / 2
    inner = _SIDE - 2 * _FRAME
    for sign in (-1, 1):
        board(_FRAME, _SIDE, sign * edge, 0, front=_BOARD / 2)
        board(inner, _FRAME, 0, sign * edge, front=_BOARD / 2)
    if braced:
        board(inner * 1.414 - _FRAME, _FRAME * 0.9, 0, 0, front=_BOARD / 2 - 0.003, turn=45)
    return joined(boards)


def _stand() -> Mesh:
    """A foot, a stem, and half a ring that holds the globe by its poles."""
    foot = lathe(
        [
            (0, 0),
            (0.1, 0),
            (0.105, 0.006),
            (0.1, 0.014),
            (0.05, 0.024),
            (0.018, 0.04),
            (0.014, 0.07),
            (0.014, 0.11),
        ],
        32,
    )
    ring = arc(_GLOBE + 0.018, 0.009, start=-113, end=67, around=40, sides=10)
    knobs = [sphere(0.014, 16, 8).moved(turn=(0, 0, angle)).moved(_on_ring(angle)) for angle in (67, -113)]
    held = joined([ring, *knobs]).moved((0, _GLOBE + 0.12, 0))
    return joined([foot, held])


def _on_ring(degrees: float) -> tuple[float, float, float]:
    (corner, *_), *_ = arc(_GLOBE + 0.018, 0, start=degrees, end=degrees + 1, around=1, sides=3).faces
    return corner.position


def _vase() -> Mesh:
    """Turned on a wheel, hollow, 0.42 m high."""
    outside = [
        (0, 0), (0.07, 0), (0.078, 0.008), (0.1, 0.06), (0.122, 0.12), (0.13, 0.17), (0.122, 0.22),
        (0.098, 0.27), (0.066, 0.315), (0.048, 0.35), (0.046, 0.375), (0.054, 0.4), (0.068, 0.416),
        (0.071, 0.42),
    ]  # fmt: skip
    inside = [(0.066, 0.421), (0.05, 0.4), (0.04, 0.37), (0.044, 0.34), (0.06, 0.3)]
    return lathe([*outside, *inside], 40)
