"""Aspect buckets: which shape a picture is trained in, and where it is cut. Pure."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from training.errors import BadRecipe
from training.run.schedule import draw_key

LONGEST = 2.0  # a bucket's side in resolutions, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Turn a picture into a training sample: resize, then cut. Heights come before widths.

    These are the base's micro-conditioning (Podell et al. 2023, section 2.2): the size that the
    picture had, the corner it was cut at (in the resized picture), and the size it is shown at.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    target: tuple[int, int]

    @property
    def time_ids(self) -> tuple[int, ...]:
        return (*self.original, *self.corner, *self.target)


def buckets_of(resolution: int, step: int) -> tuple[tuple[int, int], ...]:
    """List shapes (height, width) of at most resolution² pixels, no side over two resolutions.

    >>> buckets_of(128, 64)
    ((64, 192), (64, 256), (128, 128), (192, 64), (256, 64))
    >>> len(buckets_of(1024, 64)), (832, 1216) in buckets_of(1024, 64)
    (33, True)
    """
    if step > resolution:
        raise BadRecipe(
            f"data.bucket_step is {step}, more than the resolution of {resolution} pixels. Lower it."
        )
    longest = int(resolution * LONGEST)
    shapes = set()
    for side in range(step, longest + 1, step):
        other = min(resolution**2 // side // step * step, longest)
        if other >= step and min(side, other) >= resolution / LONGEST:
            shapes |= {(side, other), (other, side)}
    return tuple(sorted(shapes))


def bucket_for(size: tuple[int, int], buckets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Choose the bucket whose aspect ratio is nearest; of equals the largest, then the first."""
    aspect = math.log(size[0] / size[1])
    return min(
        buckets,
        key=lambda shape: (
            round(abs(math.log(shape[0] / shape[1]) - aspect), 9),
            -shape[0] * shape[1],
        ),
    )


def cuts_of(
    size: tuple[int, int], bucket: tuple[int, int], crops: int, name: str, resized_first: bool
) -> tuple[Cut, ...]:
    """List where a picture, resized to just cover the bucket, may be cut: the middle first, the others
    drawn from its name. With `resized_first` that size counts as its original one.
    """
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    resized = (max(bucket[0], round(size[0] * scale)), max(bucket[1], round(size[1] * scale)))
    room = (resized[0] - bucket[0], resized[1] - bucket[1])
    corners = [(room[0] // 2, room[1] // 2)]
    for number in range(1, crops):
        draw = random.Random(f"{name}:{bucket}:{number}")
        corners.append((draw.randint(0, room[0]), draw.randint(0, room[1])))
    original = resized if resized_first else size
    return tuple(
        Cut(original=original, resized=resized, corner=corner, target=bucket)
        for corner in dict.fromkeys(corners)
    )


def cut_in_epoch(cuts: Sequence[Cut], seed: int, epoch: int, name: str) -> Cut:
    return cuts[draw_key(seed, epoch, name) % len(cuts)]
