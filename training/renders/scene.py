"""One picture: a piece before the camera, in one of two manners.

`shop`: a dealer's photograph, a new and plain piece on coloured cloth, bright, the flash beside the
lens. `museum`: a plate of a catalogue, an old piece on a neutral sweep between two soft lights. Both
have the same pieces and the same cameras. Flat pieces lie on a board, the others stand.
"""

import math
from pathlib import Path
from typing import Any, Literal

import drjit
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from training.renders.materials import GROUNDS, enamel, engraved, lamp, new_metal, stone, worn_metal
from training.renders.piece import Piece
from training.renders.shapes import Mesh, grid, joined, write_ply

Manner = Literal["shop", "museum"]
Bytes = NDArray[np.uint8]
PASSES = 4  # of the paths of a pixel, each pass with a seed of its own
SMOOTH = {"shop": 2.2, "museum": 3.5}  # pixels; soft light throws no hard shadow to keep
FLOOR = -1.06
BOARD = 0.2  # how far behind a flat piece its ground is
NEUTRAL = ([0.30, 0.30, 0.31], [0.40, 0.40, 0.40], [0.21, 0.21, 0.22])


def variant(threads: int = 0) -> None:
    """Choose Mitsuba's plain interpreter: no compiler is needed. No threads means all cores."""
    mi.set_variant("scalar_rgb")
    if threads:
        drjit.set_thread_count(threads)


