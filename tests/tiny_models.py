"""Models of the true architectures made on the spot: small, random, quick, and enough for real code."""

from pathlib import Path
from typing import Any

VOCABULARY = 300


def make_tokenizer(folder: Path, *, bos: bool) -> None:
    """Bytes as tokens, with Gemma's special ones; `bos` puts <bos> first, as Gemma's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 2)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)


def byte_fallback() -> Any:
    """A tokenizer of words that falls back to bytes, as Gemma's does; <0xF0> is token 3 + 0xF0."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "Rain"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def make_base(folder: Path, layout: str, *, window: int = 512) -> Path:
    """A `gemma2` or `llama` base of two layers, saved as safetensors."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": window,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    model: Any
    if layout == "gemma2":
        model = Gemma2ForCausalLM(Gemma2Config(**shape, query_pre_attn_scalar=8, sliding_window=64))
    else:
        model = LlamaForCausalLM(LlamaConfig(**shape))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    make_tokenizer(folder, bos=layout == "gemma2")
    return folder


def make_adapter(base: Path, folder: Path, seed: int) -> Path:
    """A LoRA with weights big enough to be heard."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    adapted.create_or_update_model_card = lambda _folder: None  # takes longer than all the weights
    adapted.save_pretrained(folder)
    return folder


def write_card(
    root: Path, name: str, base: Path | str, adapter: Path | str = "", order: int = 1
) -> Path:
    """A card of the embedded profile, in a folder of its name."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.toml").write_text(
        f'name = "{name}"\ntitle = "{name.title()}"\nmedium = "text"\ncommand = "story"\n'
        f'order = {order}\nkeywords = ["{name}"]\n'
        f'[profiles.embedded]\nbase = "{base}"\nadapter = "{adapter}"\n'
        '[rights]\nlicence = "CC0-1.0"\n'
    )
    return folder
