"""What a piece is to be, drawn at random before it is built: this is what its caption says."""

import random
from dataclasses import dataclass

from training.renders.materials import ENAMELS, GEMS, GROUNDS, METAL_DRAW, SECOND, SOLIDS
from training.renders.patterns import PATTERNS

FORMS = {
    "ring": ("band", "rope", "cluster", "three stones", "solitaire"),
    "tiara": ("spikes", "arches", "scrolls"),
    "necklace": ("beads", "row of stones", "chain", "fringe"),
    "brooch": ("round", "oval", "flower", "star", "bar", "crescent"),
    "pendant": ("oval", "drop", "lozenge", "hexagon", "cross", "round"),
    "earrings": ("drops", "hoops", "clusters", "chandeliers"),
    "coronet": ("balls", "leaves", "points"),
    "bracelet": ("bangle", "panels", "beads"),
}
FLAT = ("necklace", "brooch", "pendant", "earrings")  # these lie, the others stand
CUTS = ("round", "round", "oval", "oval", "octagon", "pear", "square", "marquise")
SETTINGS = ("claws", "collet", "collet", "beaded")
PLATED = ("bar", "round", "oval", "lozenge", "hexagon", "cross", "panels", "star", "flower")


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Design one piece; `engraving` and `enamel` are empty where there is none."""

    kind: str
    form: str
    metal: str
    stone: str
    second_stone: str
    cut: str
    setting: str
    engraving: str
    filigree: bool
    enamel: str
    ground: str


def drawn(rng: random.Random, kind: str, manner: str) -> Design:
    """Draw a design of a kind; old pieces are more often engraved, and lie on quiet grounds."""
    old = manner == "museum"
    form = rng.choice(FORMS[kind])
    ground, metal = rng.choice(list(GROUNDS)), rng.choice(METAL_DRAW)
    stone = rng.choice([*GEMS, *SOLIDS])
    second = rng.choice([name for name in SECOND if name != stone])
    ornate = rng.random() < (0.8 if old else 0.15)
    engraving = rng.choice(PATTERNS)
    enamelled = rng.random() < 0.3 and form in PLATED
    enamel = rng.choice(list(ENAMELS))
    return Design(
        kind=kind, form=form, metal=metal, stone=stone, second_stone=second,
        ground="grey" if old and rng.random() < 0.7 else ground,
        cut=rng.choice(CUTS), setting=rng.choice(SETTINGS),
        engraving=engraving if ornate else "", filigree=rng.random() < (0.45 if old else 0.15),
        enamel=enamel if enamelled else "",
    )  # fmt: skip
