"""What every layout shares: one forward over the packed tokens of a step, from ids to logits.

A class of layouts.py says what its block does between the two. Weights have the names that
transformers gives them; configuration and rotary frequencies are its own. The residual is in float32.
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
State = dict[str, torch.Tensor]  # "model.layers.3.self_attn.q_proj.weight" -> [out, in]


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
    """Compute a resident base; it takes the weights of `state` over, and uses them up.

    `rotary` gives cosine and sine as transformers' own does: of (what has the dtype, positions).
    """

    NORMS: Sequence[str] = ("input_layernorm", "post_attention_layernorm")
    NORM_OFFSET = 0.0  # Gemma's norms are stored as the difference from one

    def __init__(self, config: Any, state: State, rotary: Any, precision: Precision) -> None:
        self.precision = precision
        self.dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        self.config = config
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_size = len(state["model.layers.0.self_attn.q_proj.weight"]) // self.heads
        self.hidden = config.hidden_size
        embedding = state["model.embed_tokens.weight"]
        self.device = embedding.device
        self.linears: list[MixedLinear] = []
        self._eps = config.rms_norm_eps
        self._least = torch.tensor(math.sqrt(self._eps * self.hidden), device=self.device)
        self._act = _activation(getattr(config, "hidden_activation", None) or config.hidden_act)
        self._rotary = rotary
        self._embedding = embedding.to(self.dtype)
        self._last_norm = self._norm_weight(state["model.norm.weight"])
        self.layers = [self._layer(number, state) for number in range(config.num_hidden_layers)]
        head = state["lm_head.weight"]
        tied = head.data_ptr() == embedding.data_ptr()  # then it is converted once
        head = self._embedding if tied else head
        self._head = make_kernel(head, state.get("lm_head.bias"), precision)
        self._cap = getattr(config, "final_logit_softcapping", None)

    def _layer(self, number: int, state: State) -> Layer:
        kinds = getattr(self.config, "layer_types", None) or ["full_attention"] * (number + 1)
        return Layer(
            number=number,
            kind=kinds[number],
            qkv=self._mixed(number, state, "self_attn", "q_proj", "k_proj", "v_proj"),
            out=self._mixed(number, state, "self_attn", "o_proj"),
            gate_up=self._mixed(number, state, "mlp", "gate_proj", "up_proj"),
            down=self._mixed(number, state, "mlp", "down_proj"),
            norms={
                name: self._norm_weight(state[f"model.layers.{number}.{name}.weight"])
                for name in self.NORMS
            },
        )

    def _mixed(self, number: int, state: State, part: str, *names: str) -> MixedLinear:
        """Take the linears' weights out of the state: they live on in the kernels only."""
        full = [f"layers.{number}.{part}.{name}" for name in names]
        weights = {name: state.pop(f"model.{name}.weight") for name in full}
        biases = [state.pop(f"model.{name}.bias", None) for name in full]
        self.linears.append(MixedLinear(len(self.linears), weights, biases, self.precision))
        return self.linears[-1]

    def _norm_weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Multiply by the root of the width, since `_norm` divides by the length, not the mean."""
        return (weight.float() + self.NORM_OFFSET) * math.sqrt(len(weight))

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


def _activation(name: str) -> Any:
    if name == "silu":
        return F.silu  # as transformers' is, whose module takes seconds to import
    from transformers.activations import ACT2FN

    return ACT2FN[name]
