"""How each kind of piece is put together. A ring is two units high; x is right, z up, -y nearer."""

import math
from collections.abc import Callable

import numpy as np

from training.renders import shapes
from training.renders.crowns import coronet, tiara
from training.renders.materials import SOLIDS
from training.renders.piece import BACK, UPRIGHT, Piece, above, on, upright

Builder = Callable[[Piece], None]


def ring(p: Piece) -> None:
    form, low = p.design.form, -0.14
    around = upright(shapes.circle(0.88, 72), (0, 0, low))
    if form == "rope":
        p.rope(around, 0.1, closed=True)
    else:
        wide = p.rng.uniform(0.34, 0.46) if form == "band" else p.rng.uniform(0.17, 0.24)
        made = "engraved" if wide > 0.2 else "metal"
        p.add(shapes.band(0.88, wide, 0.1).placed((0, 0, low), UPRIGHT), made)
    size = p.rng.uniform(0.30, 0.38) * (1.25 if form == "solitaire" else 1.0)
    face, top = (0.0, -0.85, 0.55), 0.98
    p.stone((0, -0.06, top), size, face=face)
    if form == "three stones":
        for x in (-0.5, 0.5):
            p.stone((x, -0.04, 0.78), 0.21, p.design.second_stone, (x, -0.85, 0.5))
    if form == "cluster":
        axes = shapes.frame(face)
        for k in range(12):
            place = axes @ np.array([*on(math.pi * k / 6, 1.55 * size, -0.06)])
            p.stone(np.add(place, (0, -0.06, top)), 0.11, p.design.second_stone, face)
    if p.design.filigree:
        p.filigree = True
        for side in (-1, 1):
            for x, z in ((0.30, 0.70), (0.52, 0.54)):
                curl = shapes.scroll(0.13) * [side, 1, 1] + [side * (x + 0.1), z, 0]
                p.wire(upright(curl, (0, -0.1, 0)), 0.028)


def necklace(p: Piece) -> None:
    a = np.linspace(math.pi, 2 * math.pi, 80)
    path = np.stack([1.3 * np.cos(a), 0 * a, 0.95 + 1.5 * np.sin(a)], 1)
    form, d = p.design.form, p.design
    if form == "beads":
        p.beads(path, 0.1, 2.0, d.stone if d.stone in SOLIDS else d.second_stone)
    elif form == "chain":
        p.chain(path, p.rng.uniform(0.075, 0.11))
    else:
        for k, place in enumerate(range(3, 80, 6)):
            size = 0.12 + 0.07 * (1 - abs(place - 40) / 40)
            p.stone(path[place], size, d.second_stone if k % 2 else d.stone, cut="round")
            if form == "fringe" and 18 < place < 62 and abs(place - 40) > 4:
                low = path[place] - [0, 0, 0.22]
                p.bead(low, 0.05)
                p.stone(low - [0, 0, 0.2], 0.1, d.stone, cut="pear")
        p.wire(path, 0.03)
    low = (0.0, -0.06, -0.98)
    p.wire(upright(shapes.circle(0.08, 12), (0, 0, -0.60)), 0.025, True)
    if form in ("chain", "beads"):
        shape = p.rng.choice(["round", "lozenge", "hexagon", "eight"])
        p.plate(shape, low, 0.46)
        p.stone((0, -0.2, -0.98), 0.22)
    else:
        p.stone(low, p.rng.uniform(0.24, 0.3))


