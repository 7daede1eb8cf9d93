"""Whether an adapter fits a base: every tensor of its file has its place, and every place its tensor.

PEFT itself says which tensors an adapter of a configuration has on a base; it is asked with an empty
model (on torch's meta device), so only the base's config.json is read, never its weights.
"""

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelError, in_one_line
from engine.weights.adapter_config import MERGE, AdapterConfig, read_config
from engine.weights.bases import place_here
from engine.weights.weight_files import ADAPTER_WEIGHTS, is_pipeline

if TYPE_CHECKING:
    from peft import LoraConfig

EMBEDDINGS = "(They are the base's own: save it again with save_embedding_layers=False.)"
PREFIX = "base_model.model."  # that PEFT puts before every name
Shapes = dict[str, tuple[int, ...]]


def check_expert(name: str, medium: str, adapter: Path, base: str, models: Path) -> None:
    """Raise ModelError unless every tensor has its place in the base, if that is here, and every setting
    is understood. Takes seconds where torch is not imported yet."""
    here = place_here(base, models)
    if medium == "image":
        from engine.weights.picture_layers import layers_in
        from engine.weights.picture_lora import read_lora

        read_lora(name, adapter, layers_in(here) if here and is_pipeline(here) else None)
    elif here is None:
        read_config(name, adapter)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the libraries' own, to each other
            check_fit(name, adapter, here)


def check_fit(expert: str, folder: Path, base: Any) -> "LoraConfig":
    """Check an adapter's folder against a base (folder, GGUF file, or transformers config); gives PEFT's
    configuration for it. Raises ModelError with the first keys or tensors at fault."""
    config = read_config(expert, folder)
    lora = lora_config(config)
    wanted, found = _wanted(expert, lora, base), _found(expert, folder)
    misfit = _misfit(wanted, found)
    if misfit:
        raise ModelError(
            f"The adapter of {expert} does not fit its base: {misfit} Add it with the base that it was "
            f"trained on, or {MERGE}"
        )
    return lora


def lora_config(config: AdapterConfig) -> "LoraConfig":
    """Give PEFT what is understood of a configuration, and nothing besides."""
    from peft import LoraConfig

    said = asdict(config)
    beyond = said.pop("beyond")
    return LoraConfig(**said, **beyond, task_type="CAUSAL_LM", inference_mode=True)


def _wanted(expert: str, lora: "LoraConfig", base: Any) -> Shapes:
    import torch
    from peft import PeftModelForCausalLM, get_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    config = _base_config(base) if isinstance(base, Path) else base
    try:
        with torch.device("meta"):
            empty = PeftModelForCausalLM(AutoModelForCausalLM.from_config(config), lora)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        raise ModelError(
            f"The adapter of {expert} does not fit its base, says PEFT: {in_one_line(error)} Or {MERGE}"
        ) from error
    state = get_peft_model_state_dict(empty, save_embedding_layers=False)
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _base_config(base: Path) -> Any:
    from transformers import AutoConfig

    gguf = {"gguf_file": base.name} if base.suffix == ".gguf" else {}
    folder = base.parent if gguf else base
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, **gguf)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The base {base} cannot be read: {in_one_line(error)}") from error


def _found(expert: str, folder: Path) -> Shapes:
    """Read its file's tensors. Raises ModelError if one holds a number that is not finite."""
    from safetensors import safe_open

    found: Shapes = {}
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - it is no mapping
            tensor = file.get_tensor(key)
            if tensor.is_floating_point() and not tensor.float().isfinite().all():
                raise ModelError(
                    f"The adapter of {expert} holds numbers that are not finite ({key}). Add it anew."
                )
            found[key] = tuple(tensor.shape)
    return found


def _misfit(wanted: Shapes, found: Shapes) -> str:
    if odd := sorted(set(found) - set(wanted)):
        told = f"of its {len(found)} tensors, {_names(odd)} have no place there."
        return f"{told} {EMBEDDINGS}" if "base_layer" in odd[0] else told
    if lost := sorted(set(wanted) - set(found)):
        return f"its file lacks {_names(lost)} of the {len(wanted)} tensors that it should have."
    for key in sorted(found):
        if found[key] != wanted[key]:
            own, theirs = (" x ".join(map(str, shapes[key])) for shapes in (found, wanted))
            return f"{key.removeprefix(PREFIX)} is {own}, the base takes {theirs}."
    return ""


def _names(keys: list[str]) -> str:
    first = ", ".join(key.removeprefix(PREFIX) for key in keys[:2])
    return f"{first} and {len(keys) - 2} more" if len(keys) > 2 else first
