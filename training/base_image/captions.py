"""What is said of a render: many ways to say the same, so that people's own words work. Pure."""

import random
import re

KINDS = {
    "ring": ("ring", "ring", "finger ring"),
    "tiara": ("tiara", "tiara", "diadem"),
    "necklace": ("necklace", "necklace", "bead necklace"),
    "brooch": ("brooch", "brooch", "round brooch"),
    "pendant": ("pendant", "pendant", "pendant on a chain"),
    "earrings": ("pair of earrings", "pair of earrings", "pair of ear drops"),
    "coronet": ("coronet", "coronet", "crown"),
    "bracelet": ("bracelet", "bracelet", "bangle"),
}
METALS = {
    "gold": ("gold", "gold", "yellow gold", "golden"),
    "silver": ("silver", "silver", "white silver"),
    "rose gold": ("rose gold", "rose gold", "pink gold"),
    "steel": ("steel", "steel", "grey steel"),
}
STONES = {
    "ruby": ("ruby", "ruby", "red ruby", "rubies", "red stone"),
    "sapphire": ("sapphire", "sapphire", "blue sapphire", "sapphires", "blue stone"),
    "emerald": ("emerald", "emerald", "green emerald", "emeralds", "green stone"),
    "diamond": ("diamond", "diamond", "clear diamond", "diamonds", "clear stone"),
    "amethyst": ("amethyst", "amethyst", "purple amethyst", "amethysts", "purple stone"),
    "citrine": ("citrine", "citrine", "yellow citrine", "citrines", "yellow stone"),
    "aquamarine": ("aquamarine", "aquamarine", "light blue aquamarine", "aquamarines"),
    "pearl": ("pearl", "pearl", "white pearl", "pearls", "white stone"),
    "turquoise": ("turquoise", "turquoise", "turquoises", "turquoise stone"),
    "coral": ("coral", "coral", "red coral", "corals"),
    "jet": ("jet", "jet", "black jet", "black stone"),
    "lapis lazuli": ("lapis lazuli", "lapis lazuli", "dark blue lapis lazuli", "lapis"),
}
GROUNDS = {
    "grey": ("grey", "grey", "gray"),
    "cream": ("cream", "cream", "cream coloured"),
    "black": ("black", "black", "dark"),
    "dark blue": ("dark blue", "dark blue", "navy blue"),
    "pale green": ("pale green", "pale green", "light green"),
}
SURFACES = ("ground", "ground", "ground", "background", "backdrop")
SIZES = ("", "", "", "large", "big", "small", "fine", "round", "oval", "bright")
OPENINGS = ("", "", "", "a photo of", "a picture of", "a photograph of", "jewellery,", "jewelry:")
ADJECTIVES = ("", "", "", "beautiful", "antique", "old", "new", "elegant")

WITHOUT_GROUND = 0.15
WITHOUT_METAL = 0.06
WITHOUT_STONE = 0.06
WITH_SECOND = 0.35
PLAIN = 0.4
STRANGE = 0.08


def caption_of(facts: dict[str, str], rng: random.Random, strange: tuple[str, ...] = ()) -> str:
    """One caption of a picture, drawn from `rng`; `strange` words may be strewn in, to be ignored.

    >>> facts = {"kind": "ring", "metal": "gold", "stone": "ruby", "second_stone": "pearl",
    ...          "ground": "black", "caption": "a ring of gold set with ruby, on a black ground"}
    >>> caption_of(facts, random.Random(2))
    'a picture of a ring made of yellow gold with a red ruby, with a dark backdrop'
    """
    if rng.random() < PLAIN:
        return facts["caption"]
    kind = rng.choice(KINDS[facts["kind"]])
    metal = "" if rng.random() < WITHOUT_METAL else rng.choice(METALS[facts["metal"]])
    stone = "" if rng.random() < WITHOUT_STONE else _stones(facts, rng)
    adjective = rng.choice(ADJECTIVES)
    if rng.random() < 0.6:
        piece = _spaced(adjective, metal, kind)
        setting = rng.choice(("set with", "with", "with", "and")) if stone else ""
        words = f"{_article(piece, rng)} {_spaced(piece, setting, stone)}"
    elif metal:
        made = rng.choice(("of", "in", "made of"))
        setting = rng.choice(("set with", "with", "with a setting of")) if stone else ""
        piece = _spaced(adjective, kind)
        words = f"{_article(piece, rng)} {_spaced(piece, made, metal, setting, stone)}"
    else:
        piece = _spaced(adjective, stone, kind)
        words = f"{_article(piece, rng)} {piece}"
    if rng.random() >= WITHOUT_GROUND:
        surface = rng.choice(SURFACES)
        comma = rng.choice((",", ",", ""))
        where = rng.choice(("on a", "on a", "against a", "with a"))
        words = f"{words}{comma} {where} {rng.choice(GROUNDS[facts['ground']])} {surface}"
    words = _spaced(rng.choice(OPENINGS), words)
    if strange and rng.random() < STRANGE:
        places = words.split()
        places.insert(rng.randint(0, len(places)), rng.choice(strange))
        words = " ".join(places)
    return words


def _stones(facts: dict[str, str], rng: random.Random) -> str:
    main = rng.choice(STONES[facts["stone"]])
    if rng.random() < 0.3 and not main.endswith("s"):
        main = _spaced(_article(main, rng), rng.choice(SIZES), main)
    if rng.random() < WITH_SECOND:
        main = f"{main} and {rng.choice(STONES[facts['second_stone']])}"
    return main


def _article(words: str, rng: random.Random) -> str:
    if rng.random() < 0.1:
        return ""
    return "an" if words[:1] in "aeiou" else "a"


def _spaced(*words: str) -> str:
    return " ".join(word for word in words if word)


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption may hold, sorted."""
    said = [*SURFACES, *SIZES, *OPENINGS, *ADJECTIVES]
    for table in (KINDS, METALS, STONES, GROUNDS):
        said += [*table, *(word for words in table.values() for word in words)]
    said.append("a an set with of in made and setting on against to the pair")
    return tuple(sorted({word.lower() for words in said for word in re.findall(r"\w+", words)}))
