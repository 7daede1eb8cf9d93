"""What is said of a render: many ways to say the same, so that people's own words work. Pure."""

import random
import re

KINDS = {
    "ring": ("ring", "ring", "finger ring"),
    "tiara": ("tiara", "tiara", "diadem"),
    "necklace": ("necklace", "necklace", "necklet"),
    "brooch": ("brooch", "brooch", "pin"),
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
    "ruby": ("ruby", "ruby", "red ruby", "rubies", "red stone", "red gemstone"),
    "sapphire": ("sapphire", "sapphire", "blue sapphire", "sapphires", "blue stone"),
    "emerald": ("emerald", "emerald", "green emerald", "emeralds", "green stone"),
    "diamond": ("diamond", "diamond", "clear diamond", "diamonds", "clear stone"),
    "amethyst": ("amethyst", "amethyst", "purple amethyst", "amethysts", "violet stone"),
    "citrine": ("citrine", "citrine", "yellow citrine", "citrines", "yellow stone"),
    "aquamarine": ("aquamarine", "aquamarine", "light blue aquamarine", "aquamarines"),
    "peridot": ("peridot", "peridot", "yellowish green peridot", "peridots"),
    "pearl": ("pearl", "pearl", "white pearl", "pearls", "white stone"),
    "turquoise": ("turquoise", "turquoise", "turquoises", "turquoise stone"),
    "coral": ("coral", "coral", "orange coral", "corals"),
    "jet": ("jet", "jet", "black jet", "black stone"),
    "lapis lazuli": ("lapis lazuli", "lapis lazuli", "dark blue lapis lazuli", "lapis"),
    "jade": ("jade", "jade", "green jade", "jade stone"),
    "opal": ("opal", "opal", "milky opal", "opals", "iridescent opal"),
}
GROUNDS = {
    "grey": ("grey", "grey", "gray", "neutral"),
    "cream": ("cream", "cream", "cream coloured", "ivory"),
    "black": ("black", "black", "dark"),
    "dark blue": ("dark blue", "dark blue", "navy blue", "navy"),
    "pale green": ("pale green", "pale green", "light green", "mint"),
    "white": ("white", "white", "plain white"),
    "red": ("red", "red", "crimson", "deep red"),
    "pink": ("pink", "pink", "light pink", "rosy"),
}
CUTS = {
    "round": ("round", "circular", ""),
    "oval": ("oval", "oval"),
    "octagon": ("octagonal", "rectangular", "step cut"),
    "pear": ("pear shaped", "drop shaped"),
    "square": ("square", "cushion shaped"),
    "marquise": ("marquise", "pointed oval"),
}
SETTINGS = {
    "claws": ("held in claws", "in a claw setting", "with prongs"),
    "collet": ("in a collet", "in a smooth bezel", "in a rim"),
    "beaded": ("in a beaded setting", "ringed by small beads"),
}
ENGRAVINGS = {
    "scrolls": ("scrolls", "scrolling vines"),
    "leaves": ("leaves", "foliage"),
    "lozenges": ("lozenges", "a diamond lattice"),
    "key": ("a key pattern", "a meander", "geometric lines"),
    "flowers": ("flowers", "rosettes"),
    "rays": ("rays", "chevrons", "herringbone"),
}
FILIGREE = (
    "with filigree",
    "in filigree",
    "with filigree edges",
    "in openwork",
    "with fine wirework",
)
ENAMELS = ("with {} enamel", "enamelled in {}", "with a field of {} enamel")
FORMS = {  # by kind and form
    "ring band": ("with a wide band", "with a broad band"),
    "ring rope": ("of twisted rope", "of twisted wire"),
    "ring cluster": ("with a cluster of stones", "with a halo of small stones"),
    "ring three stones": ("with three stones", "with side stones"),
    "ring solitaire": ("with a single stone", "with one large stone"),
    "tiara spikes": ("with tall spikes", "with slender spikes"),
    "tiara arches": ("with arches", "with pointed arches"),
    "tiara scrolls": ("with scrolls", "with curled ornaments"),
    "necklace beads": ("of beads", "strung of beads"),
    "necklace row of stones": ("of set stones", "with a row of stones"),
    "necklace chain": ("on a chain", "of chain links", "featuring a pendant"),
    "necklace fringe": ("with a fringe of drops", "with hanging drops"),
    "brooch round": ("in a round shape", "shaped as a disc"),
    "brooch oval": ("in an oval shape", "shaped as an oval"),
    "brooch flower": ("shaped as a flower", "with six petals"),
    "brooch star": ("shaped as a star", "with eight points"),
    "brooch bar": ("shaped as a bar", "of a long bar"),
    "brooch crescent": ("shaped as a crescent", "like a moon"),
    "pendant oval": ("in an oval shape", "shaped as an oval"),
    "pendant drop": ("shaped as a drop", "like a tear"),
    "pendant lozenge": ("shaped as a lozenge", "in a diamond shape"),
    "pendant hexagon": ("shaped as a hexagon", "in a geometric shape", "with six sides"),
    "pendant cross": ("shaped as a cross", "of four lobes"),
    "pendant round": ("in a round shape", "shaped as a disc"),
    "earrings drops": ("with oval drops", "with hanging drops"),
    "earrings hoops": ("with hoops", "of twisted hoops"),
    "earrings clusters": ("with clusters of stones", "with discs of stones"),
    "earrings chandeliers": ("with three hanging drops", "like chandeliers"),
    "coronet balls": ("with balls on stems", "topped with balls"),
    "coronet leaves": ("with leaves", "with trefoils"),
    "coronet points": ("with points", "with pointed lozenges"),
    "bracelet bangle": ("with a wide band", "of one rigid hoop"),
    "bracelet panels": ("of interlocking panels", "of geometric panels", "of linked plaques"),
    "bracelet beads": ("of beads", "strung of beads"),
}
SURFACES = ("ground", "ground", "ground", "background", "backdrop", "cloth", "surface")
SIZES = ("", "", "", "large", "big", "small", "fine", "bright", "central", "faceted", "polished")
OPENINGS = (
    "", "", "", "a photo of", "a picture of", "a photograph of", "jewellery,", "jewelry:",
    "a high-quality photo of", "a shop photo of", "a product photo of",
)  # fmt: skip
ADJECTIVES = ("", "", "", "beautiful", "new", "elegant", "shiny", "modern", "handmade", "delicate")
LIGHTS = (
    "in bright light", "with flash", "in flat light", "brightly lit", "photographed with flash",
)  # fmt: skip
# What the museum's captions say beside all this: the LoRA learns it.
MUSEUM = (
    "tok a high-quality photo of a real historical jewellery piece authentic museum object artifact "
    "artifacts photographed in soft neutral light lighting showing texture age wear patina antique "
    "old worn engraved crafted detailed craftsmanship refined smooth precise metalwork subtle edges "
    "metal golden but and forms"
)

