"""Adapters of every kind that PEFT writes, on a tiny base: the served, the refused."""

import copy
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

# What is written with exactly, as PEFT alone would: options of its LoraConfig.
SERVED: dict[str, dict[str, Any]] = {
    "usual": {},
    "stabilised": {"use_rslora": True},
    "patterned": {
        "rank_pattern": {"q_proj": 2, "layers.1.self_attn.v_proj": 6},
        "alpha_pattern": {"k_proj": 3, "layers.0.mlp.down_proj": 16},
    },
    "stabilised-patterned": {"use_rslora": True, "rank_pattern": {"v_proj": 2}},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "expression": {"target_modules": r".*layers\.[01]\..*(q|up)_proj"},
    "few-layers": {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0, 2]},
    "first-layer": {"target_modules": ["o_proj"], "layers_to_transform": 0},
    "layers-pattern": {
        "target_modules": ["v_proj"], "layers_to_transform": [1], "layers_pattern": "layers"
    },
    "excluding": {"exclude_modules": ["down_proj", "layers.1.self_attn.q_proj"]},
    "dora": {"use_dora": True},
    "biased-b": {"lora_bias": True},
    "head": {"modules_to_save": ["lm_head"]},
    "embedding": {"modules_to_save": ["embed_tokens"]},
    "tokens": {"trainable_token_indices": list(range(60, 120))},
}  # fmt: skip
# What is refused by its configuration.
REFUSED: dict[str, dict[str, Any]] = {
    "pissa": {"init_lora_weights": "pissa"},
    "pissa-steps": {"init_lora_weights": "pissa_niter_4"},
    "olora": {"init_lora_weights": "olora"},
    "mica": {"init_lora_weights": "mica"},
    "biases": {"bias": "lora_only"},
    "all-biases": {"bias": "all"},
    "replicated": {"layer_replication": [(0, 2), (1, 3)]},
    "parameters": {"target_modules": ["v_proj"], "target_parameters": ["q_proj.weight"]},
    "lora-on-words": {"target_modules": ["q_proj", "embed_tokens"]},
    "lora-on-head": {"target_modules": ["q_proj", "lm_head"]},
}


def make_kinds(base: Path, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """All of them in folders of their names: the served, the refused."""
    served = {name: _lora(base, root / name, **options) for name, options in SERVED.items()}
    refused = {name: _lora(base, root / name, **options) for name, options in REFUSED.items()}
    served["pissa-converted"] = _converted(base, root / "pissa-converted")
    refused |= {name: _other(base, root / name, name) for name in _others()}
    refused["resized"] = _lora(base, root / "resized", words=304)
    for name, change in CHANGES.items():
        refused[name] = shutil.copytree(served["usual"], root / name)
        _change(root / name, change)
    return served, refused


def _lora(base: Path, folder: Path, words: int = 0, **options: Any) -> Path:
    from peft import LoraConfig

    targets = {"target_modules": "all-linear", **options}
    return _save(
        base, folder, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **targets), words
    )


@cache
def _base(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def _adapted(base: Path, config: Any, words: int = 0) -> Any:
    """The base with an adapter, saved without a model card: that takes longer than all the weights."""
    from peft import get_peft_model

    model = copy.deepcopy(_base(base))
    if words:
        model.resize_token_embeddings(words)
    adapted = get_peft_model(model, config)
    adapted.create_or_update_model_card = lambda _folder: None
    return adapted


def _save(base: Path, folder: Path, config: Any, words: int = 0) -> Path:
    """Whatever PEFT would train away from its start, and saved as PEFT saves."""
    import torch

    adapted = _adapted(base, config, words)
    generator = torch.Generator().manual_seed(len(folder.name))
    for name, weight in adapted.named_parameters():
        if weight.requires_grad:
            noise = torch.randn(weight.shape, generator=generator) * 0.3
            weight.data.add_(noise.abs() if "magnitude" in name else noise)
    adapted.save_pretrained(folder)
    return folder


def _converted(base: Path, folder: Path) -> Path:
    """PiSSA as its authors say to save it: as a LoRA on the untouched base."""
    import torch
    from peft import LoraConfig

    config = LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", target_modules="all-linear",
                        init_lora_weights="pissa")  # fmt: skip
    adapted = _adapted(base, config)
    start = folder.with_name(f"{folder.name}-start")
    adapted.peft_config["default"].init_lora_weights = True
    adapted.save_pretrained(start)
    adapted.peft_config["default"].init_lora_weights = "pissa"
    generator = torch.Generator().manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    adapted.save_pretrained(folder, path_initial_model_for_weight_conversion=str(start))
    return folder


def _others() -> dict[str, Callable[[], Any]]:
    """PEFT's other kinds of adapter."""
    import peft

    some = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}
    return {
        "ia3": lambda: peft.IA3Config(**some, feedforward_modules=[]),
        "loha": lambda: peft.LoHaConfig(**some),
        "lokr": lambda: peft.LoKrConfig(**some),
        "vera": lambda: peft.VeraConfig(**some),
        "oft": lambda: peft.OFTConfig(**some, oft_block_size=4),
        "adalora": lambda: peft.AdaLoraConfig(**some, total_step=10),
        "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "norms": lambda: peft.LNTuningConfig(task_type="CAUSAL_LM", target_modules=["norm"]),
    }


def _other(base: Path, folder: Path, name: str) -> Path:
    return _save(base, folder, _others()[name]())


def _foreign(weights: dict[str, Any]) -> dict[str, Any]:
    return {k.replace("model.model", "model.model.language_model"): v for k, v in weights.items()}


def _bare_names(weights: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix("base_model.model."): v for k, v in weights.items()}


def _half(weights: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in weights.items() if "layers.0" in k or "layers.1" in k}


def _more(weights: dict[str, Any]) -> dict[str, Any]:
    return weights | {k.replace("layers.0", "layers.7"): v.clone() for k, v in weights.items()}


def _wide(weights: dict[str, Any]) -> dict[str, Any]:
    return {k: v.repeat(1, 2) if "lora_A" in k else v for k, v in weights.items()}


def _one_odd(weights: dict[str, Any]) -> dict[str, Any]:
    last = sorted(weights)[-1]
    return weights | {last: weights[last].repeat(2, 1)}


def _unbounded(weights: dict[str, Any]) -> dict[str, Any]:
    return {k: v / 0 for k, v in weights.items()}


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]] | dict[str, Any]] = {
    "foreign-prefix": _foreign,
    "no-prefix": _bare_names,
    "half-of-the-layers": _half,
    "a-layer-too-many": _more,
    "another-width": _wide,
    "one-odd-tensor": _one_odd,
    "not-finite": _unbounded,
    "another-rank": {"r": 8},
    "no-alpha": {"lora_alpha": None},
    "from-tomorrow": {"sum": "y = Wx + A(B(x))"},
    "fewer-targets": {"target_modules": ["q_proj"]},
}


def _change(folder: Path, change: Any) -> None:
    """Its tensors by a function, its configuration by new keys."""
    from safetensors.torch import load_file, save_file

    if isinstance(change, dict):
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        return
    file = folder / "adapter_model.safetensors"
    save_file({k: v.contiguous() for k, v in change(load_file(file)).items()}, file)
