"""What every layout shares: one forward over the packed tokens of a step, from ids to logits.

A class of layouts.py says what its block does between the two. The numbers are transformers' own:
weights, rotary frequencies and configuration come from its loaded model. The residual is in float32.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from engine.backends.mixing.attention import Attention
from engine.backends.mixing.kernels import Precision, make_kernel
from engine.backends.mixing.multi_lora import NO_MIX, Mix, MixedLinear

Rope = tuple[torch.Tensor, torch.Tensor]  # cosine and signed sine, each [tokens, 1, head size]


@dataclass(slots=True, eq=False)
class Batch:
    """Pack one step's tokens: ids in the order of `attend`'s rows, and whose logits are wanted."""

    ids: list[int]
    attend: Attention
    wanted: list[int]
    mix: Mix = NO_MIX


@dataclass(slots=True, eq=False)
class Layer:
    number: int
    kind: str  # transformers' layer type: full_attention, sliding_attention
    qkv: MixedLinear
    out: MixedLinear
    gate_up: MixedLinear
    down: MixedLinear
    norms: dict[str, torch.Tensor]


class Decoder:
    """Compute a resident base; it takes a loaded transformers model's weights over, and uses it up."""

    NORMS: Sequence[str] = ("input_layernorm", "post_attention_layernorm")
    NORM_OFFSET = 0.0  # Gemma's norms are stored as the difference from one

    def __init__(self, model: Any, precision: Precision) -> None:
        from transformers.activations import ACT2FN

        config, inner = model.config, model.model
        self.precision = precision
        self.dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        self.config = config
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_size = inner.layers[0].self_attn.head_dim
        self.hidden = config.hidden_size
        self.device = inner.embed_tokens.weight.device
        self.linears: list[MixedLinear] = []
        self._eps = config.rms_norm_eps
        self._least = torch.tensor(math.sqrt(self._eps * self.hidden), device=self.device)
        self._act = ACT2FN[getattr(config, "hidden_activation", None) or config.hidden_act]
        self._rotary = inner.rotary_emb
        self._embedding = inner.embed_tokens.weight.detach().to(self.dtype)
        self._last_norm = self._norm_weight(inner.norm)
        self.layers: list[Layer] = []
        for number, block in enumerate(inner.layers):
            self.layers.append(self._layer(number, block))
            block.to("meta")  # its weights live on in the kernels only
        self._head = make_kernel(model.lm_head.weight.detach(), model.lm_head.bias, precision)
        self._cap = getattr(config, "final_logit_softcapping", None)

    def _layer(self, number: int, block: Any) -> Layer:
        kinds = getattr(self.config, "layer_types", None) or ["full_attention"] * (number + 1)
        return Layer(
            number=number,
            kind=kinds[number],
            qkv=self._mixed(number, block, "self_attn", "q_proj", "k_proj", "v_proj"),
            out=self._mixed(number, block, "self_attn", "o_proj"),
            gate_up=self._mixed(number, block, "mlp", "gate_proj", "up_proj"),
            down=self._mixed(number, block, "mlp", "down_proj"),
            norms={name: self._norm_weight(block.get_submodule(name)) for name in self.NORMS},
        )

    def _mixed(self, number: int, block: Any, part: str, *names: str) -> MixedLinear:
        linears = [block.get_submodule(f"{part}.{name}") for name in names]
        full = [f"layers.{number}.{part}.{name}" for name in names]
        self.linears.append(MixedLinear(len(self.linears), full, linears, self.precision))
        return self.linears[-1]

    def _norm_weight(self, norm: Any) -> torch.Tensor:
        """Multiply by the root of the width, since `_norm` divides by the length, not the mean."""
        weight = norm.weight.detach().float() + self.NORM_OFFSET
        return weight * math.sqrt(len(weight))  # type: ignore[no-any-return]

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Give [out, in] of every linear that an adapter may change."""
        return {name: shape for linear in self.linears for name, shape in linear.shapes.items()}

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> torch.Tensor:
        """Compute the wanted tokens' logits, [wanted, vocabulary] in float32; store keys and values."""
        ids = torch.tensor(batch.ids, device=self.device)
        positions = torch.tensor(batch.attend.all_positions(), device=self.device)
        return self.forward(ids, positions, batch)

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Do the same with tokens that are on the device already; nothing is copied there on the way."""
        x = self._embed(ids)
        ropes = self._ropes(positions)
        for layer in self.layers:
            x = self._block(x, layer, batch, ropes[layer.kind])
        if batch.wanted != list(range(len(batch.ids))):
            x = x[torch.tensor(batch.wanted, dtype=torch.long, device=self.device)]
        logits = self._head(self._norm(x, self._last_norm)).float()
        return logits if self._cap is None else torch.tanh_(logits.div_(self._cap)).mul_(self._cap)

    def _block(self, x: torch.Tensor, layer: Layer, batch: Batch, rope: Rope) -> torch.Tensor:
        """Add a block's two parts to x [tokens, hidden], in float32."""
        raise NotImplementedError

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids, self._embedding).float()

    def _ropes(self, positions: torch.Tensor) -> dict[str, Rope]:
        return dict.fromkeys((layer.kind for layer in self.layers), self._rope(positions))

    def _rope(self, positions: torch.Tensor, *kind: str) -> Rope:
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        cos, sin = self._rotary(like, positions[None], *kind)
        half = self.head_size // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
        return cos[0][:, None], sin[0][:, None]

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Take the root-mean-square norm in float32; `weight` as _norm_weight gives it."""
        size = torch.linalg.vector_norm(x, 2, 1, keepdim=True)
        return torch.mul(x, weight).div_(size.hypot_(self._least))

    def _turned(self, qk: torch.Tensor, rope: Rope) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = rope
        turned = torch.addcmul(qk * cos, torch.roll(qk, self.head_size // 2, -1), sin)
        return turned[:, : self.heads], turned[:, self.heads :]

    def _heads(self, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Split off the values, [tokens, kv heads, size], from queries and keys together."""
        both = qkv.view(len(qkv), -1, self.head_size)
        return both[:, : self.heads + self.kv_heads], both[:, self.heads + self.kv_heads :]

    def _gated(self, y: torch.Tensor) -> torch.Tensor:
        gate, up = y.chunk(2, 1)
        return self._act(gate).mul_(up)  # type: ignore[no-any-return]
