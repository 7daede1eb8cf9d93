"""One token a row: penalties, then the most likely one or a drawn one, each row by its own rules.

The order is transformers': repetition penalty, what else is lowered or banned, temperature, top-k,
top-p, min-p; then top-n-sigma and XTC, which transformers does not have. Draws are by inversion with
one number from the row's own generator, so they depend on no other row. Only the likeliest CANDIDATES
are sorted; where they do not hold all that may be drawn, the whole row is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from engine.backends.mixing.sequence import UNFIT
from engine.backends.row_sampler import Draw, RowSampler
from engine.errors import ModelError
from engine.plan.cards import Sampling

CANDIDATES = 512

Floats = npt.NDArray[np.float32]
Candidates = tuple[Floats, npt.NDArray[np.int64]]  # logits, greatest first, and their tokens


def choose(logits: torch.Tensor, draws: Sequence[Draw]) -> list[int | None]:
    """Choose each row's token from [rows, vocabulary] (changed in place); None if not finite."""
    fit = logits.amax(1).isfinite().tolist()
    for row in [row for row, good in enumerate(fit) if not good]:
        logits[row] = 0.0
    _penalise(logits, draws)
    if lowered := [(r, token, by) for r, d in enumerate(draws) for token, by in d.lowered.items()]:
        low_rows, low, amounts = zip(*lowered, strict=True)
        amount = torch.tensor(amounts, device=logits.device)
        logits[list(low_rows), list(low)] -= amount
    spreads = _spreads(logits, draws)  # before what is banned makes them infinite
    bans = [(row, token) for row, draw in enumerate(draws) for token in draw.banned]
    if bans:
        banned_rows, banned = zip(*bans, strict=True)
        logits[list(banned_rows), list(banned)] = float("-inf")
    chosen: list[int | None] = [None] * len(draws)
    for greedy in (True, False):
        rows = [r for r, draw in enumerate(draws) if (draw.sampling.temperature == 0) is greedy]
        if rows:
            some = logits if len(rows) == len(draws) else logits[rows]
            drawn = [draws[r] for r in rows], [spreads[r] for r in rows]
            tokens = some.argmax(1).tolist() if greedy else _drawn(some, *drawn)
            for row, token in zip(rows, tokens, strict=True):
                chosen[row] = token if fit[row] else None
    return chosen


def _penalise(logits: torch.Tensor, draws: Sequence[Draw]) -> None:
    """Divide what was said by the penalty, or multiply it where it is negative (arXiv 1909.05858)."""
    size = logits.shape[1]
    places, factors = [], []
    for row, draw in enumerate(draws):
        if draw.sampling.repetition_penalty != 1.0:
            places.append(np.asarray(draw.said, dtype=np.int64) + row * size)
            factors.append(np.full(len(draw.said), draw.sampling.repetition_penalty, np.float32))
    if not places:
        return
    flat, place = logits.view(-1), torch.from_numpy(np.concatenate(places)).to(logits.device)
    factor = torch.from_numpy(np.concatenate(factors)).to(logits.device)
    said = flat[place]
    flat[place] = torch.where(said < 0, said * factor, said / factor)


def _spreads(logits: torch.Tensor, draws: Sequence[Draw]) -> list[float]:
    """Measure the standard deviations that top-n-sigma goes by (arXiv 2411.07641)."""
    if not any(draw.sampling.top_n_sigma for draw in draws):
        return [0.0] * len(draws)
    apart = logits - logits.mean(1, keepdim=True)
    size = torch.linalg.vector_norm(apart, 2, 1) / math.sqrt(logits.shape[1] - 1)
    found: list[float] = size.tolist()  # torch's own std takes ten times as long
    return found


def _drawn(logits: torch.Tensor, draws: Sequence[Draw], spreads: Sequence[float]) -> list[int]:
    heat = torch.tensor([draw.sampling.temperature for draw in draws], device=logits.device)
    logits.div_(heat[:, None])
    totals = logits.logsumexp(1).tolist()
    likely = _candidates(logits, CANDIDATES)
    return [_one(*each) for each in zip(logits, likely, totals, draws, spreads, strict=True)]


