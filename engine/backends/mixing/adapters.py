"""A LoRA's file as plain matrices for the mixing layers, or the reason why it cannot be mixed."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from engine.errors import ModelError
from engine.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS

# One linear's update: A [rank, in] and B [out, rank], the scale already in B.
Update = tuple[torch.Tensor, torch.Tensor]
Adapter = dict[str, Update]  # "layers.3.self_attn.q_proj" -> its update

_NAME = re.compile(
    r"base_model\.model\.model\.(?P<module>layers\.\d+\..+)\.lora_(?P<side>[AB])\.weight"
)


@dataclass(frozen=True, slots=True, order=True)
class AdapterKey:
    """What a row writes with: an adapter by its digest, at a scale beside the file's own.

    Keys and values, stacks and prefixes belong to this. An expert's name does not say it: the plain
    arm of an expert has that name too, and two cards may have one adapter.
    """

    digest: str
    scale: float = 1.0


BARE = AdapterKey("")  # the base alone

# What changes more than y = Wx + s·BAx: only PEFT's own code serves an adapter with one of these.
ELSEWHERE = (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "modules_to_save", "layer_replication",
    "target_parameters", "trainable_token_indices", "alora_invocation_tokens", "fan_in_fan_out",
    "megatron_config", "arrow_config", "velora_config", "kasa_config", "monteclora_config",
)  # fmt: skip


class UnmixableError(ModelError):
    """The model or adapter is sound, but only PEFT's own code can serve it."""


def read_adapter(name: str, folder: Path, shapes: dict[str, tuple[int, int]]) -> Adapter:
    """The updates of every linear that the adapter has; `shapes` are the base's, [out, in].

    Any rank, by linear too, rank-stabilised or not; a linear that it leaves out stays the base's own.
    Raises UnmixableError for another kind, ModelError for one that does not fit or is not finite.
    """
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    for kind in ELSEWHERE:
        if config.get(kind):
            raise UnmixableError(f"The adapter of {name} uses {kind}.")
    if config.get("bias", "none") != "none":
        raise UnmixableError(f"The adapter of {name} has biases.")
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(folder / ADAPTER_WEIGHTS).items():
        found = _NAME.fullmatch(key)
        if found is None:
            raise UnmixableError(f"The adapter of {name} changes more than linears ({key}).")
        halves.setdefault(found["module"], {})[found["side"]] = tensor
    return {
        module: _update(name, module, half, config, shapes.get(module))
        for module, half in halves.items()
    }


def _update(
    name: str,
    module: str,
    half: dict[str, torch.Tensor],
    config: dict[str, Any],
    shape: tuple[int, int] | None,
) -> Update:
    a, b = half.get("A"), half.get("B")
    if a is None or b is None or shape != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1]:
        has = " x ".join(str(n) for half_ in (b, a) if half_ is not None for n in half_.shape)
        raise ModelError(
            f"The adapter of {name} does not fit its base: {module} is {shape or 'not there'}, "
            f"the adapter's is {has}. Add the adapter anew, with the base that it was trained on."
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ModelError(f"The adapter of {name} holds numbers that are not finite. Add it anew.")
    return a.float(), b.float() * _scale(config, module, a.shape[0])


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """alpha / rank, or alpha / sqrt(rank) where rank-stabilised (arXiv 2312.03732)."""
    alpha = float(config.get("lora_alpha", rank))
    if patterns := config.get("alpha_pattern"):
        from peft.utils.other import get_pattern_key

        alpha = float(patterns.get(get_pattern_key(patterns, f"model.{module}"), alpha))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def bytes_of(adapter: Adapter) -> int:
    """What it takes in memory."""
    return sum(tensor.nbytes for update in adapter.values() for tensor in update)
