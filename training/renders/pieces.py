"""How each kind of piece is put together from beads, hoops and set stones."""

import math
from collections.abc import Callable

from training.renders.scene import Scene

FACE_ON = (0.0, -1.0, 0.2)


def ring(s: Scene) -> None:
    """A beaded hoop with one stone on top, often two small ones beside it."""
    s.hoop((0, 0, -0.05), 0.92, s.rng.uniform(0.08, 0.12), 64)
    s.gem((0, -0.05, 1.08), s.rng.uniform(0.26, 0.38))
    if s.rng.random() < 0.6:
        for x in (-0.42, 0.42):
            s.gem((x, -0.05, 0.93), 0.14, s.second)


def _crown(s: Scene, *, full: bool) -> None:
    n, radius = (16, 1.15) if full else (11, 1.35)
    start, end = (0.0, 2 * math.pi) if full else (math.pi * 1.08, math.pi * 1.92)
    back = 0.0 if full else 0.4
    s.hoop((0, back, -0.75), radius, 0.07, 96, flat=True, start=start, end=end)
    s.hoop((0, back, -0.55), radius, 0.05, 96, flat=True, start=start, end=end, stone_every=4)
    for i in range(n):
        a = start + (end - start) * (i + 0.5) / n
        x, y = radius * math.cos(a), radius * math.sin(a) + back
        middle = 1 - abs(i - (n - 1) / 2) / n
        top = s.rng.uniform(0.45, 0.55) * (1 if full else 0.7 + 1.3 * middle)
        for k in range(6):
            s.bead((x, y, -0.5 + top * k / 6), 0.045)
        if i % 2 == 0:
            s.gem((x, y, -0.45 + top), 0.13, s.stone, (x, y, 0.3))
        else:
            s.bead((x, y, -0.45 + top), 0.09, "pearl")


def tiara(s: Scene) -> None:
    """A bow of spikes, highest in the middle."""
    _crown(s, full=False)


def coronet(s: Scene) -> None:
    """A whole circle of spikes."""
    _crown(s, full=True)


def necklace(s: Scene) -> None:
    """A chain of beads with one stone hanging from it."""
    n = s.rng.choice([36, 44])
    for i in range(n):
        a = math.pi + math.pi * i / (n - 1)
        at = (1.35 * math.cos(a), -0.1 - 0.2 * math.sin(a), 0.95 + 1.55 * math.sin(a))
        s.bead(at, 0.085 + 0.05 * abs(math.sin(a)), s.second if i % 2 else None)
    s.gem((0, -0.2, -0.72), s.rng.uniform(0.24, 0.32))


def brooch(s: Scene) -> None:
    """One stone in one or two wreaths of small ones."""
    rings = s.rng.choice([1, 2])
    for k in range(rings):
        n = 10 + 6 * k
        for i in range(n):
            a, r = 2 * math.pi * i / n, 0.62 + 0.36 * k
            stone = s.second if (i + k) % 2 else s.stone
            s.gem((r * math.cos(a), 0, r * math.sin(a)), 0.14, stone, FACE_ON)
    s.gem((0, -0.08, 0), 0.40, s.stone, FACE_ON)
    s.hoop((0, 0.05, 0), 0.84 if rings == 1 else 1.18, 0.05, 72)


def pendant(s: Scene) -> None:
    """A large stone in a hoop on a chain, a pearl below."""
    for i in range(26):
        for sign in (-1, 1):
            s.bead((sign * 0.062 * i, 0.1, 0.55 + 0.055 * i), 0.045)
    s.hoop((0, 0, -0.25), 0.62, 0.07, 54)
    s.gem((0, -0.05, -0.25), 0.46, s.stone, (0, -1, 0.15))
    s.bead((0, 0, -0.98), 0.13, "pearl")


def earrings(s: Scene) -> None:
    """Two drops."""
    for x in (-0.7, 0.7):
        s.hoop((x, 0, 0.75), 0.2, 0.04, 26)
        s.gem((x, -0.05, 0.32), 0.18, s.second)
        for k in range(3):
            s.bead((x, 0, 0.06 - 0.09 * k), 0.04)
        s.gem((x, -0.05, -0.5), 0.32, s.stone)


def bracelet(s: Scene) -> None:
    """A lying hoop with stones all round."""
    s.hoop((0, 0, -0.62), 1.25, 0.11, 72, flat=True)
    for i in range(12):
        a = 2 * math.pi * i / 12
        at = (1.33 * math.cos(a), 1.33 * math.sin(a), -0.55)
        s.gem(at, 0.17, s.stone if i % 2 else s.second, (math.cos(a), math.sin(a), 0.3))


BUILD: dict[str, Callable[[Scene], None]] = {
    "ring": ring, "tiara": tiara, "necklace": necklace, "brooch": brooch, "pendant": pendant,
    "earrings": earrings, "coronet": coronet, "bracelet": bracelet,
}  # fmt: skip
