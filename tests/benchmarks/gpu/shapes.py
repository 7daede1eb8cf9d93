"""Random models of the true shapes, made on the device from a seed, with three adapters each."""

from typing import Any

from tests.benchmarks.gpu.day import Day

EXPERTS = ("lovecraft", "agatha", "newsroom")
RANK = 16
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
IMAGE_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
HEARD = 0.1  # the spread of B: an adapter changes a linear's output by some 40 %
TINY_GEMMA = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 16,
}

Updates = dict[str, tuple[Any, Any]]  # a linear's name -> A [rank, in], B [out, rank]


def gemma_config(day: Day) -> Any:
    """Gemma-2-2b's shape, which is transformers' default: 26 layers of 2304, 256,000 tokens."""
    from transformers import Gemma2Config

    return Gemma2Config(**(TINY_GEMMA if day.tiny else {}), attn_implementation="eager")


def build_gemma(day: Day) -> Any:
    """In bfloat16, ready to generate; the same weights at every call."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(day.device):
        model = AutoModelForCausalLM.from_config(
            gemma_config(day), dtype=torch.bfloat16, attn_implementation="eager"
        )
    model.generation_config.eos_token_id = None
    return model.eval().requires_grad_(False)


def linear_shapes(model: Any) -> dict[str, tuple[int, int]]:
    """[out, in] of every linear that an adapter changes, named as the mixing engine names them."""
    return {
        name.removeprefix("model."): tuple(module.weight.shape)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in TEXT_TARGETS
    }


def updates_of(shapes: dict[str, tuple[int, int]], seed: int, device: str) -> Updates:
    """An adapter of rank 16 on all of them, its scale 1."""
    import torch

    torch.manual_seed(1000 + seed)
    return {
        name: (
            torch.randn(RANK, width, device=device) / width**0.5,
            torch.randn(out, RANK, device=device) * HEARD,
        )
        for name, (out, width) in shapes.items()
    }


def with_adapters(day: Day, model: Any) -> Any:
    """The model in PEFT's hands, with the same three adapters as the mixing engine gets."""
    import torch
    from peft import LoraConfig, get_peft_model

    shapes = linear_shapes(model)
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=list(TEXT_TARGETS), task_type="CAUSAL_LM"
    )
    made = get_peft_model(model, config, adapter_name=EXPERTS[0])
    for name in EXPERTS[1:]:
        made.add_adapter(name, config)
    inner = made.get_base_model().model
    with torch.no_grad():
        for seed, name in enumerate(EXPERTS):
            for linear, (a, b) in updates_of(shapes, seed, day.device).items():
                layer = inner.get_submodule(linear)
                layer.lora_A[name].weight.copy_(a)
                layer.lora_B[name].weight.copy_(b)
    return made.eval().requires_grad_(False)


def build_mixer(day: Day, slots: int) -> Any:
    """The product's batch around the same base, in bfloat16."""
    from engine.backends.counters import Counters
    from engine.backends.mixing.adapters import AdapterKey
    from engine.backends.mixing.layouts import make_decoder
    from engine.backends.mixing.scheduler import MixingScheduler

    model = build_gemma(day)
    shapes = linear_shapes(model)
    mixer = MixingScheduler(
        make_decoder(model, "bf16"), Counters(), slots, (1 << 28) * day.tiny, fixed=True
    )
    assert mixer.decoder.shapes == shapes
    for seed, name in enumerate(EXPERTS):
        mixer.adopt(AdapterKey(name), updates_of(shapes, seed, day.device))
    return mixer


def tokenizer_of(day: Day) -> Any:
    """A word for every token, so that text is made of them as in the product."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{number}": number for number in range(gemma_config(day).vocab_size)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, "w0")))
