"""Allocation of units to arms. Pure: the same key, experiment and unit give the same arm anywhere.

Simple: a keyed digest of the unit, cut by the weights. Every unit is on its own; with few of them the
arms come out uneven (26 to 14 or worse in 6 % of experiments with 40 units and two arms).
Blocks: units are counted as they come, and every block holds each arm as often as its weight says, in an
order shuffled by the key. The arms are never apart by more than a block's worth.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from engine.study.pseudonyms import keyed

Choice = TypeVar("Choice")
_SPAN = 2**64


def simple(key: bytes, experiment: str, unit: str, weights: Mapping[str, int]) -> str:
    """Allocate a unit by itself."""
    point = _number(key, f"{experiment}|{unit}") * sum(weights.values())
    for arm, weight in weights.items():
        point -= weight * _SPAN
        if point < 0:
            return arm
    raise AssertionError("the weights add up to the whole")


def blocked(
    key: bytes, experiment: str, position: int, weights: Mapping[str, int]
) -> tuple[str, int]:
    """Allocate the unit that came as number `position` (from 0); return its arm and its block."""
    one = block_of(weights)
    block, place = divmod(position, len(one))
    return shuffled(key, f"{experiment}|block {block}", one)[place], block


def block_of(weights: Mapping[str, int]) -> list[str]:
    """Make the smallest block that keeps the weights, and of two arms one of four: none is known."""
    divisor = math.gcd(*weights.values())
    one = [arm for arm, weight in weights.items() for _ in range(weight // divisor)]
    return one * 2 if len(one) == 2 else one


def sides(key: bytes, name: str, number: int, length: int) -> int:
    """Say which of two stands first in pair `number`; in `length` pairs each does as often, or one more.

    One block is as long as a session, so that nobody can count what is left of it.
    """
    block, place = divmod(number, length)
    order = shuffled(key, f"sides|{name}|{block}", (0, 1))
    return shuffled(key, f"sides|{name}|block {block}", (order * length)[:length])[place]


def shuffled(key: bytes, name: str, things: Sequence[Choice]) -> list[Choice]:
    order = list(things)
    random.Random(_number(key, name)).shuffle(order)
    return order


def _number(key: bytes, name: str) -> int:
    """Draw evenly from 0 to 2**64; nobody can foresee it without the key."""
    return int(keyed(key, f"allocation|{name}")[:16], 16)