def picture(piece: Piece, manner: Manner, size: int, samples: int, folder: Path) -> Bytes:
    """Trace paths to (size, size, 3); meshes go into `folder` on their way."""
    rng = piece.rng
    sideways, high = rng.uniform(-1.3, 1.3), rng.uniform(0, 1)
    eye = [sideways, -5.4, 0.4 + 1.1 * high if piece.flat else 1.5 + 1.4 * high]
    middle = 0.0 if piece.flat or piece.design.kind == "ring" else -0.28
    up = mi.ScalarTransform4f().look_at(origin=eye, target=[0, 0, middle], up=[0, 0, 1])
    film = {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "gaussian"}}
    sampler = {"type": "multijitter", "sample_count": max(1, samples // PASSES)}
    light = shop_light(piece, eye) if manner == "shop" else museum_light(piece)
    scene = mi.load_dict(
        {
            "type": "scene", "integrator": {"type": "path", "max_depth": 12},
            "sensor": {"type": "perspective", "fov": 32, "to_world": up, "film": film,
                       "sampler": sampler},
        } | shapes(piece, manner, folder) | light,
        parallel=False, optimize=False,
    )  # fmt: skip
    seed = rng.randrange(1 << 20)
    passes = [np.array(mi.render(scene, seed=seed + k))[..., :3] for k in range(PASSES)]
    which = mi.load_dict({"type": "aov", "aovs": "x:shape_index"})
    index = np.array(mi.render(scene, integrator=which, spp=4, seed=seed))[..., 0]
    ground = np.abs(index - index[-1, 0]) < 1e-3  # in that corner there is nothing else
    return developed(np.stack(passes), ground, manner)


def developed(passes: NDArray[np.float32], ground: NDArray[np.bool_], manner: Manner) -> Bytes:
    """Average the middle passes of each pixel (a firefly is in one), as sRGB bytes."""
    ordered = np.sort(passes, axis=0)
    light = ordered[1:-1].mean(0)
    share = ground[..., None].astype(float)  # the grain of the plain ground is smoothed away
    wide = (SMOOTH[manner], SMOOTH[manner], 0)
    total = gaussian_filter(light * share, wide, mode="nearest")
    smooth = total / np.maximum(gaussian_filter(share, wide, mode="nearest"), 1e-3)
    light = np.where(share > 0, smooth, light)
    if manner == "museum":  # a film's shoulder keeps the highlights
        light = np.where(light > 0.6, 0.6 + 0.4 * np.tanh((light - 0.6) / 0.7), light)
    light = np.clip(light, 0, 1)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    found: Bytes = (srgb * 255 + 0.5).astype(np.uint8)
    return found


def ground(piece: Piece, old: bool, path: Path) -> dict[str, Any]:
    rgb = GROUNDS[piece.design.ground]
    if old:
        rgb = piece.rng.choice(NEUTRAL) if piece.design.ground == "grey" else [0.6 * c for c in rgb]
    surface = {"type": "diffuse", "reflectance": {"type": "rgb", "value": rgb}}
    write_ply(sweep(piece.flat), path)
    return {"type": "ply", "filename": str(path), "bsdf": {"type": "twosided", "bsdf": surface}}


def shapes(piece: Piece, manner: Manner, folder: Path) -> dict[str, Any]:
    """Give the piece's meshes with what each is made of."""
    rng, design = piece.rng, piece.design
    seed = rng.randrange(1 << 20)
    old = manner == "museum"
    metal: dict[str, Any] = (
        worn_metal(design.metal, seed, rng.uniform(0.5, 1.0))
        if old
        else {"type": "twosided", "bsdf": new_metal(design.metal, rng.choice([0.06, 0.1, 0.14]))}
    )
    plain = metal if old else metal["bsdf"]
    found = {"ground": ground(piece, old, folder / "ground.ply")}
    for place, (name, meshes) in enumerate(sorted(piece.parts.items())):
        made, _, which = name.partition(":")
        if made == "foil":
            bsdf = {"type": "twosided", "bsdf": new_metal("silver", 0.15)}
        elif made == "stone":
            bsdf = stone(which, seed)
        elif made == "enamel":
            bsdf = enamel(which)
        elif made == "engraved" and design.engraving:
            deep, dark = (0.08, 0.7) if old else (0.05, 0.25)
            bsdf = engraved(plain, design.engraving, deep, dark)
        else:
            bsdf = metal
        path = folder / f"{place}.ply"
        write_ply(joined(meshes), path)
        faceted = made == "stone" and bsdf["type"] == "dielectric"
        found[f"part{place}"] = {
            "type": "ply", "filename": str(path), "face_normals": faceted, "bsdf": bsdf,
        }  # fmt: skip
    return found


def sweep(flat: bool) -> Mesh:
    """Curve a floor up into a wall, so that no horizon shows; or stand a board behind flat pieces."""
    if flat:
        profile = np.array([[BOARD, -9.0], [BOARD, 0.0], [BOARD, 9.0]])
    else:
        a = np.linspace(-math.pi / 2, 0, 14)
        bend = np.stack([4.0 + 3.0 * np.cos(a), FLOOR + 3.0 + 3.0 * np.sin(a)], 1)
        profile = np.concatenate([[[-9.0, FLOOR]], [[0.0, FLOOR]], bend, [[7.0, 9.0]]])
    across = np.linspace(-14, 14, 3)
    y, z = (np.repeat(profile[None, :, k], 3, 0) for k in (0, 1))
    points = np.stack([np.repeat(across[:, None], len(profile), 1), y, z], -1)
    return grid(points, points[..., :2] / 20)


def shop_light(piece: Piece, eye: list[float]) -> dict[str, Any]:
    """Light a bright room, and the flash beside the lens."""
    rng = piece.rng
    flash = [eye[0] + rng.uniform(-0.35, 0.35), eye[1] + 0.1, eye[2] + 0.75]
    power = rng.uniform(85, 115)
    return {
        "room": {"type": "constant", "radiance": rng.uniform(0.62, 0.78)},
        "flash": lamp(flash, [0, 0, 0], 0.32, [power, power, 0.98 * power]),
        "window": lamp([-3.5, -2.0, 4.5], [0, 0, 0], 1.0, [3.0, 3.1, 3.3]),
    }


def museum_light(piece: Piece) -> dict[str, Any]:
    """Light a dim room: a large soft lamp from the upper left, a weaker one from the right."""
    key = piece.rng.uniform(8.0, 9.5)
    return {
        "room": {"type": "constant", "radiance": 0.30},
        "key": lamp([-3.0, -2.6, 4.6], [0, 0, 0], 1.6, [key, 0.985 * key, 0.95 * key]),
        "fill": lamp([4.2, -3.4, 2.2], [0, 0, 0], 1.4, [2.6, 2.65, 2.7]),
        "top": lamp([0.6, 1.2, 5.0], [0, 0, 0], 1.3, [4.0, 4.0, 4.0]),
    }
