"""Which block comes when, at which learning rate, with which draw. Pure: a resumed run agrees."""

import hashlib
import math
import random
from functools import lru_cache

from training.runs.tables import Training


def steps_in(training: Training, blocks: int, processes: int = 1) -> int:
    """How many optimiser steps the recipe asks for on a corpus of so many blocks."""
    seen = training.blocks or math.ceil(training.epochs * blocks)
    return max(1, math.ceil(seen / (training.batch * training.accumulate * processes)))


def learning_rate(training: Training, step: int, steps: int) -> float:
    """The rate of one step (counted from 0): linear warm-up, then the schedule to its floor.

    >>> flat = Training(learning_rate=1.0, warmup_share=0.2, floor=0.1)
    >>> [round(learning_rate(flat, step, 10), 3) for step in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.134]
    """
    warmup = round(training.warmup_share * steps)
    if step < warmup:
        return training.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    shape = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
    }[training.schedule]
    floor = 0.0 if training.schedule == "constant" else training.floor
    return training.learning_rate * (floor + (1 - floor) * shape)


def blocks_of_step(seed: int, step: int, size: int, count: int) -> list[int]:
    """The block numbers of one step: each epoch runs through all blocks in its own order."""
    places = range(step * size, (step + 1) * size)
    return [epoch_order(seed, place // count, count)[place % count] for place in places]


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """The order of one epoch, drawn from seed and epoch alone."""
    order = list(range(count))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    return tuple(order)


def draw_key(seed: int, step: int, part: int) -> int:
    """The dropout seed of one part of one step, so that neither resuming nor splitting moves it."""
    digest = hashlib.sha256(f"{seed}:{step}:{part}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
