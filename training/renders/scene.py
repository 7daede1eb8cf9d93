"""One scene: camera, light, ground, and the beads and stones that a piece is built of.

Two styles. `plain` is a studio table: one coloured ground, two lamps. `museum` is a catalogue's plate:
a plinth before a wall that falls off into shadow, one soft light from above, worn metal, and a scale
bar put under the piece afterwards.
"""

import math
import random
from pathlib import Path
from typing import Any, Literal

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.renders.materials import GEMS, GROUNDS, METAL_DRAW, METALS, SECOND, SOLIDS

Style = Literal["plain", "museum"]
Place = tuple[float, float, float]
Bytes = NDArray[np.uint8]

PLINTH = [0.33, 0.30, 0.27]
WALL = [0.16, 0.15, 0.15]
COLLAR = 14  # beads around a set stone


def variant() -> None:
    """Choose Mitsuba's plain interpreter: no compiler is needed."""
    mi.set_variant("scalar_rgb")


def cut_stone(path: Path, sides: int = 10) -> None:
    """Write a faceted stone of unit radius, table up (+z), as a Wavefront mesh."""

    def circle(radius: float, z: float, turned: float = 0.0) -> list[Place]:
        angles = [2 * math.pi * (i + turned) / sides for i in range(sides)]
        return [(radius * math.cos(a), radius * math.sin(a), z) for a in angles]

    points = circle(0.55, 0.36) + circle(1.0, 0.04, 0.5) + circle(1.0, -0.04, 0.5)
    points += [(0, 0, -0.85), (0, 0, 0.36)]
    n, faces = sides, []
    for i in range(n):
        j = (i + 1) % n
        faces += [
            (3 * n + 1, i, j), (i, n + i, j), (j, n + i, n + j), (n + i, 2 * n + i, n + j),
            (n + j, 2 * n + i, 2 * n + j), (2 * n + i, 3 * n, 2 * n + j),
        ]  # fmt: skip
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in points]
    lines += [f"f {a + 1} {b + 1} {c + 1}\n" for a, b, c in faces]
    path.write_text("".join(lines), encoding="ascii")