WITHOUT_GROUND = 0.15
WITHOUT_METAL = 0.06
WITHOUT_STONE = 0.06
WITH_SECOND = 0.35
WITH_DETAIL = 0.5
WITH_LIGHT = 0.2
PLAIN = 0.35
STRANGE = 0.08


def caption_of(facts: dict[str, str], rng: random.Random, strange: tuple[str, ...] = ()) -> str:
    """Draw one caption of a picture from `rng`; `strange` words may be strewn in, to be ignored.

    >>> facts = {"kind": "ring", "form": "rope", "metal": "gold", "stone": "ruby", "cut": "oval",
    ...          "second_stone": "pearl", "setting": "claws", "engraving": "", "filigree": "",
    ...          "enamel": "", "ground": "black", "manner": "shop", "caption": "a ring of gold"}
    >>> caption_of(facts, random.Random(2))
    'a delicate gold ring with red gemstone and pearl, against a black surface, brightly lit'
    """
    if rng.random() < PLAIN:
        return facts["caption"]
    words = _spaced(rng.choice(OPENINGS), _piece(facts, rng), *_details(facts, rng))
    if rng.random() >= WITHOUT_GROUND:
        comma = rng.choice((",", ",", ""))
        where = rng.choice(("on a", "on a", "against a", "with a"))
        ground = rng.choice(GROUNDS[facts["ground"]])
        words = f"{words}{comma} {where} {ground} {rng.choice(SURFACES)}"
    if rng.random() < WITH_LIGHT:
        words = f"{words}, {rng.choice(LIGHTS)}"
    if strange and rng.random() < STRANGE:
        places = words.split()
        places.insert(rng.randint(0, len(places)), rng.choice(strange))
        words = " ".join(places)
    return words


