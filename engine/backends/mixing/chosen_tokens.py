"""The mixing engine's sampling as a LogitsProcessor of transformers, which then has one token left."""

from collections.abc import Callable, Sequence

import torch

from engine.backends.mixing.sampler import choose
from engine.backends.mixing.sequence import UNFIT
from engine.backends.row_sampler import RowSampler
from engine.errors import ModelError


class ChosenTokens:
    """Choose for every row of a batch; transformers is to take the likeliest."""

    def __init__(
        self, rows: Sequence[RowSampler], prompts: Sequence[int], decode: Callable[[list[int]], str]
    ) -> None:
        """`prompts` are the lengths of the prompts, which are padded on the left to the longest."""
        self._rows, self._prompts, self._decode = rows, prompts, decode

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        longest, draws = max(self._prompts), []
        for number, (row, ids) in enumerate(zip(self._rows, input_ids.tolist(), strict=True)):
            prompt = self._prompts[number]
            draws.append(row.draw(ids[longest - prompt :], prompt, self._decode(ids[longest:])))
        only = torch.full_like(scores, float("-inf"))
        for number, token in enumerate(choose(scores.float().clone(), draws)):
            if token is None:
                raise ModelError(UNFIT.format(expert=self._rows[number].expert))
            only[number, token] = 0.0
        return only
