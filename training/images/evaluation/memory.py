"""Does it give training pictures back? Each drawn picture's nearest one, seen and held out.

Held-out photographs set the measure: how near a real, unseen one lies to the training pictures is no
copying. What lies nearer than 99 in 100 of them do is suspect, as is a near-duplicate by hash.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from training.images.evaluation.features import dhash

SAME = 4  # bits of a difference hash, at most, between near-duplicates


def nearest(rows: Any, others: Any) -> tuple[Any, Any]:
    near = normed(rows) @ normed(others).T
    found = near.argmax(1)
    return found, near[np.arange(len(near)), found]


def normed(rows: Any) -> Any:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def memory_of(
    drawn: Sequence[Image.Image],
    drawn_rows: Any,
    train: Sequence[Image.Image],
    train_rows: Any,
    held: Any,
) -> dict[str, Any]:
    """Measure copying; `held` are the rows of held-out pictures, perhaps none."""
    index, near = nearest(drawn_rows, train_rows)
    hashes = [dhash(picture) for picture in train]
    bits = [min((dhash(p) ^ other).bit_count() for other in hashes) for p in drawn]
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
        unseen = nearest(drawn_rows, held)[1]
        figures |= {
            "held_out_p95": float(np.percentile(real, 95)),
            "held_out_p99": floor,
            "suspect_share": float((near > floor).mean()),
            "gap": float(near.mean() - unseen.mean()),
        }
    return figures
