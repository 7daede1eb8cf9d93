"""Tiny models of each layout that the mixing engine knows, norms and all away from their start, and
LoRAs of several kinds for them."""

import atexit
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tiny_models import VOCABULARY, make_tokenizer

LAYOUTS = ("llama", "gemma2", "gemma3")


def make_layout(folder: Path, layout: str, *, layers: int = 3, window: int = 512) -> Path:
    """A base of `layers` layers whose sliding layers see 48 tokens, with every weight random."""
    import torch
    import transformers as tf

    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": window,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    gemma = shape | {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 48}
    mixed = ["sliding_attention", "full_attention", "sliding_attention"][:layers]
    torch.manual_seed(0)
    model: Any
    if layout == "llama":
        model = tf.LlamaForCausalLM(
            tf.LlamaConfig(**shape, head_dim=8, attention_bias=True, tie_word_embeddings=True)
        )
    elif layout == "gemma2":
        model = tf.Gemma2ForCausalLM(
            tf.Gemma2Config(**gemma, layer_types=mixed, attn_logit_softcapping=2.0)
        )
    elif layout == "gemma3":
        model = tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**gemma, layer_types=mixed))
    else:
        model = tf.Qwen2ForCausalLM(tf.Qwen2Config(**shape))
    generator = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        size = 0.3 if "norm" in name or "bias" in name else 0.15
        weight.data.add_(torch.randn(weight.shape, generator=generator) * size)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    make_tokenizer(folder, bos=layout.startswith("gemma"))
    return folder


def make_lora(base: Path, folder: Path, seed: int, r: int = 4, **options: Any) -> Path:
    """A LoRA with weights big enough to be heard."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    options = {"target_modules": "all-linear", **options}
    adapted = get_peft_model(model, LoraConfig(r=r, lora_alpha=8, task_type="CAUSAL_LM", **options))
    generator = torch.Generator().manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            noise = torch.randn(weight.shape, generator=generator) * 0.2
            weight.data.copy_(noise.abs() + 0.1 if "magnitude" in name else noise)
    adapted.create_or_update_model_card = lambda _folder: None  # takes longer than all the weights
    adapted.save_pretrained(folder)
    return folder


def make_layouts(root: Path, layouts: tuple[str, ...] = LAYOUTS) -> Path:
    """Each with three adapters: of two ranks, one rank-stabilised, one without some linears."""
    for layout in layouts:
        base = make_layout(root / layout, layout)
        make_lora(base, root / f"{layout}-moss", 1)
        make_lora(base, root / f"{layout}-fern", 2, r=3, use_rslora=True)
        make_lora(base, root / f"{layout}-reed", 3, r=8, target_modules=["v_proj", "down_proj"])
    return root


@cache
def _folder() -> Path:
    held = TemporaryDirectory(prefix="pastiche-layouts-")
    atexit.register(held.cleanup)
    return Path(held.name)


@cache
def _make_once(layout: str) -> None:
    make_layouts(_folder(), (layout,))


def shared_layouts(layouts: tuple[str, ...] = LAYOUTS) -> Path:
    """The same in a folder that is only to be read: each is made once in a process."""
    for layout in layouts:
        _make_once(layout)
    return _folder()


def shifted(adapter: Path, folder: Path, change: Callable[[Any], Any]) -> Path:
    """A copy of an adapter with its B weights changed."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, folder)
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({k: change(v) if "lora_B" in k else v for k, v in weights.items()}, file)
    return folder
