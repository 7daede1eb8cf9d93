"""A piece as it is put together: wires, bands, plates, beads and set stones, by what they are of."""

import math
import random
from collections import defaultdict

import numpy as np

from training.renders import shapes
from training.renders.design import FLAT, Design
from training.renders.materials import SOLIDS
from training.renders.shapes import Array, Mesh, Vector

FRONT = (0.0, -1.0, 0.12)
BACK = 0.3  # facing further away than this, a stone would only show its setting
UPRIGHT = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # the plane of x and y, stood up
COLLAR = 14
CUPPED = 0.12  # a stone from this radius on has a cup of bright foil behind it
ROSE = 0.2  # of the stones are rose cut


def upright(path: Array, at: tuple[float, float, float] = (0, 0, 0)) -> Array:
    """Turn a path in the plane of x and y so that it faces the camera."""
    found: Array = path @ UPRIGHT.T + at
    return found


def on(angle: float, radius: float, z: float) -> tuple[float, float, float]:
    """Find a place on a lying circle."""
    return radius * math.cos(angle), radius * math.sin(angle), z


def above(at: Vector, high: float) -> Array:
    found: Array = np.add(at, (0, 0, high))
    return found


class Piece:
    """Collect parts by material. All that is random is drawn from `rng` in one order."""

    def __init__(self, rng: random.Random, design: Design) -> None:
        self.rng, self.design = rng, design
        self.flat = design.kind in FLAT
        self.parts: dict[str, list[Mesh]] = defaultdict(list)
        self.filigree = False
        self._bead = shapes.bead()
        self._facets = "rose" if rng.random() < ROSE else "brilliant"

    def facts(self) -> dict[str, str]:
        """Say what there is to see of the design: a filigree plaque bears no engraving."""
        d, seen = self.design, set(self.parts)
        stones = sorted(made[6:] for made in seen if made.startswith("stone:"))
        return {
            "kind": d.kind, "form": d.form, "metal": d.metal, "stone": d.stone,
            "second_stone": d.second_stone if d.second_stone in stones else "",
            "stones": ", ".join(stones), "cut": d.cut, "setting": d.setting, "ground": d.ground,
            "engraving": d.engraving if "engraved" in seen else "",
            "filigree": "scrolls" if self.filigree else "",
            "enamel": d.enamel if f"enamel:{d.enamel}" in seen else "",
        }  # fmt: skip

    def add(self, mesh: Mesh, made: str = "metal") -> None:
        """Add one mesh of a material: metal, engraved, foil, stone:NAME or enamel:COLOUR."""
        self.parts[made].append(mesh)

    def bead(self, at: Vector, radius: float, stone: str = "") -> None:
        made = f"stone:{stone}" if stone else "metal"
        self.add(self._bead.placed(at, radius * np.eye(3)), made)

    def wire(self, path: Array, radius: float, closed: bool = False) -> None:
        self.add(shapes.tube(path, radius, 7, closed))

    def rope(self, path: Array, radius: float, closed: bool = False) -> None:
        """Wind two wires round each other."""
        long = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
        turns = max(2, round(long / (5.0 * radius)))
        many = np.stack(
            [
                np.interp(np.linspace(0, 1, 9 * turns), np.linspace(0, 1, len(path)), path[:, k])
                for k in range(3)
            ], 1,
        )  # fmt: skip
        for phase in (0.0, math.pi):
            wound = shapes.helix(many, 0.6 * radius, turns, phase, closed)
            self.add(shapes.tube(wound, 0.55 * radius, 6))

    def chain(self, path: Array, size: float) -> None:
        """Link ovals along a path, every other one on edge."""
        step = np.linalg.norm(np.diff(path, axis=0), axis=1)
        far = np.concatenate([[0], np.cumsum(step)])
        count = max(2, round(far[-1] / (1.35 * size)))
        places = np.linspace(0, far[-1], count)
        points = np.stack([np.interp(places, far, path[:, k]) for k in range(3)], 1)
        ahead = shapes.along(points, 0, False)
        link = shapes.circle(1.0, 12) * [0.62 * size, size, 0]
        for place, (at, forward) in enumerate(zip(points, ahead, strict=True)):
            face = np.array(FRONT if place % 2 else np.cross(forward, FRONT))
            axes = shapes.frame(face - forward * (face @ forward) / (forward @ forward), forward)
            self.add(shapes.tube(link, 0.23 * size, 6, True).placed(at, axes))

    def beads(self, path: Array, radius: float, gap: float = 2.0, stones: str = "") -> None:
        step = np.linalg.norm(np.diff(path, axis=0), axis=1)
        far = np.concatenate([[0], np.cumsum(step)])
        places = np.linspace(0, far[-1], max(2, round(far[-1] / (gap * radius))))
        for at in zip(*(np.interp(places, far, path[:, k]) for k in range(3)), strict=True):
            self.bead(at, radius, stones)

    def plate(
        self, shape: str, at: Vector, size: float, face: Vector = FRONT, *, wide: float = 1.0,
        dome: float = 0.1,
    ) -> None:  # fmt: skip
        """Add a plaque with a rim: engraved, enamelled, or of filigree, as the design says."""
        rim = shapes.outline(shape, 40) * [wide * size, size]
        axes, design = shapes.frame(face), self.design
        edge = np.concatenate([shapes.fine(rim), np.zeros((97, 1))], 1)
        border = shapes.tube(edge * 0.98, 0.055 * size + 0.012, 7, True)
        if design.filigree:
            self.add(border.placed(at, axes))
            self._filigree(edge, size, at, axes)
            return
        made = f"enamel:{design.enamel}" if design.enamel else "engraved"
        self.add(shapes.plate(rim * 0.97, 0.09 * size, dome * size).placed(at, axes), made)
        self.add(border.placed(at, axes))

    def _filigree(self, edge: Array, size: float, at: Vector, axes: Array) -> None:
        self.filigree = True
        thin = max(0.016, 0.035 * size)
        self.add(shapes.tube(edge * 0.42, thin, 6, True).placed(at, axes))
        for place in range(0, 96, 12):
            middle = edge[place + 6] * 0.70
            turn = math.atan2(middle[1], middle[0])
            for side in (-1.0, 1.0):
                curl = shapes.scroll(0.13 * size) * [1, side, 1] + [0.13 * size, 0, 0]
                spin = turn + side * 0.22
                turned = np.array(
                    [[math.cos(spin), -math.sin(spin), 0], [math.sin(spin), math.cos(spin), 0],
                     [0, 0, 1]]
                )  # fmt: skip
                reach = np.array([-math.sin(turn), math.cos(turn), 0]) * side * 0.10 * size
                path = curl @ turned.T + middle + reach
                self.add(shapes.tube(path, thin, 6).placed(at, axes))

    def stone(
        self, at: Vector, size: float, name: str = "", face: Vector = FRONT, cut: str = "",
        setting: str = "",
    ) -> None:  # fmt: skip
        """Set a stone: faceted if clear, a cabochon if opaque; the main one where none is named."""
        name = name or self.design.stone
        cut = cut or (self.design.cut if name == self.design.stone else "round")
        axes = size * shapes.frame(face)
        where = np.asarray(at, float)
        if name == "pearl":
            self.bead(where + 0.25 * axes[:, 2], 0.92 * size, name)
        elif name in SOLIDS:
            self.add(shapes.cabochon(cut).placed(where, axes), f"stone:{name}")
        else:
            self.add(
                shapes.cut_stone(cut, self._facets, 12 if size > 0.2 else 8).placed(where, axes),
                f"stone:{name}",
            )
        rim = shapes.outline(cut, 24)
        edge = np.concatenate([shapes.fine(rim, 48), np.zeros((49, 1))], 1)
        if size >= CUPPED and name != "pearl":
            self.add(_cup(edge).placed(where, axes), "foil")
        self._hold(edge, where, axes, setting or self.design.setting)

    def _hold(self, edge: Array, at: Array, axes: Array, setting: str) -> None:
        if setting == "beaded":
            for k in range(COLLAR):
                place = edge[k * 48 // COLLAR] * 1.08 - [0, 0, 0.05]
                self.bead(at + axes @ place, 0.16 * float(np.linalg.norm(axes[:, 0])))
            return
        thick = 0.11 if setting == "collet" else 0.06
        self.add(shapes.tube(edge * 1.06, thick, 7, True).placed(at, axes))
        if setting == "claws":
            for k in range(3, 48, 8):
                inner = edge[k] * 0.86 + [0, 0, 0.22]
                path = np.stack([edge[k] * 1.1 - [0, 0, 0.45], edge[k] * 1.08 + [0, 0, 0.1], inner])
                self.add(shapes.tube(path, 0.075, 6).placed(at, axes))


def _cup(edge: Array) -> Mesh:
    scales, depth = np.array([1.0, 0.9, 0.5, 0.0]), np.array([0.02, -0.3, -0.6, -0.62])
    points = shapes.rings(edge[:, :2], scales, depth)
    return shapes.grid(points, points[..., :2], (True, False))
