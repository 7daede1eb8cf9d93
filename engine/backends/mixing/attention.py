"""Attention of one step: every writing row's newest token at once, then each prompt's piece."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.backends.mixing.kv_cache import KVCache

Pair = tuple[Tensor, Tensor]  # a layer's keys and values


@dataclass(frozen=True, slots=True)
class Piece:
    """Name a part of a prompt: `length` tokens of row `row` from position `start` on."""

    row: int
    start: int
    length: int


@dataclass(slots=True, eq=False)
class Attention:
    """Attend from a step's tokens: one for each of rows 0.. at `positions`, then those of `pieces`."""

    cache: KVCache
    positions: list[int]
    pieces: list[Piece]
    _masks: dict[tuple[Piece | None, int | None], Tensor] = field(default_factory=dict)
    _places: Tensor | None = None

    def all_positions(self) -> list[int]:
        return self.positions + [
            place for p in self.pieces for place in range(p.start, p.start + p.length)
        ]

    def __call__(
        self,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float,
        window: int | None = None,
        cap: float | None = None,
    ) -> Tensor:
        """q [tokens, heads, size], k and v [tokens, kv heads, size], stored -> [tokens, heads * size].
        `window`: how far back a token sees; `cap`: the scores' soft limit."""
        dtype, rows, size = q.dtype, len(self.positions), self.cache.size
        both = self.cache.keys[layer], self.cache.values[layer]
        places = self._all_places(q.device)
        for stored, new in zip(both, (k, v), strict=True):
            stored.view(-1, size).index_copy_(0, places, new.to(stored.dtype).reshape(-1, size))
        q = (q * scale).to(both[0].dtype)
        outs = [self._newest(q[:rows], both, window, cap)] if rows else []
        for piece in self.pieces:
            outs.append(self._piece(piece, q[rows : rows + piece.length], both, window, cap))
            rows += piece.length
        return (outs[0] if len(outs) == 1 else torch.cat(outs)).to(dtype)

    def _newest(self, q: Tensor, both: Pair, window: int | None, cap: float | None) -> Tensor:
        (rows, heads, size), (keys, values) = q.shape, both
        kv = self.cache.heads
        end = max(self.positions) + 1
        mask = self._mask(None, self.positions, end, window, q.device, torch.float32)[:, None]
        k = keys[:rows, :, :end].flatten(0, 1)
        v = values[:rows, :, :end].flatten(0, 1)
        q = q.view(rows * kv, heads // kv, size)
        if q.dtype == torch.bfloat16:  # in oneDNN twice as quick this way; softmax in float32
            scores = torch.bmm(k, q.transpose(1, 2)).transpose(1, 2)
            scores = scores.to(torch.float32, memory_format=torch.contiguous_format)
        else:
            scores = torch.bmm(q, k.transpose(1, 2))
        scores = _capped(scores, cap).view(rows, heads, end).add_(mask)
        shares = scores.softmax(-1).to(q.dtype).view(rows * kv, heads // kv, end)
        return torch.bmm(shares, v).view(rows, heads * size)

    def _piece(
        self, piece: Piece, q: Tensor, both: Pair, window: int | None, cap: float | None
    ) -> Tensor:
        end = piece.start + piece.length
        k, v = (stored[piece.row, :, :end] for stored in both)
        mask = self._mask(piece, range(piece.start, end), end, window, q.device, q.dtype)
        q = q.transpose(0, 1)  # [heads, tokens, size]
        if cap is None:
            out = F.scaled_dot_product_attention(
                q[None], k[None], v[None], attn_mask=mask, scale=1.0, enable_gqa=True
            )[0]
        else:
            group = q.shape[0] // self.cache.heads
            scores = torch.bmm(q, k.repeat_interleave(group, 0).transpose(1, 2))
            shares = _capped(scores, cap).add_(mask).softmax(-1)
            out = torch.bmm(shares, v.repeat_interleave(group, 0))
        return out.transpose(0, 1).reshape(piece.length, -1)

    def _mask(
        self,
        piece: Piece | None,
        places: Sequence[int],
        end: int,
        window: int | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> Tensor:
        """Make [places, end]: 0 where one may look, else -inf; kept for the step's other layers."""
        if window is not None and window >= end:
            window = None
        if (piece, window) not in self._masks:
            mine = self._rows(places, device)[:, None]
            there = torch.arange(end, device=device)[None]
            hidden = there > mine
            if window is not None:
                hidden |= there <= mine - window
            empty = torch.zeros(hidden.shape, dtype=dtype, device=device)
            self._masks[piece, window] = empty.masked_fill_(hidden, float("-inf"))
        return self._masks[piece, window]

    def _rows(self, places: Sequence[int], device: torch.device) -> Tensor:
        return torch.tensor(places, device=device)

    def _all_places(self, device: torch.device) -> Tensor:
        if self._places is None:
            rows = list(range(len(self.positions))) + [
                piece.row for piece in self.pieces for _ in range(piece.length)
            ]
            heads = torch.arange(self.cache.heads)
            first = torch.tensor(rows)[:, None] * self.cache.heads + heads
            flat = first * self.cache.tokens + torch.tensor(self.all_positions())[:, None]
            self._places = flat.flatten().to(device)
        return self._places


def _capped(scores: Tensor, cap: float | None) -> Tensor:
    return scores if cap is None else torch.tanh_(scores.div_(cap)).mul_(cap)
