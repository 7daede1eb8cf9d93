"""The Gemma 3 layout, text only: Gemma 2's, with normed queries and keys instead of capped scores, and
rotary frequencies of their own in the sliding layers."""

import math
from typing import Any

import torch

from engine.backends.mixing.decoder import Layer, Rope
from engine.backends.mixing.gemma2 import Gemma2
from engine.backends.mixing.kernels import Precision


class Gemma3(Gemma2):
    NORMS = (*Gemma2.NORMS, "self_attn.q_norm", "self_attn.k_norm")

    def __init__(self, model: Any, precision: Precision) -> None:
        super().__init__(model, precision)
        self._score_cap = None
        self._least_head = torch.tensor(math.sqrt(self._eps * self.head_size), device=self.device)
        self._head_norms = [
            torch.cat(
                [
                    layer.norms["self_attn.q_norm"].expand(self.heads, -1),
                    layer.norms["self_attn.k_norm"].expand(self.kv_heads, -1),
                ]
            )
            for layer in self.layers
        ]

    def _ropes(self, positions: torch.Tensor) -> dict[str, Rope]:
        return {
            kind: self._signed(*self._rotary(self._like(), positions[None], kind))
            for kind in {layer.kind for layer in self.layers}
        }

    def _sized(self, qk: torch.Tensor, layer: Layer) -> torch.Tensor:
        qk = qk.float()
        size = torch.linalg.vector_norm(qk, 2, -1, keepdim=True).hypot_(self._least_head)
        return torch.mul(qk, self._head_norms[layer.number]).div_(size).to(self.dtype)
