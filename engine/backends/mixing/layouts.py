"""The layouts that the mixing engine knows: what a block of each does, and which model has which."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from engine.backends.mixing.decoder import Batch, Decoder, Layer, Rope, State
from engine.backends.mixing.direct_base import DirectBase
from engine.backends.mixing.kernels import Precision
from engine.errors import ModelError, UnmixableError


class Llama(Decoder):
    """SmolLM2, Llama and their kin."""

    def _block(self, x: torch.Tensor, layer: Layer, batch: Batch, rope: Rope) -> torch.Tensor:
        h = self._norm(x, layer.norms["input_layernorm"])
        qk, v = self._heads(layer.qkv(h, batch.mix))
        q, k = self._turned(qk, rope)
        seen = batch.attend(layer.number, q, k, v, scale=self.head_size**-0.5)
        x.add_(layer.out(seen, batch.mix))
        h = self._norm(x, layer.norms["post_attention_layernorm"])
        return x.add_(layer.down(self._gated(layer.gate_up(h, batch.mix)), batch.mix))


class Gemma2(Decoder):
    """Norms before and after each part, capped scores, every other layer sliding."""

    NORMS: Sequence[str] = (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    )
    NORM_OFFSET = 1.0

    def __init__(self, config: Any, state: State, rotary: Any, precision: Precision) -> None:
        super().__init__(config, state, rotary, precision)
        scale = torch.tensor(config.hidden_size**0.5)
        self._embed_scale = float(scale.to(self.dtype))
        self._scale = self.config.query_pre_attn_scalar**-0.5
        self._score_cap: float | None = self.config.attn_logit_softcapping

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        return super()._embed(ids) * self._embed_scale

    def _block(self, x: torch.Tensor, layer: Layer, batch: Batch, rope: Rope) -> torch.Tensor:
        h = self._norm(x, layer.norms["input_layernorm"])
        qk, v = self._heads(layer.qkv(h, batch.mix))
        q, k = self._turned(self._sized(qk, layer), rope)
        window = self.config.sliding_window if layer.kind == "sliding_attention" else None
        seen = batch.attend(
            layer.number, q, k, v, scale=self._scale, window=window, cap=self._score_cap
        )
        y = layer.out(seen, batch.mix).float()
        x.add_(self._norm(y, layer.norms["post_attention_layernorm"]))
        h = self._norm(x, layer.norms["pre_feedforward_layernorm"])
        y = layer.down(self._gated(layer.gate_up(h, batch.mix)), batch.mix).float()
        return x.add_(self._norm(y, layer.norms["post_feedforward_layernorm"]))

    def _sized(self, qk: torch.Tensor, layer: Layer) -> torch.Tensor:  # noqa: ARG002 - Gemma 3's
        return qk


class Gemma3(Gemma2):
    """Normed queries and keys instead of capped scores; sliding layers with their own frequencies."""

    NORMS = (*Gemma2.NORMS, "self_attn.q_norm", "self_attn.k_norm")

    def __init__(self, config: Any, state: State, rotary: Any, precision: Precision) -> None:
        super().__init__(config, state, rotary, precision)
        self._score_cap = None
        self._least_head = torch.tensor(math.sqrt(self._eps * self.head_size), device=self.device)
        heads = {"self_attn.q_norm": self.heads, "self_attn.k_norm": self.kv_heads}
        self._head_norms = [
            torch.cat([layer.norms[name].expand(count, -1) for name, count in heads.items()])
            for layer in self.layers
        ]

    def _ropes(self, positions: torch.Tensor) -> dict[str, Rope]:
        return {kind: self._rope(positions, kind) for kind in {one.kind for one in self.layers}}

    def _sized(self, qk: torch.Tensor, layer: Layer) -> torch.Tensor:
        qk = qk.float()
        size = torch.linalg.vector_norm(qk, 2, -1, keepdim=True).hypot_(self._least_head)
        return torch.mul(qk, self._head_norms[layer.number]).div_(size).to(self.dtype)


LAYOUTS: dict[str, type[Decoder]] = {"llama": Llama, "gemma2": Gemma2, "gemma3_text": Gemma3}
FIXED_ROPES = ("default", "linear", "llama3", "yarn")  # the others change with a text's length


def make_decoder(model: Any, precision: Precision) -> Decoder:
    config = model.config
    layout = LAYOUTS.get(config.model_type)
    if layout is None:
        raise UnmixableError(f"The architecture {config.model_type} is not among {tuple(LAYOUTS)}.")
    if getattr(config, "use_bidirectional_attention", False):
        raise UnmixableError("The model attends in both directions.")
    ropes = config.rope_parameters
    for rope in [ropes] if "rope_type" in ropes else ropes.values():
        if rope and rope.get("rope_type", "default") not in FIXED_ROPES:
            raise UnmixableError(f"Its rotary positions are of the kind {rope['rope_type']}.")
    if getattr(model, "quantization_method", None):
        raise UnmixableError("Its weights are quantised by another library.")
    if isinstance(model, DirectBase):
        try:
            return layout(config, model.state, model.rotary, precision)
        except KeyError as error:
            raise ModelError(f"The base lacks {error}. Run: pastiche prepare") from error
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    model.model.layers.to("meta")  # what it held lives on in the state, and then in kernels only
    return layout(config, state, model.model.rotary_emb, precision)
