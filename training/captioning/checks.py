"""What may be wrong with a caption: told as flags, for a person to look at."""

import re
from collections import Counter
from typing import Any

from training.captioning.composition import count
from training.captioning.description import Description
from training.captioning.tables import CaptionTable

BANNED = re.compile(
    r"\b((image|picture|photo|photograph)s? (of|shows?|depicts?)|this (image|photo|picture)|"
    r"appears? to be|beautiful|stunning|exquisite|breathtaking|timeless)\b",
    re.IGNORECASE,
)
NUMBERED = re.compile(
    r"\b([A-Z]\.?\d+(:\d+)?(,\s*\w+)?-\d{4}|M\.\d+|O\d{4,}|\d+(\.\d+)?\s*(carat|ct)s?)\b"
)
COMMON = re.compile(
    r"(?<!\S)[,.;:]*(a|an|the|of|with|and|in|on|set|from|at|to|is|has|by)[,.;:]*(?!\S)",
    re.IGNORECASE,
)
REPEATED = "the same caption as another object's"
LEAST_WORDS = 8  # a caption with fewer says too little, and its language cannot be told


def flags_of(
    caption: str, short: str, description: Description, row: dict[str, Any], table: CaptionTable
) -> list[str]:
    said = caption.removeprefix(table.prefix)
    found = []
    if not (caption.startswith(table.prefix) and short.startswith(table.prefix)):
        found.append("without the prefix")
    if count(short) > table.token_budget:
        found.append("short caption too long")
    if len(said.split()) < LEAST_WORDS:
        found.append("says little")
    elif not english(said):
        found.append("perhaps not English")
    if match := BANNED.search(said):
        found.append(f"says {match.group(0).lower()!r}")
    if match := NUMBERED.search(said):
        found.append(f"holds a number: {match.group(0)}")
    maker = str(row.get("maker") or "")
    if len(maker) > 3 and maker.casefold() != "unknown" and maker.casefold() in said.casefold():
        found.append("names the maker")
    if agreement(description.materials, row.get("materials") or []) == 0.0:
        found.append("no material as in the catalogue")
    if description.uncertain:
        found.append("uncertain: " + "; ".join(description.uncertain))
    return found


def english(text: str) -> bool:
    """Tell whether a text is likely English: Latin letters, and some of its small words.

    >>> english("a ring of gold with a red stone in a claw setting"), english("ein Ring aus Gold")
    (True, False)
    """
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum(letter.isascii() for letter in letters)
    return latin >= 0.9 * len(letters) and bool(COMMON.search(text))


def agreement(said: list[str], catalogue: list[str]) -> float | None:
    """Give the share of the catalogue's materials that were said; None when it names none.

    >>> agreement(["yellow gold", "seed pearls"], ["Gold", "Pearl"])
    1.0
    """
    if not catalogue:
        return None
    words = {stem(word) for text in said for word in text.split()}
    return sum(bool(words & set(map(stem, text.split()))) for text in catalogue) / len(catalogue)


def stem(word: str) -> str:
    return word.casefold().strip(",.;:()").removesuffix("s")


def flag_repeats(rows: list[dict[str, Any]]) -> None:
    """Flag captions that several pictures of different objects share."""
    counts = Counter((row["caption"], row.get("system_number")) for row in rows)
    objects = Counter(caption for caption, _ in counts)
    for row in rows:
        row["flags"] = [flag for flag in row["flags"] if flag != REPEATED]
        if objects[row["caption"]] > 1:
            row["flags"].append(REPEATED)
