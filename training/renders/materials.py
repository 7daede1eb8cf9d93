"""What pieces are made of, and what they lie on. Colours are linear RGB reflectances."""

from typing import Any

import mitsuba as mi
import numpy as np

from training.renders.patterns import Picture, clouds, pattern

METALS: dict[str, tuple[str, list[float]]] = {  # Mitsuba's name, and a tint
    "gold": ("Au", [1.0, 0.97, 0.85]),
    "silver": ("Ag", [1.0, 1.0, 1.0]),
    "rose gold": ("Cu", [1.0, 0.93, 0.95]),
    "steel": ("Cr", [0.78, 0.84, 0.92]),
}
METAL_DRAW = ("gold", "gold", "silver", "rose gold", "gold", "silver", "steel")
GEMS: dict[str, tuple[list[float], float]] = {  # colour of light let through, index of refraction
    "ruby": ([0.92, 0.07, 0.12], 1.77),
    "sapphire": ([0.10, 0.22, 0.93], 1.77),
    "emerald": ([0.08, 0.78, 0.30], 1.58),
    "diamond": ([0.98, 0.98, 0.99], 2.42),
    "amethyst": ([0.60, 0.24, 0.88], 1.54),
    "citrine": ([0.97, 0.70, 0.12], 1.55),
    "aquamarine": ([0.52, 0.87, 0.95], 1.58),
    "peridot": ([0.66, 0.90, 0.22], 1.67),
}
SOLIDS = {  # opaque stones: diffuse colour under a clear gloss
    "pearl": [0.74, 0.71, 0.67],
    "turquoise": [0.14, 0.60, 0.62],
    "coral": [0.80, 0.24, 0.18],
    "jet": [0.02, 0.02, 0.02],
    "lapis lazuli": [0.025, 0.05, 0.26],
    "jade": [0.30, 0.55, 0.34],
    "opal": [0.72, 0.80, 0.84],
}
ENAMELS = {
    "blue": [0.03, 0.08, 0.42],
    "green": [0.03, 0.30, 0.12],
    "red": [0.50, 0.03, 0.04],
    "white": [0.84, 0.84, 0.80],
    "black": [0.015, 0.015, 0.018],
}
SECOND = ("pearl", "diamond", "turquoise", "ruby", "sapphire", "opal")
GROUNDS = {
    "grey": [0.42, 0.42, 0.43],
    "cream": [0.78, 0.72, 0.60],
    "black": [0.025, 0.025, 0.028],
    "dark blue": [0.04, 0.08, 0.26],
    "pale green": [0.48, 0.64, 0.50],
    "white": [0.86, 0.86, 0.86],
    "red": [0.42, 0.03, 0.05],
    "pink": [0.80, 0.42, 0.48],
}
OPAL_FIRE = ([0.15, 0.55, 0.85], [0.25, 0.80, 0.45], [0.95, 0.50, 0.25], [0.60, 0.40, 0.85])


def texture(picture: Picture) -> dict[str, Any]:
    """Tile a bitmap of values (H, W) or colours (H, W, 3)."""
    shaped = picture if picture.ndim == 3 else picture[..., None]
    bitmap = mi.Bitmap(np.ascontiguousarray(shaped, dtype=np.float32))
    return {"type": "bitmap", "bitmap": bitmap, "raw": True, "wrap_mode": "repeat"}


def new_metal(metal: str, rough: float) -> dict[str, Any]:
    name, tint = METALS[metal]
    return {
        "type": "roughconductor", "material": name, "alpha": rough,
        "specular_reflectance": {"type": "rgb", "value": tint},
    }  # fmt: skip


def worn_metal(metal: str, seed: int, grime: float) -> dict[str, Any]:
    """Wear metal for a century: duller in patches, browned where no hand reaches."""
    name, tint = METALS[metal]
    patches = clouds(seed, 64)
    dull = np.array(tint) * [0.97, 0.94, 0.88]
    dark = np.array(tint) * [0.58, 0.51, 0.43]
    share = np.clip(grime * 1.6 * (patches - 0.45), 0, 1)[..., None]
    colours = dull * (1 - share) + dark * share
    inner = {
        "type": "roughconductor", "material": name,
        "alpha": texture(0.09 + 0.16 * clouds(seed + 1, 64)),
        "specular_reflectance": texture(colours),
    }  # fmt: skip
    bumps = texture(clouds(seed + 2, 64, finest=16))
    return {"type": "twosided", "bsdf": {"type": "bumpmap", "t": bumps, "scale": 0.004, "b": inner}}


def engraved(ground: dict[str, Any], name: str, deep: float, dark: float) -> dict[str, Any]:
    """Cut a pattern into metal; `dark` tells how much the cuts have filled with the years."""
    cuts = pattern(name)
    inside = {"type": "roughconductor", "material": "Cr", "alpha": 0.4,
              "specular_reflectance": {"type": "rgb", "value": [0.20, 0.17, 0.14]}}  # fmt: skip
    plain = ground["bsdf"]["b"] if ground["type"] == "twosided" else ground
    mixed = {"type": "blendbsdf", "weight": texture(dark * cuts), "a": plain, "b": inside}
    bumped = {"type": "bumpmap", "t": texture(1 - cuts), "scale": deep, "b": mixed}
    return {"type": "twosided", "bsdf": bumped}


def enamel(colour: str) -> dict[str, Any]:
    glass = {
        "type": "plastic", "int_ior": 1.6,
        "diffuse_reflectance": {"type": "rgb", "value": ENAMELS[colour]},
    }  # fmt: skip
    return {"type": "twosided", "bsdf": glass}


def stone(name: str, seed: int) -> dict[str, Any]:
    """Make a clear stone of coloured glass, an opaque one of a glossy colour; opal has its fire."""
    if name in GEMS:
        rgb, refraction = GEMS[name]
        through = {"type": "rgb", "value": rgb}
        return {"type": "dielectric", "int_ior": refraction, "specular_transmittance": through}
    colour: Any = {"type": "rgb", "value": SOLIDS[name]}
    if name == "opal":
        fire = np.broadcast_to(np.array(SOLIDS[name]), (48, 48, 3)).copy()
        for place, spark in enumerate(OPAL_FIRE):
            share = np.clip(4 * (clouds(seed + place, 48, finest=12) - 0.62), 0, 0.9)[..., None]
            fire = fire * (1 - share) + np.array(spark) * share
        colour = texture(fire)
    return {"type": "plastic", "diffuse_reflectance": colour, "int_ior": 1.7}


def lamp(at: list[float], target: list[float], size: float, rgb: list[float]) -> dict[str, Any]:
    """Shine from a square of half width `size`, facing a place."""
    turned = mi.ScalarTransform4f().look_at(origin=at, target=target, up=[0, 0, 1])
    light = {"type": "area", "radiance": {"type": "rgb", "value": rgb}}
    return {"type": "rectangle", "to_world": turned.scale(size), "emitter": light}