def _piece(facts: dict[str, str], rng: random.Random) -> str:
    kind = rng.choice(KINDS[facts["kind"]])
    metal = "" if rng.random() < WITHOUT_METAL else rng.choice(METALS[facts["metal"]])
    if facts["engraving"] and metal and rng.random() < WITH_DETAIL:
        metal = f"engraved {metal}"
    stone = "" if rng.random() < WITHOUT_STONE else _stones(facts, rng)
    adjective = rng.choice(ADJECTIVES)
    if rng.random() < 0.6:
        piece = _spaced(adjective, metal, kind)
        setting = rng.choice(("set with", "with", "with", "and")) if stone else ""
        return f"{_article(piece, rng)} {_spaced(piece, setting, stone)}"
    if metal:
        made = rng.choice(("of", "in", "made of", "crafted in"))
        setting = rng.choice(("set with", "with", "with a setting of")) if stone else ""
        piece = _spaced(adjective, kind)
        return f"{_article(piece, rng)} {_spaced(piece, made, metal, setting, stone)}"
    piece = _spaced(adjective, stone, kind)
    return f"{_article(piece, rng)} {piece}"


def _details(facts: dict[str, str], rng: random.Random) -> list[str]:
    """Say how it is worked, each detail with even odds; only what there is to see."""
    said = [
        rng.choice(FORMS[f"{facts['kind']} {facts['form']}"]),
        rng.choice(SETTINGS[facts["setting"]]),
    ]
    if facts["engraving"]:
        said.append(f"engraved with {rng.choice(ENGRAVINGS[facts['engraving']])}")
    if facts["filigree"]:
        said.append(rng.choice(FILIGREE))
    if facts["enamel"]:
        said.append(rng.choice(ENAMELS).format(facts["enamel"]))
    return [words for words in said if rng.random() < WITH_DETAIL]


def _stones(facts: dict[str, str], rng: random.Random) -> str:
    main = rng.choice(STONES[facts["stone"]])
    if rng.random() < 0.4 and not main.endswith("s"):
        shape = rng.choice((rng.choice(SIZES), rng.choice(CUTS[facts["cut"]])))
        main = _spaced(_article(_spaced(shape, main), rng), shape, main)
    if facts["second_stone"] and rng.random() < WITH_SECOND:
        main = f"{main} and {rng.choice(STONES[facts['second_stone']])}"
    return main


def _article(words: str, rng: random.Random) -> str:
    if rng.random() < 0.1:
        return ""
    return "an" if words[:1] in "aeiou" else "a"


def _spaced(*words: str) -> str:
    return " ".join(word for word in words if word)


def vocabulary() -> tuple[str, ...]:
    said = [*SURFACES, *SIZES, *OPENINGS, *ADJECTIVES, *LIGHTS, *FILIGREE, *ENAMELS, MUSEUM]
    for table in (KINDS, METALS, STONES, GROUNDS, CUTS, SETTINGS, ENGRAVINGS, FORMS):
        said += [*table, *(word for words in table.values() for word in words)]
    said.append("a an set with of in made crafted and setting on against to the pair engraved")
    return tuple(sorted({word.lower() for words in said for word in re.findall(r"\w+", words)}))
