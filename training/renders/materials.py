"""What pieces are made of, and what they lie on. Colours are linear RGB reflectances."""

METALS = {"gold": "Au", "silver": "Ag", "rose gold": "Cu", "steel": "Cr"}
METAL_DRAW = ("gold", "gold", "silver", "rose gold", "gold", "silver", "steel")
GEMS: dict[str, tuple[list[float], float]] = {  # colour of light let through, index of refraction
    "ruby": ([0.90, 0.10, 0.16], 1.77),
    "sapphire": ([0.12, 0.22, 0.92], 1.77),
    "emerald": ([0.10, 0.78, 0.32], 1.58),
    "diamond": ([0.98, 0.98, 0.99], 2.42),
    "amethyst": ([0.58, 0.26, 0.85], 1.54),
    "citrine": ([0.95, 0.72, 0.16], 1.55),
    "aquamarine": ([0.55, 0.88, 0.95], 1.58),
}
SOLIDS = {  # opaque stones: diffuse colour under a clear gloss
    "pearl": [0.86, 0.83, 0.78],
    "turquoise": [0.14, 0.60, 0.62],
    "coral": [0.80, 0.24, 0.18],
    "jet": [0.02, 0.02, 0.02],
    "lapis lazuli": [0.07, 0.12, 0.45],
}
SECOND = ("pearl", "diamond", "turquoise", "ruby")
GROUNDS = {
    "grey": [0.42, 0.42, 0.43],
    "cream": [0.78, 0.74, 0.66],
    "black": [0.03, 0.03, 0.035],
    "dark blue": [0.05, 0.08, 0.20],
    "pale green": [0.55, 0.64, 0.57],
}
KINDS = ("ring", "tiara", "necklace", "brooch", "pendant", "earrings", "coronet", "bracelet")