def _candidates(logits: torch.Tensor, count: int) -> list[Candidates]:
    """Take the likeliest of each row; on a GPU it finds them, since whole rows take long to copy."""
    count = min(count, logits.shape[1])
    if logits.device.type == "cpu":
        return [_likeliest(row, count) for row in logits.numpy()]
    values, places = (found.cpu().numpy() for found in logits.topk(count))
    return list(zip(values, places, strict=True))


def _one(row: torch.Tensor, likely: Candidates, total: float, draw: Draw, spread: float) -> int:
    """Draw from logits; `total` is the log of their summed exponentials, `spread` at temperature 1."""
    sampling, number = draw.sampling, draw.generator.random()
    least = sampling.min_p
    if sampling.top_n_sigma:
        distance = sampling.top_n_sigma * spread / sampling.temperature
        least = max(least, math.exp(-distance))
    excluding = (
        bool(sampling.xtc_probability) and draw.generator.random() < sampling.xtc_probability
    )
    while True:
        values, places = likely
        chances = np.exp(values.astype(np.float64) - total)
        found = pick(chances, len(places) == len(row), sampling, number, least, excluding)
        if found is not None:
            return int(places[found])
        likely = _candidates(row[None], len(row))[0]


def _likeliest(row: Floats, count: int) -> Candidates:
    if count < len(row):
        some = np.argpartition(row, len(row) - count)[len(row) - count :]
        order = some[np.argsort(-row[some])]
    else:
        order = np.argsort(-row)
    return row[order], order


def pick(
    chances: npt.NDArray[np.float64],
    whole: bool,
    sampling: Sampling,
    number: float,
    least: float = 0.0,
    excluding: bool = False,
) -> int | None:
    """Find which of the sorted chances `number` (0 to 1) falls on, after top-k and top-p, then without
    those under `least` of the greatest, and then, if `excluding`, without all but the smallest over
    XTC's threshold (oobabooga/text-generation-webui #6335).

    `whole` says that these are all tokens there are; if not, None: more are needed to say.

    >>> import numpy as np
    >>> chances = np.array([0.5, 0.3, 0.15, 0.05])
    >>> [pick(chances, True, Sampling(top_p=p), 0.99) for p in (0.7, 1.0)]
    [1, 3]
    >>> pick(chances, True, Sampling(top_p=1.0, xtc_threshold=0.2), 0.0, excluding=True)
    1
    >>> pick(chances[:2], False, Sampling(top_p=0.9, top_k=0), 0.1) is None
    True
    """
    if 0 < sampling.top_k <= len(chances):
        chances = chances[: sampling.top_k]
        chances, whole = chances / chances.sum(), True
    sums = chances.cumsum()
    if not whole and sums[-1] < sampling.top_p and least * chances[0] <= chances[-1]:
        return None
    if sampling.top_p < 1.0:
        chances = chances[: 1 + int(np.searchsorted(sums, sampling.top_p))]
    if least > 0:
        chances = chances[chances >= least * chances[0]]
    likely = int((chances >= sampling.xtc_threshold * chances.sum()).sum()) if excluding else 0
    first = max(0, likely - 1)
    chances = chances[first:]
    sums = chances.cumsum()
    found = min(int(np.searchsorted(sums, number * sums[-1], side="right")), len(chances) - 1)
    return first + found


@dataclass(frozen=True, slots=True)
class ChosenTokens:
    """Choose for every row of a batch, as a LogitsProcessor of transformers: it has one token left."""

    rows: Sequence[RowSampler]
    prompts: Sequence[int]  # their lengths; they are padded on the left to the longest
    decode: Callable[[list[int]], str]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        longest, draws = max(self.prompts), []
        for row, prompt, ids in zip(self.rows, self.prompts, input_ids.tolist(), strict=True):
            draws.append(row.draw(ids[longest - prompt :], prompt, self.decode(ids[longest:])))
        only = torch.full_like(scores, float("-inf"))
        for number, token in enumerate(choose(scores.float().clone(), draws)):
            if token is None:
                raise ModelError(UNFIT.format(expert=self.rows[number].expert))
            only[number, token] = 0.0
        return only
