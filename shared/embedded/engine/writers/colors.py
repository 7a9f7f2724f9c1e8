"""What formats with one plain colour make of glTF's materials."""

import numpy as np

from shared.embedded.engine.decode import Part
from shared.embedded.engine.document import Document
from shared.embedded.engine.scene import Floats


def base_color(document: Document, part: Part) -> tuple[float, float, float, float]:
    """The linear colour and opacity of a part's material."""
    if part.material is None:
        return 1.0, 1.0, 1.0, 1.0
    material = document.items("materials")[part.material]
    red, green, blue, alpha = material.get("pbrMetallicRoughness", {}).get("baseColorFactor", (1, 1, 1, 1))
    return float(red), float(green), float(blue), float(alpha)


def vertex_colors(document: Document, part: Part) -> Floats:
    """Linear colours (n, 4): the material's times the vertices' own."""
    base = np.array(base_color(document, part), np.float32)
    own = np.ones((len(part.positions), 4), np.float32) if part.colors is None else part.colors
    return np.asarray(np.clip(np.nan_to_num(own * base), 0, 1), np.float32)


def encoded(colors: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Linear colours (n, 3 or 4) as sRGB-encoded bytes; a fourth channel is opacity, and not encoded."""
    rgb = np.clip(colors[..., :3], 0, 1)
    curved = np.where(rgb <= 0.0031308, rgb * 12.92, 1.055 * rgb ** (1 / 2.4) - 0.055)
    return np.rint(np.concatenate([curved, np.clip(colors[..., 3:], 0, 1)], axis=-1) * 255).astype(np.uint8)
