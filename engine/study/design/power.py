"""How many people a study needs: power by simulation of the test that is planned. Pure.

The test is of a share against one half, with errors by person: of pairs, those won by the treated arm;
of guesses, those that were right, for which d' stands as the normal distribution at d'/2.
"""

from bisect import bisect_left
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from engine.errors import CommandError

STUDIES = 1000  # simulated for each number of people
MOST_PEOPLE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Hold what is to be found: a share, from so many judgements of each person, alike by `icc`."""

    effect: float
    judgements: int
    icc: float = 0.0
    ties: float = 0.0
    level: float = 0.05


def power(people: int, design: Design, seed: int = 0) -> float:
    """Give the share of simulated studies in which the planned test tells the share from one half.

    >>> strong = Design(effect=0.7, judgements=4)
    >>> power(200, strong) > 0.99 > power(20, strong) > 0.5
    True
    """
    draw = np.random.default_rng(seed)
    shape = STUDIES, people
    chance = np.full(shape, design.effect)
    if design.icc:
        apart = (1 - design.icc) / design.icc
        chance = draw.beta(design.effect * apart, (1 - design.effect) * apart, shape)
    decided = draw.binomial(design.judgements, 1 - design.ties, shape)
    won = draw.binomial(decided, chance)
    return float(differs(won.astype(float), decided.astype(float), design.level).mean())


def differs(
    won: NDArray[np.float64], decided: NDArray[np.float64], level: float
) -> NDArray[np.bool_]:
    """Test the share in each study, a row, against one half, by the spread of whole people."""
    people = won.shape[-1]
    share = won.sum(axis=-1) / np.maximum(decided.sum(axis=-1), 1)
    apart = np.square(won - share[:, None] * decided).sum(axis=-1)
    error = np.sqrt(people / (people - 1) * apart) / np.maximum(decided.sum(axis=-1), 1)
    return np.asarray(np.abs(share - 0.5) > _student(people - 1, level) * error)


def _student(freedom: int, level: float) -> float:
    """Give the quantile of Student's t, as it is expanded from the normal one (Cornish and Fisher)."""
    z = NormalDist().inv_cdf(1 - level / 2)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return float(z + first / freedom + second / freedom**2)


def needed(design: Design, wanted: float) -> int:
    """Find the fewest people with that power. Raises CommandError where so many would not do."""
    low, high = 4, 8
    while power(high, design) < wanted:
        low, high = high, 2 * high
        if low > MOST_PEOPLE / 2:
            raise CommandError(f"More than {MOST_PEOPLE:,} people would be needed to see that.")
    return bisect_left(range(high), wanted, low + 1, key=lambda people: power(people, design))
