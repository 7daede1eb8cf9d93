"""Pictures that are the same, or nearly: a difference hash, and which of a group is kept."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

SIDE = 8


def dhash(picture: Image.Image) -> str:
    """32 hex digits: 64 bits of rising brightness along rows, 64 along columns.

    The difference hash of N. Krawetz (hackerfactor.com, "Kind of Like That", 2013), both ways.
    """
    grey = picture.convert("L")
    across = np.asarray(grey.resize((SIDE + 1, SIDE), Image.Resampling.LANCZOS), dtype=np.int16)
    down = np.asarray(grey.resize((SIDE, SIDE + 1), Image.Resampling.LANCZOS), dtype=np.int16)
    rising = (np.diff(across, axis=1) > 0).ravel(), (np.diff(down, axis=0) > 0).ravel()
    return np.packbits(np.concatenate(rising)).tobytes().hex()


def distance(one: str, other: str) -> int:
    """In how many bits two hashes differ.

    >>> distance("00ff", "00fe")
    1
    """
    return (int(one, 16) ^ int(other, 16)).bit_count()


def without_duplicates(
    rows: Iterable[dict[str, Any]], bits: int
) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], str]]]:
    """The pictures to keep, in their order, and those dropped with the one each repeats.

    Of pictures within `bits` of each other the largest stays; of equal ones the first.
    """
    rows = list(rows)
    if not rows:
        return [], []
    hashes = np.array([words_of(row["dhash"]) for row in rows], dtype=np.uint64)
    kept: list[int] = []
    twins: dict[int, int] = {}
    for number in sorted(range(len(rows)), key=lambda n: -rows[n]["width"] * rows[n]["height"]):
        distances = np.bitwise_count(hashes[kept] ^ hashes[number]).sum(axis=1)
        near = np.flatnonzero(distances <= bits)
        if near.size:
            twins[number] = kept[near[0]]
        else:
            kept.append(number)
    dropped = [(rows[number], rows[twin]["file_name"]) for number, twin in sorted(twins.items())]
    return [rows[number] for number in sorted(kept)], dropped


def words_of(hashed: str) -> tuple[int, int]:
    """A hash as two words of 64 bits, for numpy."""
    return int(hashed[:16], 16), int(hashed[16:], 16)
