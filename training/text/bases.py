"""Load a base model and its tokenizer, and put an adapter on it."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelError, in_one_line
from engine.settings import read_settings
from engine.weights.bases import HUB_FILES, fetch, find_base
from engine.weights.weight_files import check_adapter, digest_of
from training.errors import BadRecipe
from training.run.recipe import Recipe, placeless
from training.run.tables import Base, Lora

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FILES = tuple(pattern for pattern in HUB_FILES if "safetensors" not in pattern)
SOFTCAP_ATTENTION = ("eager", "flex_attention")  # the kinds that honour Gemma-2's score softcap


def place_of(base: Base, folder: Path | None, files: Iterable[str] = HUB_FILES) -> Path:
    """Give the folder of the base's files, fetched from the hub at its revision if need be."""
    if folder is None:
        return fetch(find_base(base.id, read_settings().models), base.revision, files)
    if not (folder / "config.json").exists():
        raise BadRecipe(f"{folder} holds no model (no config.json). Check --base.")
    return folder


def base_facts(name: str, folder: Path | None, place: Path) -> dict[str, str]:
    """Say for the record which base it was: the digest of its files, and the hub's commit."""
    commit = place.name if place.parent.name == "snapshots" else ""
    told = placeless(name) if folder is None else placeless(str(folder.absolute()))
    return {"id": told, "digest": digest_of(place), "commit": commit}


def config_of(base: Base, folder: Path | None) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(place_of(base, folder, ("config.json",)))


def load_tokenizer(base: Base, folder: Path | None) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    place = place_of(base, folder, TOKENIZER_FILES)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place)
    return tokenizer


def load_base(recipe: Recipe, folder: Path | None) -> "PreTrainedModel":
    """Load the base in the recipe's precision: NF4 for qlora, else whole weights."""
    import torch

    precision = compute_type(recipe.training.precision)
    if recipe.training.method == "qlora":
        model = load(recipe.base, folder, dtype=precision, quantization_config=nf4(recipe))
        keep_layout(model)
        return model
    # A processor has the memory for fp32, and autocast is as fast there.
    whole = precision if torch.cuda.is_available() else torch.float32
    return load(recipe.base, folder, dtype=whole)


def load(base: Base, folder: Path | None, **options: Any) -> "PreTrainedModel":
    """Load with the attention that the base needs, without a cache of keys and values."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    place, config = place_of(base, folder), config_of(base, folder)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        place, attn_implementation=attention_for(base, config), use_safetensors=True, **options
    )
    model.config.use_cache = False
    return model


def attention_for(base: Base, config: Any) -> str | None:
    """Choose the attention; a base with capped scores needs one that caps them."""
    capped = getattr(config, "attn_logit_softcapping", None)
    if base.attention == "auto":
        return "eager" if capped else None
    if capped and base.attention not in SOFTCAP_ATTENTION:
        raise BadRecipe(
            f'{base.id} caps its attention scores, which attention = "{base.attention}" leaves '
            'out. Set [base] attention to "eager" or "flex_attention".'
        )
    return base.attention


def compute_type(precision: str) -> Any:
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def nf4(recipe: Recipe) -> Any:
    """Quantise to 4-bit NormalFloat (Dettmers et al. 2023, QLoRA), double-quantised by default."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=recipe.training.double_quant,
        bnb_4bit_compute_dtype=compute_type(recipe.training.precision),
    )


def keep_layout(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights on a processor with AVX512-BF16.

    Its first forward pass without gradients (a validation) repacks them for speed; the backward
    passes that follow then read the new layout as the old, and gradients are wrong (seen in 0.50.2:
    gradient norm 0.23 in place of 0.70). A matrix narrower than its blocks cannot be repacked at all.
    """
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False


def add_adapter(model: "PreTrainedModel", recipe: Recipe) -> "PeftModel":
    """Put a fresh LoRA on the base; raises BadRecipe when the base lacks the target modules."""
    import torch
    from peft import get_peft_model, prepare_model_for_kbit_training

    checkpointing = recipe.training.gradient_checkpointing
    if recipe.training.method == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=checkpointing)
    elif checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    torch.manual_seed(recipe.run.seed)
    try:
        fitted = get_peft_model(model, lora_config(recipe.lora, recipe.lora.target))
    except ValueError as error:
        layers = sorted({name.rpartition(".")[2] for name, _ in model.named_modules() if name})
        raise BadRecipe(
            f"The base {recipe.base.id!r} has no module called {recipe.lora.target!r}. "
            f'Set [lora] target to "all-linear" or to some of: {", ".join(layers)}.'
        ) from error
    if recipe.lora.start:
        _go_on_from(Path(recipe.lora.start).expanduser(), fitted)
    return fitted


def _go_on_from(folder: Path, model: "PeftModel") -> None:
    """Fill a fresh LoRA with the weights of another. Raises BadRecipe where the two differ."""
    from peft import PeftConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    try:
        check_adapter(folder)
        old, new = PeftConfig.from_pretrained(folder), model.peft_config["default"]
        shapes = [(one.r, one.lora_alpha, one.use_rslora, one.use_dora) for one in (old, new)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"rank, alpha, rslora and dora are {shapes[0]}, in the recipe {shapes[1]}."
            )
        found = set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
        if odd := [*found.unexpected_keys, *(k for k in found.missing_keys if "lora_" in k)]:
            raise ValueError(f"{odd[0]} stands in one of them alone.")
    except (OSError, RuntimeError, ValueError, ModelError) as error:
        raise BadRecipe(f"[lora] start cannot be gone on from: {in_one_line(error)}") from error


def lora_config(lora: Lora, targets: Any, **options: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        **{"task_type": "CAUSAL_LM", **options},
    )
