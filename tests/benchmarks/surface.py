"""How far the surface of passages tells real ones from generated: length, words, punctuation.

A classifier measures it, and a pool is made of the pairs that are closest.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.sentences import sentences_of

BALANCE = 0.1  # how much a pair must take back of what the earlier ones are apart
MARKS = (",", ";", ":", "—", "-", "?", "!", "…", ".", "“", "’", "(")
FOLDS = 10
RIDGE = 1.0  # on standardised features
NEWTON = 25  # of Newton's method; it stands still long before

Floats = NDArray[np.float64]


def features(text: str) -> list[float]:
    words = text.split()
    letters = sum(map(len, words))
    sentences = max(1, len(re.findall(r"[.!?…]+", text)))
    return [
        len(words),
        letters / max(1, len(words)),
        len(words) / sentences,
        sum(word[:1].isupper() for word in words),
        *(text.count(mark) for mark in MARKS),
    ]


def classified(real: Sequence[str], generated: Sequence[str]) -> float:
    """Give the share that a classifier on the surface tells right; 0.5 is chance.

    >>> classified(["So it was."] * 20, ["It was; so; it was; so it was!"] * 20)
    1.0
    """
    table = np.array([features(text) for text in (*real, *generated)], dtype=float)
    kinds = np.repeat([0.0, 1.0], [len(real), len(generated)])
    order = np.random.default_rng(0).permutation(len(kinds))
    right = 0.0
    for fold in range(min(FOLDS, len(kinds))):
        held = np.zeros(len(kinds), dtype=bool)
        held[order[fold::FOLDS]] = True
        weights, scale = _logistic(table[~held], kinds[~held])
        said = _with_one((table[held] - scale[0]) / scale[1]) @ weights > 0
        right += float((said == (kinds[held] > 0)).sum())
    return right / len(kinds)


def _logistic(table: Floats, kinds: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """Fit a ridge logistic regression; return its weights, and mean and deviation of the features."""
    scale = table.mean(axis=0), np.maximum(table.std(axis=0), 1e-9)
    rows = _with_one((table - scale[0]) / scale[1])
    ridge = RIDGE * np.eye(rows.shape[1])
    weights = np.zeros(rows.shape[1])
    for _ in range(NEWTON):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (kinds - chance) - ridge @ weights
        curve = (rows * (chance * (1 - chance))[:, None]).T @ rows + ridge
        weights = weights + np.linalg.solve(curve, slope)
    return weights, scale


def _with_one(rows: Floats) -> Floats:
    return np.hstack([np.ones((len(rows), 1)), rows])


def matched(real: Sequence[str], generated: Sequence[str], most: int) -> list[tuple[int, int]]:
    """Pair real passages with generated ones, each sentence once; give their numbers.

    Each pair is the closest that is left, where close also means that it takes back what the pairs
    before it are apart in sum: so the two kinds agree on the whole, too.
    """
    table = np.array([features(text) for text in (*real, *generated)], dtype=float)
    table = table / np.maximum(table[len(real) :].std(axis=0), 1e-9)
    one, other = table[: len(real)], table[len(real) :]
    apart = one[:, None] - other[None]
    distance = np.square(apart).sum(axis=-1)
    owing = np.zeros(table.shape[1])
    holders: dict[str, set[int]] = {}
    for number, text in enumerate(real):
        for sentence in sentences_of(text):
            holders.setdefault(sentence, set()).add(number)
    pairs: list[tuple[int, int]] = []
    while len(pairs) < most:
        place = int((distance + BALANCE * np.square(owing + apart).sum(axis=-1)).argmin())
        mine, theirs = divmod(place, len(generated))
        if not np.isfinite(distance[mine, theirs]):
            break
        pairs.append((mine, theirs))
        owing = owing + apart[mine, theirs]
        same = {n for sentence in sentences_of(real[mine]) for n in holders[sentence]}
        distance[[mine, *same], :] = distance[:, theirs] = np.inf
    return pairs
