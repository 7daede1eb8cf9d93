"""Pictures as vectors, to compare them by: plain features that need no model.

Three views of a picture, each of unit length: a small colour copy without its mean (what lies where),
a histogram of hue, saturation and value (which colours), and oriented gradients (Dalal and Triggs
2005: which edges). `dhash` is the 64-bit difference hash of near-duplicates.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

SMALL = 16
CELLS, ANGLES = 8, 8


def features_of(picture: Image.Image) -> Any:
    """Join all three views to one vector of 1,408 numbers."""
    return np.concatenate([layout(picture), colours(picture), edges(picture)]).astype(np.float32)


def features_of_all(pictures: Iterable[Image.Image]) -> Any:
    return np.stack([features_of(picture) for picture in pictures])


def layout(picture: Image.Image) -> Any:
    """Shrink to 16x16 colours, their mean taken out: 768 numbers."""
    small = np.asarray(picture.convert("RGB").resize((SMALL, SMALL)), dtype=np.float64)
    return unit((small - small.mean((0, 1))).ravel())


def colours(picture: Image.Image) -> Any:
    """Take square roots of the shares of 8x4x4 hues, saturations, values: 128 numbers."""
    pixels = np.asarray(picture.convert("HSV").resize((64, 64)), dtype=np.int64).reshape(-1, 3)
    bins = (pixels[:, 0] // 32) * 16 + (pixels[:, 1] // 64) * 4 + pixels[:, 2] // 64
    return unit(np.sqrt(np.bincount(bins, minlength=128)))


def edges(picture: Image.Image) -> Any:
    """Sum gradients by 8 directions in 8x8 cells of a grey copy: 512 numbers."""
    grey = np.asarray(picture.convert("L").resize((64, 64)), dtype=np.float64)
    down, right = np.gradient(grey)
    angle = np.mod(np.arctan2(down, right), np.pi)
    place = np.minimum((angle / np.pi * ANGLES).astype(int), ANGLES - 1)
    cell = np.add.outer(np.arange(64) // 8 * CELLS, np.arange(64) // 8)
    found = np.bincount((cell * ANGLES + place).ravel(), np.hypot(down, right).ravel(), 512)
    return unit(np.sqrt(found))


def unit(vector: Any) -> Any:
    """Scale to length 1; nothing stays nothing."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-9 else np.zeros_like(vector, dtype=float)


def dhash(picture: Image.Image) -> int:
    """Tell of each of 8x8 grey cells whether it is darker than its right neighbour: 64 bits."""
    grey = np.asarray(picture.convert("L").resize((9, 8)), dtype=np.int64)
    bits = (grey[:, :-1] < grey[:, 1:]).ravel()
    return sum(1 << place for place, bit in enumerate(bits) if bit)
