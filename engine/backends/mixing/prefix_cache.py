"""Keys and values of prompts that were read before: an expert's instruction is read once, not each time.

They depend on the adapter as well as on the tokens, so only contexts are compared, never bare tokens.
What was used last stays longest. On a processor prompts are read, kept and found in whole blocks, and a
prompt's last tokens are always read: of other shapes the same sums round otherwise, and in bfloat16 a
seed would give another answer once its prompt is known.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.backends.mixing.adapters import AdapterKey

LEAST_TOKENS = 16  # a shorter start is read again sooner than copied; fewer rows round otherwise
BLOCK = 32  # tokens


@dataclass(frozen=True, slots=True)
class Context:
    """Name everything that keys and values follow from: who reads, and what was read."""

    adapter: AdapterKey
    tokens: Sequence[int]


class PrefixCache:
    def __init__(self, budget: int, block: int = BLOCK) -> None:
        """`budget` in bytes; a `block` of one token: any start is found whole."""
        self._budget, self.block = budget, block
        self._kept: OrderedDict[Context, torch.Tensor] = OrderedDict()
        self._bytes = 0

    def find(self, prompt: Context) -> tuple[int, torch.Tensor | None]:
        best, key = LEAST_TOKENS - 1, None
        for held in self._kept:
            length = min(shared(held, prompt), self.whole(len(prompt.tokens)))
            length -= length % self.block
            if length > best:
                best, key = length, held
        if key is None:
            return 0, None
        self._kept.move_to_end(key)
        return best, self._kept[key]

    def whole(self, length: int) -> int:
        """Count the tokens of a prompt of this length that are read in whole blocks.

        >>> [PrefixCache(0).whole(length) for length in (8, 47, 48, 100)], PrefixCache(0, 1).whole(100)
        ([0, 0, 32, 64], 99)
        """
        last = LEAST_TOKENS if self.block > 1 else 1
        return max(0, length - last) // self.block * self.block

    def keep(self, prompt: Context, held: torch.Tensor) -> None:
        """Take the keys and values of a prompt's start, [2, layers, kv heads, tokens, head size]."""
        if prompt in self._kept or held.nbytes > self._budget:
            return
        self._kept[prompt] = held
        self._bytes += held.nbytes
        while self._bytes > self._budget:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def forget(self, adapter: AdapterKey | None = None) -> None:
        for key in [key for key in self._kept if adapter in (None, key.adapter)]:
            self._bytes -= self._kept.pop(key).nbytes


def shared(one: Context, prompt: Context) -> int:
    """Count the tokens that both begin with, short of the prompt's last, whose logits are wanted; none
    if another adapter read them.

    >>> moss, fern = AdapterKey("moss"), AdapterKey("fern")
    >>> [shared(Context(moss, [1, 2, 3]), Context(moss, told)) for told in ([1, 2, 4, 5], [1, 2, 3])]
    [2, 2]
    >>> shared(Context(moss, [1, 2, 3]), Context(fern, [1, 2, 3]))
    0
    """
    if one.adapter != prompt.adapter:
        return 0
    for place, (a, b) in enumerate(zip(one.tokens, prompt.tokens[:-1], strict=False)):
        if a != b:
            return place
    return min(len(one.tokens), len(prompt.tokens) - 1)
