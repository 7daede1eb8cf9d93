"""Keys and values of prompts that were read before: an expert's instruction is read once, not each time.

They depend on the adapter, so they are kept by expert. What was used last stays longest.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch

LEAST_TOKENS = 16  # a shorter start is read again sooner than it is copied


class Prefixes:
    """Starts of prompts, within a budget of bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[tuple[str, tuple[int, ...]], torch.Tensor] = OrderedDict()
        self._bytes = 0

    def find(self, expert: str, ids: list[int]) -> tuple[int, torch.Tensor | None]:
        """The longest known start of the prompt, short of its last token: its length and its keys."""
        best, key = LEAST_TOKENS - 1, None
        for held in self._kept:
            if held[0] == expert:
                length = shared(held[1], ids)
                if length > best:
                    best, key = length, held
        if key is None:
            return 0, None
        self._kept.move_to_end(key)
        return best, self._kept[key]

    def wants(self, ids: list[int], known: int) -> bool:
        """Whether a prompt of which `known` tokens came from here is worth keeping."""
        return len(ids) - known >= LEAST_TOKENS

    def keep(self, expert: str, ids: list[int], held: torch.Tensor) -> None:
        """[2, layers, kv heads, tokens, head size] of the whole prompt."""
        key = (expert, tuple(ids))
        if key in self._kept or held.nbytes > self._budget:
            return
        self._kept[key] = held
        self._bytes += held.nbytes
        while self._bytes > self._budget:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def forget(self, expert: str | None = None) -> None:
        """Those of an expert whose adapter has changed, or all."""
        for key in [key for key in self._kept if expert in (None, key[0])]:
            self._bytes -= self._kept.pop(key).nbytes


def shared(one: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens both begin with, short of the prompt's last, whose logits are wanted.

    >>> shared([1, 2, 3], [1, 2, 4, 5]), shared([1, 2, 3], [1, 2, 3])
    (2, 2)
    """
    for place, (a, b) in enumerate(zip(one, prompt[:-1], strict=False)):
        if a != b:
            return place
    return min(len(one), len(prompt) - 1)