class Scene:
    """What is drawn at random is drawn in one order, so a picture's number gives the same again."""

    def __init__(
        self, rng: random.Random, mesh: Path, size: int, samples: int, style: Style
    ) -> None:
        self.rng, self._mesh, self._size, self._style = rng, mesh, size, style
        self._shapes = 0
        self.ground = rng.choice(list(GROUNDS))
        self.metal = rng.choice(METAL_DRAW)
        self.stone = rng.choice([*GEMS, *SOLIDS])
        self.second = rng.choice([s for s in SECOND if s != self.stone])
        rough = rng.choice([0.07, 0.12, 0.2])
        worn = {"alpha": 0.28, "specular_reflectance": {"type": "rgb", "value": [0.78, 0.74, 0.66]}}
        self._metal = {
            "type": "roughconductor",
            "material": METALS[self.metal],
            **({"alpha": rough} if style == "plain" else worn),
        }
        origin = [rng.uniform(-1.6, 1.6), -5.4, rng.uniform(1.6, 3.4)]
        if style == "museum":
            origin = [origin[0] * 0.15, -5.7, 1.1 + origin[2] * 0.2]
        sampler = {
            "type": "independent", "sample_count": samples, "seed": rng.randrange(1 << 20)
        }  # fmt: skip
        film = {
            "type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "gaussian"}
        }  # fmt: skip
        up = mi.ScalarTransform4f().look_at(origin=origin, target=[0, 0, 0.05], up=[0, 0, 1])
        self._items: dict[str, Any] = {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": 14},
            "sensor": {
                "type": "perspective", "fov": 32, "to_world": up, "film": film, "sampler": sampler
            },
        } | self._surroundings()  # fmt: skip

    def _surroundings(self) -> dict[str, Any]:
        rng = self.rng
        sky = {"type": "constant", "radiance": rng.uniform(0.25, 0.5)}
        key = _lamp([rng.uniform(-4, -2), -3, rng.uniform(4, 6)], 1.3, [9, 8.6, 8])
        rim = _lamp([rng.uniform(3, 5), 2, 3.2], 0.8, [7, 7.5, 9])
        if self._style == "plain":
            floor = _surface(
                mi.ScalarTransform4f().translate([0, 0, -1.06]).scale(24), GROUNDS[self.ground]
            )
            return {"env": sky, "key": key, "rim": rim, "floor": floor}
        plinth = _surface(
            mi.ScalarTransform4f().translate([0, 0, -1.06]).scale([24, 2.4, 1]), PLINTH
        )
        wall = _surface(
            mi.ScalarTransform4f().translate([0, 3.2, 0]).rotate([1, 0, 0], 90).scale(24), WALL
        )
        above = _lamp([0, -1.2, 5.5], 1.8, [8.5, 8.2, 7.6])
        front = _lamp([-2.5, -6, 3], 1.0, [3.2, 3.1, 3.0])
        dim = {"type": "constant", "radiance": 0.12}
        return {"env": dim, "key": above, "rim": front, "floor": plinth, "wall": wall}

    def picture(self) -> Bytes:
        """Path traced, (size, size, 3)."""
        drawn = mi.Bitmap(mi.render(mi.load_dict(self._items)))
        rgb = drawn.convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.UInt8, True)
        pixels: Bytes = np.array(rgb)
        return with_scale_bar(pixels) if self._style == "museum" else pixels

    def _add(self, shape: dict[str, Any]) -> None:
        self._shapes += 1
        self._items[f"s{self._shapes}"] = shape

    def bead(self, at: Any, radius: float, stone: str | None = None) -> None:
        """A ball of metal, or of a stone."""
        centre = [float(x) for x in at]
        bsdf = _stone(stone) if stone else self._metal
        self._add({"type": "sphere", "center": centre, "radius": float(radius), "bsdf": bsdf})

    def gem(
        self, at: Any, radius: float, stone: str | None = None, face: Place = (0, -1, 0.35)
    ) -> None:
        """A set stone: cut if clear, a round bead if opaque, with a metal collar."""
        stone = stone or self.stone
        where = np.array(at, float)
        out = np.array(face, float)
        out /= np.linalg.norm(out)
        steep = abs(out[2]) >= 0.9
        if stone in SOLIDS:
            self.bead(where, radius * 0.9, stone)
        else:
            up = [0, 1, 0] if steep else [0, 0, 1]
            turned = mi.ScalarTransform4f().look_at(
                origin=where.tolist(), target=(where + out).tolist(), up=up
            )
            self._add(
                {
                    "type": "obj", "filename": str(self._mesh), "face_normals": True,
                    "bsdf": _stone(stone), "to_world": turned.scale(float(radius)),
                }
            )  # fmt: skip
        side = np.cross(out, [0, 1.0, 0] if steep else [0, 0, 1.0])
        side /= np.linalg.norm(side)
        other = np.cross(out, side)
        for k in range(COLLAR):
            a = 2 * math.pi * k / COLLAR
            around = (side * math.cos(a) + other * math.sin(a)) * radius * 1.08
            self.bead(where - out * radius * 0.15 + around, radius * 0.17)

    def hoop(
        self, centre: Place, radius: float, bead: float, count: int, *, flat: bool = False,
        start: float = 0.0, end: float = 2 * math.pi, stone_every: int = 0,
    ) -> None:  # fmt: skip
        """A circle of beads, upright or `flat`; every so many of them is of the second stone."""
        for i in range(count):
            a = start + (end - start) * i / count
            u, v = radius * math.cos(a), radius * math.sin(a)
            at = np.add(centre, (u, v, 0) if flat else (u, 0, v))
            self.bead(at, bead, self.second if stone_every and i % stone_every == 0 else None)


def _lamp(at: list[float], size: float, rgb: list[float]) -> dict[str, Any]:
    turned = mi.ScalarTransform4f().look_at(origin=at, target=[0, 0, 0], up=[0, 0, 1])
    light = {"type": "area", "radiance": {"type": "rgb", "value": rgb}}
    return {"type": "rectangle", "to_world": turned.scale(size), "emitter": light}


def _surface(placed: Any, rgb: list[float]) -> dict[str, Any]:
    bsdf = {
        "type": "twosided",
        "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": rgb}},
    }
    return {"type": "rectangle", "to_world": placed, "bsdf": bsdf}


def _stone(stone: str) -> dict[str, Any]:
    if stone in SOLIDS:
        colour = {"type": "rgb", "value": SOLIDS[stone]}
        return {"type": "plastic", "diffuse_reflectance": colour, "int_ior": 1.5}
    rgb, refraction = GEMS[stone]
    through = {"type": "rgb", "value": rgb}
    return {"type": "dielectric", "int_ior": refraction, "specular_transmittance": through}


def with_scale_bar(pixels: Bytes) -> Bytes:
    """A catalogue's black and white measure at the lower left."""
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    edge = picture.width
    cell, top, left = edge // 20, edge - edge // 14, edge // 16
    for k in range(5):
        shade = (245, 245, 240) if k % 2 else (12, 12, 12)
        x = left + k * cell
        draw.rectangle((x, top, x + cell - 1, top + max(3, edge // 45)), fill=shade)
    bar = (left - 1, top - 1, left + 5 * cell, top + max(3, edge // 45) + 1)
    draw.rectangle(bar, outline=(245, 245, 240))
    return np.array(picture)