def brooch(p: Piece) -> None:
    form, d = p.design.form, p.design
    if form == "bar":
        p.plate("panel", (0, 0, 0), 0.46, wide=3.6)
        for x in (-0.72, 0.72):
            p.stone((x, -0.14, 0), 0.18, d.second_stone)
        p.stone((0, -0.2, 0), 0.32)
        return
    if form == "crescent":
        a = np.linspace(-0.35 * math.pi, 1.35 * math.pi, 60)
        thick = 0.05 + 0.17 * np.sin(np.linspace(0, math.pi, 60))
        arc = np.stack([0.85 * np.cos(a), 0 * a, -0.85 * np.sin(a)], 1)
        p.add(shapes.tube(arc, thick, 10), "engraved")
        for k in range(4, 60, 5):
            p.stone(arc[k] - [0, thick[k], 0], 0.45 * thick[k] + 0.06,
                    d.stone if k % 2 else d.second_stone, cut="round")  # fmt: skip
        return
    size = 1.0 if form in ("round", "oval") else 1.15
    p.plate(form, (0, 0, 0), size, dome=0.12)
    rim = shapes.fine(shapes.outline(form, 40), 96)
    inset, count = (0.68, 12) if form in ("round", "oval") else (0.62, 8)
    if form != "star" or not d.enamel:
        for k in range(count):
            x, z = size * inset * rim[k * 96 // count]
            p.stone((x, -0.14, z), 0.13, d.second_stone if k % 2 else d.stone, cut="round")
    p.stone((0, -0.34, 0), 0.36)


def pendant(p: Piece) -> None:
    form, d = p.design.form, p.design
    for side in (-1, 1):
        arm = np.array([[side * 0.06, 0, 0.72], [side * 0.8, 0.05, 1.5], [side * 1.9, 0.05, 2.6]])
        p.chain(arm, p.rng.choice([0.06, 0.08]))
    p.wire(upright(shapes.circle(0.1, 14), (0, 0, 0.64)), 0.035, True)
    middle, size = (0.0, 0.0, -0.22), 0.78
    shape = "pear" if form == "drop" else form
    p.plate(shape, middle, size, dome=0.1)
    if form in ("round", "oval", "drop"):
        rim = shapes.fine(shapes.outline(shape, 40), 96)
        for k in range(0, 96, 8):
            x, z = 0.74 * size * rim[k]
            p.stone((x, -0.1, z - 0.22), 0.085, d.second_stone, cut="round", setting="collet")
    if form == "cross":
        for x, z in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
            p.stone((x, -0.1, z - 0.22), 0.12, d.second_stone, cut="round")
    p.stone((0, -0.28, -0.22), 0.32)
    p.bead((0, 0, -1.12), 0.11, "pearl")


def earrings(p: Piece) -> None:
    form, d = p.design.form, p.design
    for x in (-0.72, 0.72):
        p.wire(upright(shapes.circle(0.16, 18), (x, 0, 1.02)), 0.03, True)
        if form == "hoops":
            p.add(shapes.band(0.56, 0.16, 0.1).placed((x, 0, 0.2), UPRIGHT))
            p.rope(upright(shapes.circle(0.56, 48), (x, -0.1, 0.2)), 0.05, closed=True)
            p.stone((x, -0.05, -0.62), 0.25)
        elif form == "clusters":
            p.plate("round", (x, 0, 0.3), 0.56)
            for k in range(8):
                u, v, _ = on(math.pi * k / 4, 0.4, 0)
                p.stone((x + u, -0.08, 0.3 + v), 0.115, d.second_stone, cut="round")
            p.stone((x, -0.12, 0.3), 0.22)
            p.stone((x, -0.04, -0.6), 0.24)
        elif form == "chandeliers":
            p.stone((x, -0.05, 0.62), 0.2, d.second_stone)
            p.plate("pear", (x, 0, 0.12), 0.4)
            for side in (-0.36, 0.0, 0.36):
                low = -0.72 if side == 0 else -0.5
                p.chain(np.array([[x + side * 0.6, 0, -0.1], [x + side, 0, low + 0.2]]), 0.05)
                p.stone((x + side, -0.04, low), 0.17 if side == 0 else 0.13)
        else:
            p.stone((x, -0.05, 0.58), 0.22, d.second_stone)
            p.chain(np.array([[x, 0, 0.34], [x, 0, 0.02]]), 0.06)
            p.plate("pear" if d.cut == "pear" else "oval", (x, 0, -0.48), 0.52, wide=0.95)
            p.stone((x, -0.2, -0.48), 0.3)


def bracelet(p: Piece) -> None:
    form, d, radius = p.design.form, p.design, 1.22
    low = {"bangle": -0.82, "panels": -0.56, "beads": -0.85}[form]  # so that it stands on the floor
    if form == "bangle":
        p.add(shapes.band(radius, 0.44, 0.08).placed((0, 0, low)), "engraved")
        for z in (-0.24, 0.24):
            p.wire(above(shapes.circle(radius + 0.04, 90), low + z), 0.04, True)
        for k in range(-2, 3):
            a = -math.pi / 2 + 0.42 * k
            x, y, _ = on(a, radius + 0.1, 0)
            p.stone((x, y, low), 0.17 if k else 0.25, d.second_stone if k % 2 else d.stone,
                    (x, y, 0.25))  # fmt: skip
        return
    count = 10 if form == "panels" else 16
    for k in range(count):
        a = -math.pi / 2 + 2 * math.pi * k / count
        x, y, _ = on(a, radius, 0)
        face = (x, y, 0.2)
        if form == "beads":
            if k % 4 == 0 and y < BACK:
                p.stone((1.03 * x, 1.03 * y, low), 0.24, d.stone, face)
            else:
                p.bead((x, y, low), 0.21, d.second_stone if k % 2 else d.stone)
            continue
        shape = "panel" if k % 2 else "eight"
        p.plate(shape, (x, y, low), 0.42 if k else 0.52, face, dome=0.04)
        near = (1.07 * x, 1.07 * y, low)
        if k == 0:
            p.stone(near, 0.30, d.stone, face, cut="oval")
        elif k % 2 == 0 and face[1] < BACK:
            p.stone(near, 0.16, d.stone, face, cut="oval")
        half = math.pi / count
        for z in (-0.14, 0.14):
            u, v, _ = on(a + half, radius, 0)
            link = shapes.circle(0.09, 12) @ shapes.frame((u, v, 0)).T + [u, v, low + z]
            p.wire(link, 0.03, True)


BUILD: dict[str, Builder] = {
    "ring": ring, "tiara": tiara, "necklace": necklace, "brooch": brooch, "pendant": pendant,
    "earrings": earrings, "coronet": coronet, "bracelet": bracelet,
}  # fmt: skip
