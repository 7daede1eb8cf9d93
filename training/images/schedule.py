"""Decide which pictures come when. Pure: a resumed run agrees."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from training.images.tables import ImageTraining

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Number pictures of one shape, and name the epoch whose cuts they are shown in."""

    epoch: int
    indices: tuple[int, ...]


def batches_in(shapes: Sequence[Shape], batch: int) -> int:
    """Count an epoch's batches: a batch is of one shape, and no picture is left out."""
    return sum(math.ceil(shapes.count(shape) / batch) for shape in set(shapes))


@lru_cache(maxsize=4)
def batches_of_epoch(
    shapes: tuple[Shape, ...], batch: int, seed: str, epoch: int
) -> tuple[tuple[int, ...], ...]:
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
    """List the `parts` batches of one step; each epoch runs through all pictures in its own order."""
    count = batches_in(shapes, batch)
    return [
        Batch(place // count, batches_of_epoch(shapes, batch, seed, place // count)[place % count])
        for place in range(step * parts, (step + 1) * parts)
    ]


def steps_in(training: ImageTraining, batches: int, processes: int = 1) -> int:
    if training.steps:
        return training.steps
    steps = math.ceil(training.epochs * batches / (training.accumulate * processes))
    return max(1, training.least_steps, steps)
