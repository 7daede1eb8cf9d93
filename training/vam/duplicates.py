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

    Of equal bytes the first stays; of pictures within `bits` of each other the largest.
    """
    rows = list(rows)
    keep: list[dict[str, Any]] = []
    dropped: list[tuple[dict[str, Any], str]] = []
    for row in sorted(rows, key=lambda row: -row["width"] * row["height"]):
        twin = next((other for other in keep if alike(row, other, bits)), None)
        if twin is None:
            keep.append(row)
        else:
            dropped.append((row, twin["file_name"]))
    names = {row["file_name"] for row in keep}
    return [row for row in rows if row["file_name"] in names], dropped


def alike(one: dict[str, Any], other: dict[str, Any], bits: int) -> bool:
    """Whether two pictures count as one."""
    return bool(one["sha256"] == other["sha256"] or distance(one["dhash"], other["dhash"]) <= bits)
