"""Keys and values of the rows that are being written: slots side by side, the busy ones first.

Rows 0 to n are always the busy ones, so a step reads them without gathering; a row that leaves is
replaced by the last. Room grows with the longest row and is checked against a budget first.
"""

from contextlib import suppress
from dataclasses import dataclass, field

import torch

from engine.backends.memory import is_out_of_memory

STEP_TOKENS = 128  # by which room grows
ROOMY_TOKENS = 1024  # the least, where room grows in powers of two


def bucket(number: int, least: int = 1) -> int:
    """Round up to `least` times a power of two.

    >>> [bucket(n) for n in (1, 3, 16, 17)], bucket(300, 256)
    ([1, 4, 16, 32], 512)
    """
    return least << (-(-number // least) - 1).bit_length()


class CacheFullError(Exception): ...


@dataclass(slots=True, eq=False)
class KVCache:
    """Keep a tensor of keys and one of values for each layer, [rows, kv heads, tokens, head size]."""

    layers: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device
    budget: int  # bytes
    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)
    rows: int = 0
    tokens: int = 0

    @property
    def token_bytes(self) -> int:
        return 2 * self.layers * self.heads * self.size * self.dtype.itemsize

    def reserve(self, rows: int, tokens: int) -> None:
        """Make room for `rows` of `tokens` each. Raises CacheFullError, and nothing is lost then."""
        if rows <= self.rows and tokens <= self.tokens:
            return
        tokens = max(self.tokens, -(-tokens // STEP_TOKENS) * STEP_TOKENS)
        if rows * tokens * self.token_bytes > self.budget:
            raise CacheFullError
        if self.rows * tokens * self.token_bytes <= self.budget:
            rows = max(self.rows, rows)
        try:
            keys = self._grown(self.keys, rows, tokens)
            values = self._grown(self.values, rows, tokens)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise CacheFullError from error
        self.keys, self.values, self.rows, self.tokens = keys, values, rows, tokens

    def fits(self, rows: int, tokens: int, *, roomy: bool) -> bool:
        """Make room if there is some; `roomy`: in powers of two, so that the cache seldom moves."""
        shapes = [(bucket(rows), bucket(tokens, ROOMY_TOKENS))] if roomy else []
        for shape in [*shapes, (rows, tokens)]:
            with suppress(CacheFullError):
                self.reserve(*shape)
                return True
        return False

    def _grown(self, olds: list[torch.Tensor], rows: int, tokens: int) -> list[torch.Tensor]:
        shape = (rows, self.heads, tokens, self.size)
        news = [
            torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(self.layers)
        ]
        for old, new in zip(olds, news, strict=False):
            kept = min(rows, old.shape[0])
            new[:kept, :, : old.shape[2]] = old[:kept]
        return news

    def clear(self) -> None:
        """Give all memory back; no row may be busy."""
        self.keys, self.values, self.rows, self.tokens = [], [], 0, 0

    def move(self, source: int, target: int, length: int) -> None:
        for layer in (*self.keys, *self.values):
            layer[target, :, :length] = layer[source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        for layer in (*self.keys, *self.values):
            held = layer[one, :, :length].clone()
            layer[one, :, :length] = layer[other, :, :length]
            layer[other, :, :length] = held

    def wipe(self, row: int) -> None:
        """Zero a row: a masked value that is not a number would still spoil a sum."""
        for layer in (*self.keys, *self.values):
            layer[row].zero_()

    def copy_out(self, row: int, length: int) -> torch.Tensor:
        """Copy a row's first tokens, [2, layers, kv heads, length, head size]."""
        sides = ([layer[row, :, :length] for layer in side] for side in (self.keys, self.values))
        return torch.stack([torch.stack(side) for side in sides])

    def copy_in(self, row: int, held: torch.Tensor, length: int) -> None:
        for side, part in zip((self.keys, self.values), held, strict=True):
            for layer, kept in zip(side, part, strict=True):
                layer[row, :, :length] = kept[:, :length]
