"""Decide what comes when, by the seed, the step and the sample alone, so that a resumed run agrees."""

import hashlib
import math
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from training.run.tables import AnyTraining, Training

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")


def steps_in(training: Training, blocks: int, processes: int = 1) -> int:
    """Count the optimiser steps that a text recipe asks for on a corpus of `blocks`."""
    seen = training.blocks or math.ceil(training.epochs * blocks)
    steps = math.ceil(seen / (training.batch * training.accumulate * processes))
    return max(1, training.least_steps, steps)


def learning_rate(training: AnyTraining, step: int, steps: int) -> float:
    """Give the rate of a step (counted from 0): linear warm-up, then the schedule to its floor."""
    warmup = training.warmup_steps or round(training.warmup_share * steps)
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
    """Number the blocks of one step: each epoch runs through all blocks in its own order."""
    places = range(step * size, (step + 1) * size)
    return [epoch_order(seed, place // count, count)[place % count] for place in places]


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    order = list(range(count))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    return tuple(order)


def draw_key(*words: Any) -> int:
    """Hash words (run seed, step, part ...) to a seed that neither resuming nor splitting moves."""
    digest = hashlib.sha256(":".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def generator_for(*words: Any) -> "torch.Generator":
    """Seed a generator by words; it stays on the processor, so that devices agree."""
    import torch

    return torch.Generator().manual_seed(draw_key(*words))


def spread(items: Sequence[Item], count: int) -> tuple[Item, ...]:
    """Take `count` items evenly, the same ones each time.

    >>> spread("abcdef", 3)
    ('a', 'c', 'e')
    """
    if len(items) <= count:
        return tuple(items)
    return tuple(items[index * len(items) // count] for index in range(count))
