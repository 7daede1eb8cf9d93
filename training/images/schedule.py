"""Which pictures come when, at which rate, with which noise. Pure: a resumed run agrees.

Every draw follows from the seed, the step and the sample, never from what was drawn before.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from training.images.tables import ImageTraining

if TYPE_CHECKING:
    import torch

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures of one shape, by number, and the epoch whose cuts they are shown in."""

    epoch: int
    indices: tuple[int, ...]


def batches_in(shapes: Sequence[Shape], batch: int) -> int:
    """How many batches an epoch has: a batch is of one shape, and no picture is left out.

    >>> batches_in([(1, 1), (1, 1), (1, 1), (2, 1)], 2)
    3
    """
    return sum(math.ceil(shapes.count(shape) / batch) for shape in set(shapes))


@lru_cache(maxsize=4)
def batches_of_epoch(
    shapes: tuple[Shape, ...], batch: int, seed: str, epoch: int
) -> tuple[tuple[int, ...], ...]:
    """The batches of one epoch in their order, drawn from seed and epoch alone."""
    draw = random.Random(f"{seed}:{epoch}")
    batches = []
    for shape in sorted(set(shapes)):
        numbers = [number for number, own in enumerate(shapes) if own == shape]
        draw.shuffle(numbers)
        batches += [
            tuple(numbers[start : start + batch]) for start in range(0, len(numbers), batch)
        ]
    draw.shuffle(batches)
    return tuple(batches)


def batches_of_step(
    shapes: tuple[Shape, ...], batch: int, parts: int, seed: str, step: int
) -> list[Batch]:
    """The `parts` batches of one step; each epoch runs through all pictures in its own order."""
    count = batches_in(shapes, batch)
    return [
        Batch(place // count, batches_of_epoch(shapes, batch, seed, place // count)[place % count])
        for place in range(step * parts, (step + 1) * parts)
    ]


def steps_in(training: ImageTraining, batches: int, processes: int = 1) -> int:
    """How many optimiser steps the recipe asks for, of an epoch of so many batches."""
    if training.steps:
        return training.steps
    return max(1, math.ceil(training.epochs * batches / (training.accumulate * processes)))


def rate_at(training: ImageTraining, step: int, steps: int) -> float:
    """The learning rate of one step (counted from 0): linear warm-up, then the schedule.

    >>> flat = ImageTraining(learning_rate=1.0, warmup_steps=2)
    >>> [rate_at(flat, step, 10) for step in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 1.0]
    """
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    done = (step - training.warmup_steps) / max(1, steps - training.warmup_steps)
    shape = {
        "constant": 1.0,
        "linear": 1.0 - done,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
    }[training.schedule]
    return training.learning_rate * shape


def key_of(*words: Any) -> int:
    """A seed from words; two different lists of words have, for all one can tell, different ones."""
    digest = hashlib.sha256(":".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def generator_for(*words: Any) -> "torch.Generator":
    """A generator (on the processor, so that devices agree) seeded by words."""
    import torch

    return torch.Generator().manual_seed(key_of(*words))
