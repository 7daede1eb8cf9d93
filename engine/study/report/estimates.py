"""The report's statistics: intervals, paired comparisons, signal detection. Pure.

Judgements of one person hang together, so intervals of rates over people are bootstrapped by person
(whole people are drawn, 1,000 times, always the same ones). Where all say the same no
draw differs, and there is no interval (nan).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 1000
LEVEL = 0.95
TINY = 1e-12  # for whoever met nobody
RESAMPLED = "95 % intervals by drawing whole people anew, 1,000 times."
STEPS = 200  # of the Bradley-Terry fit; it stands still long before


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Hold a value with its 95 % interval, and from how many judgements of how many people it is."""

    value: float
    low: float
    high: float
    n: int
    people: int = 0


def bootstrap(
    counts: Floats, statistic: Callable[[Floats], Floats], seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Return (value, low, high) of a statistic of summed counts, people drawn with replacement.

    `counts` is [people, ...]; `statistic` maps [draws, ...] to [draws, values].
    """
    people, value = len(counts), statistic(counts.sum(axis=0)[None])[0]
    if not people:
        return value, np.full_like(value, np.nan), np.full_like(value, np.nan)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(people, np.full(people, 1 / people), size=DRAWS)
    drawn = np.tensordot(weights.astype(float), counts, axes=(1, 0))
    spread = statistic(drawn)
    low, high = np.nanpercentile(spread, [50 - 50 * LEVEL, 50 + 50 * LEVEL], axis=0)
    return value, low, high


def estimated(counts: Floats, statistic: Callable[[Floats], Floats], n: int) -> list[Estimate]:
    """Bootstrap a statistic of `n` judgements, one estimate for each of its values.

    >>> estimated(np.zeros((0, 2)), share, 0)  # everybody was excluded
    [Estimate(value=nan, low=nan, high=nan, n=0, people=0)]
    """
    value, *ends = bootstrap(counts, statistic)
    known = [np.where(ends[0] < ends[1], end, np.nan) for end in ends]
    found = zip(value.tolist(), *(end.tolist() for end in known), strict=True)
    people = len(counts)
    return [Estimate(value=v, low=low, high=high, n=n, people=people) for v, low, high in found]


def share(counts: Floats) -> Floats:
    """Map [draws, 2] of hits and misses to [draws, 1]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((counts[..., 0] / counts.sum(axis=-1))[..., None])


def share_by_person(rows: Sequence[tuple[str, bool]]) -> Estimate:
    counts = by_person([(person, int(not hit)) for person, hit in rows], (2,))
    return estimated(counts, share, len(rows))[0]


def win_rate(counts: Floats) -> Floats:
    """Map [draws, 3] of wins, losses, ties to [draws, 1]: a tie is half a win."""
    return share(counts[..., :2] + counts[..., 2:] / 2)


def bradley_terry(wins: Floats) -> Floats:
    """Fit log-strengths [draws, players] to wins [draws, player, beaten], with mean 0.

    The MM fit of Hunter (2004). Every pair that met is given half a win either way, so that whoever won
    all stays finite.
    """
    met = (wins.sum(axis=0) + wins.sum(axis=0).T) > 0
    wins = wins + 0.5 * met
    games = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(axis=-1)
    strength = np.ones(won.shape)
    for _ in range(STEPS):
        pairs = strength[..., :, None] + strength[..., None, :]
        strength = np.maximum(won / np.maximum((games / pairs).sum(axis=-1), TINY), TINY)
        strength /= np.exp(np.log(strength).mean(axis=-1, keepdims=True))
    return np.asarray(np.log(strength))


def detection(counts: Floats) -> Floats:
    """Map [draws, 4] of hits, misses, false alarms, correct rejections to [draws, 3].

    d' and c with the log-linear correction (Hautus 1995), discernment is the plain difference of the
    rates. A hit is a real passage called real; c > 0 leans to calling things generated.
    """
    hits, misses, alarms, rejections = np.moveaxis(counts, -1, 0)
    signal, noise = hits + misses, alarms + rejections
    inverse = np.vectorize(NormalDist().inv_cdf, otypes=[float])
    hit = inverse((hits + 0.5) / (signal + 1))
    alarm = inverse((alarms + 0.5) / (noise + 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        discernment = hits / signal - alarms / noise
    return np.stack([hit - alarm, -(hit + alarm) / 2, discernment], axis=-1)


def by_person(rows: Sequence[tuple[str, Any]], shape: tuple[int, ...]) -> Floats:
    """Count rows of (person, place in the shape) as [people, *shape]."""
    people = {person: number for number, person in enumerate(dict.fromkeys(p for p, _ in rows))}
    counts = np.zeros((len(people), *shape))
    for person, place in rows:
        counts[(people[person], *(place if isinstance(place, tuple) else (place,)))] += 1
    return counts
