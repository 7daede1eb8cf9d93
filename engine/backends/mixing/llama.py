"""The Llama layout: SmolLM2, Llama and their kin."""

import torch

from engine.backends.mixing.decoder import Batch, Decoder, Layer, Rope


class Llama(Decoder):
    def _block(self, x: torch.Tensor, layer: Layer, batch: Batch, rope: Rope) -> torch.Tensor:
        h = self._norm(x, layer.norms["input_layernorm"])
        qk, v = self._heads(layer.qkv(h, batch.mix))
        q, k = self._turned(qk, rope)
        seen = batch.attend(layer.number, q, k, v, scale=self.head_size**-0.5)
        x.add_(layer.out(seen, batch.mix))
        h = self._norm(x, layer.norms["post_attention_layernorm"])
        return x.add_(layer.down(self._gated(layer.gate_up(h, batch.mix)), batch.mix))
