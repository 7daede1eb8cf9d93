"""Tiles for engraved metal, and clouds for worn metal: pictures (H, W) of values in 0..1."""

import functools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Picture = NDArray[np.float64]
PATTERNS = ("scrolls", "leaves", "lozenges", "key", "flowers", "rays")
TILE = 96  # pixels of a tile; it is drawn at thrice that, and smoothed
LARGE = 3 * TILE
LINE = 20  # the width of a cut at the large size: two pixels of a picture


def clouds(seed: int, size: int, finest: int = 8) -> Picture:
    """Make soft noise without seams, spread over 0..1."""
    rng = np.random.default_rng(seed)
    rows = np.fft.fftfreq(size)[:, None] * size
    far = np.hypot(rows, np.fft.fftfreq(size)[None, :] * size)
    shape = np.where(far > 0, np.exp(-((far / finest) ** 2)) / np.maximum(far, 1.0), 0)
    waves = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * shape).real
    low, high = np.quantile(waves, (0.02, 0.98))
    found: Picture = np.clip((waves - low) / (high - low), 0, 1)
    return found


@functools.cache
def pattern(name: str) -> Picture:
    """Draw one tile: 1 where the graver has cut."""
    large = Image.new("L", (3 * LARGE, LARGE))
    draw = ImageDraw.Draw(large)
    for shift in (0, LARGE, 2 * LARGE):  # what crosses an edge comes in at the other
        for line in (*LINES[name], *BORDERS):
            draw.line(
                [(shift + x * LARGE, y * LARGE) for x, y in line], fill=255, width=LINE,
                joint="curve",
            )  # fmt: skip
    soft = large.filter(ImageFilter.GaussianBlur(4)).crop((LARGE, 0, 2 * LARGE, LARGE))
    small = soft.resize((TILE, TILE), Image.Resampling.LANCZOS)
    found: Picture = np.asarray(small, float) / 255
    return found


Line = list[tuple[float, float]]
BORDERS: list[Line] = [[(0, 0.06), (1, 0.06)], [(0, 0.94), (1, 0.94)]]


def _scrolls() -> list[Line]:
    stem = [(t / 40, 0.5 + 0.16 * math.sin(2 * math.pi * t / 40)) for t in range(41)]
    lines = [stem]
    for middle, side in ((0.25, 1.0), (0.75, -1.0)):
        eye = (middle, 0.5 - side * 0.10)
        lines.append(
            [
                (eye[0] + r * math.cos(a), eye[1] - side * r * math.sin(a))
                for a, r in ((t / 5, 0.035 + 0.0085 * t) for t in range(26))
            ]
        )
    return lines


def _leaves() -> list[Line]:
    lines: list[Line] = [[(0, 0.5), (1, 0.5)]]
    for x in (0.0, 0.5):
        for side in (-1, 1):
            for bow in (-0.10, 0.10):
                lines.append(
                    [
                        (x + 0.36 * t / 9 + bow * math.sin(math.pi * t / 9) * -side * 0.9,
                         0.5 + side * (0.36 * t / 9) + bow * math.sin(math.pi * t / 9))
                        for t in range(10)
                    ]
                )  # fmt: skip
    return lines


DIAMOND: Line = [(0.0, 0.5), (0.5, 0.08), (1.0, 0.5), (0.5, 0.92), (0.0, 0.5)]
INNER: Line = [(0.5 + 0.42 * (x - 0.5), 0.5 + 0.42 * (y - 0.5)) for x, y in DIAMOND]
MEANDER: Line = [
    (0, 0.8), (0.12, 0.8), (0.12, 0.2), (0.82, 0.2), (0.82, 0.62), (0.5, 0.62), (0.5, 0.44),
    (0.5, 0.62), (0.82, 0.62), (0.82, 0.8), (1, 0.8),
]  # fmt: skip
ROSE: Line = [
    (0.5 + r * math.cos(a), 0.5 + r * math.sin(a))
    for a, r in ((t * math.pi / 40, 0.1 + 0.26 * abs(math.cos(t * math.pi / 16)))
                 for t in range(81))
]  # fmt: skip
LINES: dict[str, list[Line]] = {
    "scrolls": _scrolls(),
    "leaves": _leaves(),
    "lozenges": [DIAMOND, INNER],
    "key": [MEANDER],
    "flowers": [ROSE, [(0, 0.25), (0, 0.75)]],
    "rays": [[(x, 0.12), (x + 0.25, 0.5), (x, 0.88)] for x in (0.0, 0.25, 0.5, 0.75)],
}
