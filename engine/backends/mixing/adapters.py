"""A LoRA's file as plain matrices for the mixing layers, or the reason why it cannot be mixed."""

import re
from pathlib import Path
from typing import NewType

import torch
from safetensors.torch import load_file

from engine.errors import ModelError, UnmixableError
from engine.weights.adapter_config import AdapterConfig, read_config
from engine.weights.weight_files import ADAPTER_WEIGHTS

# One linear's update: A [rank, in] and B [out, rank], the scale already in B.
Update = tuple[torch.Tensor, torch.Tensor]
Adapter = dict[str, Update]  # "layers.3.self_attn.q_proj" -> its update

_NAME = re.compile(
    r"base_model\.model\.model\.(?P<module>layers\.\d+\..+)\.lora_(?P<side>[AB])\.weight"
)


# What a row writes with, and whose keys and values, stacks and prefixes are: an adapter by its digest.
# An expert's name does not say it: its plain arm has that too.
AdapterKey = NewType("AdapterKey", str)
BARE = AdapterKey("")  # the base alone
OUTSIDE = ("lm_head", "model.embed_tokens")  # what an adapter may change beside a block's linears


def read_adapter(name: str, folder: Path, shapes: dict[str, tuple[int, int]]) -> Adapter:
    """Read the updates of every linear that the adapter has; `shapes` are the base's, [out, in].

    Any rank, by linear too, rank-stabilised or not; a linear that it leaves out stays the base's own.
    Raises UnmixableError for another kind, ModelError for one that does not fit or is not finite.
    """
    config = read_config(name, folder)
    beyond = [*config.beyond, *(name for name in OUTSIDE if config.targets(name))]
    if beyond or config.target_modules in (None, [], "all-linear"):
        raise UnmixableError(f"The adapter of {name} uses {', '.join(beyond) or 'defaults'}.")
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(folder / ADAPTER_WEIGHTS).items():
        found = _NAME.fullmatch(key)
        if found is None:
            raise UnmixableError(f"The adapter of {name} changes more than linears ({key}).")
        halves.setdefault(found["module"], {})[found["side"]] = tensor
    updates = {m: _update(name, m, half, config, shapes.get(m)) for m, half in halves.items()}
    if odd := sorted(set(updates) ^ {m for m in shapes if config.targets(f"model.{m}")}):
        raise ModelError(
            f"The adapter of {name} does not fit its base: {odd[0]} and {len(odd) - 1} more stand in "
            "one alone of its file and its configuration. Restore both."
        )
    return updates


def _update(
    name: str,
    module: str,
    half: dict[str, torch.Tensor],
    config: AdapterConfig,
    shape: tuple[int, int] | None,
) -> Update:
    a, b = half.get("A"), half.get("B")
    rank = config.rank(f"model.{module}")
    expected = shape and [(rank, shape[1]), (shape[0], rank)]
    if a is None or b is None or [a.shape, b.shape] != expected:
        has = " x ".join(str(n) for half_ in (b, a) if half_ is not None for n in half_.shape)
        raise ModelError(
            f"The adapter of {name} does not fit its base: {module} is {shape or 'not there'}, "
            f"the adapter's is {has} of rank {rank}. Add the adapter anew, with the base that it was "
            "trained on."
        )
    a, b = a.float(), b.float()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ModelError(f"The adapter of {name} holds numbers that are not finite. Add it anew.")
    return a, b * config.scale(f"model.{module}")
