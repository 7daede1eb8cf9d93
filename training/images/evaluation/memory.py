"""Does it give training pictures back? Each drawn picture's nearest one, seen and held out.

Pictures are compared by plain features that need no model: three views, each of unit length. A small
colour copy without its mean (what lies where), a histogram of hue, saturation and value (which
colours), and oriented gradients (Dalal and Triggs 2005: which edges).

Held-out photographs set the measure: how near a real, unseen one lies to the training pictures is no
copying. What lies nearer than 99 in 100 of them do is suspect, as is a near-duplicate by hash. The gap
is to as many training pictures as are held out: the nearest of more is nearer, whoever draws.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from training.run.schedule import spread

SMALL = 16
CELLS, ANGLES = 8, 8
SAME = 4  # bits of a difference hash, at most, between near-duplicates


def features_of(pictures: Iterable[Image.Image]) -> Any:
    """Join all three views of each picture to a row of 1,408 numbers."""
    rows = [np.concatenate([layout(p), colours(p), edges(p)]) for p in pictures]
    return np.stack(rows).astype(np.float32)


def layout(picture: Image.Image) -> Any:
    """Shrink to 16x16 colours, their mean taken out: 768 numbers."""
    small = np.asarray(picture.convert("RGB").resize((SMALL, SMALL)), dtype=np.float64)
    return unit((small - small.mean((0, 1))).ravel())


def colours(picture: Image.Image) -> Any:
    """Take square roots of the shares of 8x4x4 hues, saturations, values: 128 numbers."""
    pixels = np.asarray(picture.convert("HSV").resize((64, 64)), dtype=np.int64).reshape(-1, 3)
    bins = (pixels[:, 0] // 32) * 16 + (pixels[:, 1] // 64) * 4 + pixels[:, 2] // 64
    return unit(np.sqrt(np.bincount(bins, minlength=128)))


def edges(picture: Image.Image) -> Any:
    """Sum gradients by 8 directions in 8x8 cells of a grey copy: 512 numbers."""
    grey = np.asarray(picture.convert("L").resize((64, 64)), dtype=np.float64)
    down, right = np.gradient(grey)
    angle = np.mod(np.arctan2(down, right), np.pi)
    place = np.minimum((angle / np.pi * ANGLES).astype(int), ANGLES - 1)
    cell = np.add.outer(np.arange(64) // 8 * CELLS, np.arange(64) // 8)
    found = np.bincount((cell * ANGLES + place).ravel(), np.hypot(down, right).ravel(), 512)
    return unit(np.sqrt(found))


def unit(rows: Any) -> Any:
    """Scale each row to length 1; nothing stays nothing."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def dhash(picture: Image.Image) -> int:
    """Tell of each of 8x8 grey cells whether it is darker than its right neighbour: 64 bits."""
    grey = np.asarray(picture.convert("L").resize((9, 8)), dtype=np.int64)
    bits = (grey[:, :-1] < grey[:, 1:]).ravel()
    return sum(1 << place for place, bit in enumerate(bits) if bit)


def nearest(rows: Any, others: Any) -> tuple[Any, Any]:
    near = unit(rows) @ unit(others).T
    found = near.argmax(1)
    return found, near[np.arange(len(near)), found]


def memory_of(
    drawn: Sequence[Image.Image], train: Sequence[Image.Image], train_rows: Any, held: Any
) -> dict[str, Any]:
    """Measure copying by the features of training pictures and of held-out ones, perhaps none."""
    rows = features_of(drawn)
    index, near = nearest(rows, train_rows)
    hashes = [dhash(picture) for picture in train]
    bits = [min((own ^ other).bit_count() for other in hashes) for own in map(dhash, drawn)]
    figures: dict[str, Any] = {
        "pictures": len(drawn),
        "nearest": [int(number) for number in index],
        "similarity": [round(float(value), 4) for value in near],
        "p95": float(np.percentile(near, 95)),
        "p99": float(np.percentile(near, 99)),
        "near_duplicates": sum(bit <= SAME for bit in bits),
    }
    if len(held):
        real = nearest(held, train_rows)[1]
        floor = float(np.percentile(real, 99))
        unseen = nearest(rows, held)[1]
        figures |= {
            "held_out_p95": float(np.percentile(real, 95)),
            "held_out_p99": floor,
            "suspect_share": float((near > floor).mean()),
            "gap": float(nearest(rows, spread(train_rows, len(held)))[1].mean() - unseen.mean()),
        }
    return figures
