"""LoRAs of pictures in memory: loaded by name beside the others, active one by one.

A LoRA is read and compared with the base's own layers before anything is put into the base, so that one
of another base, or a damaged one, leaves the base as it was.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backends.model_loading import loading
from engine.weights.picture_layers import Layers
from engine.weights.picture_lora import DOWN, SIZE, UP, Halves, check_lora, read_lora
from engine.weights.weight_files import compared_digest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Lora:
    """Describe a loaded LoRA; `words` says that it changes the text encoders, `alone` that rows with it
    and without it cannot be drawn in one pass (DoRA)."""

    name: str
    digest: str
    words: bool
    alone: bool = False


def load_lora(pipeline: Any, layers: Layers, name: str, place: Path, digest: str = "") -> Lora:
    """Load a LoRA beside the others. Raises ModelError, and then the base is as it was."""
    check_lora(place)
    found = compared_digest(f"The LoRA of {name}", place, digest)
    updates = read_lora(name, place, layers)
    parts: dict[str, dict[str, Halves]] = {}
    for (part, layer), half in updates.items():
        parts.setdefault(part, {})[layer] = half
    with ExitStack() as stack, loading(f"The LoRA of {name}"):
        for part, own in parts.items():
            model = getattr(pipeline, part)
            stack.enter_context(_undone_if_it_fails(model, name, own))
            _put(model, name, own)
    alone = any(SIZE in half for half in updates.values())
    return Lora(name, found, any(part != "unet" for part, _ in updates), alone)


@contextmanager
def _undone_if_it_fails(model: Any, name: str, layers: Iterable[str]) -> Iterator[None]:
    """Take out what was put in: neither PEFT nor diffusers does (memory may run out half way)."""
    before = {layer: model.get_submodule(layer) for layer in layers}
    adapted = bool(getattr(model, "peft_config", None))
    try:
        yield
    except BaseException:
        for layer, module in before.items():
            if hasattr(module, "lora_A"):
                module.delete_adapter(name)
            model.set_submodule(layer, module)
        if adapted:
            model.peft_config.pop(name, None)
        else:
            vars(model).pop("peft_config", None)
            model._hf_peft_config_loaded = False
        raise


def _put(model: Any, name: str, updates: dict[str, Halves]) -> None:
    """Add layers by PEFT, each at strength 1, and fill them. Raises what PEFT raises."""
    from peft import LoraConfig

    ranks: dict[int, list[str]] = {}
    for layer, half in updates.items():
        ranks.setdefault(half[DOWN].shape[0], []).append(re.escape(layer))
    patterns = {f"^({'|'.join(names)})": rank for rank, names in ranks.items()}
    config = LoraConfig(
        r=1,
        lora_alpha=1,
        rank_pattern=patterns,
        alpha_pattern=patterns,
        target_modules=list(updates),
        use_dora=any(SIZE in half for half in updates.values()),
    )
    model.add_adapter(config, name)
    put = {n: m for n, m in model.named_modules() if name in getattr(m, "lora_A", ())}
    if put.keys() != updates.keys() or any(layer.scaling[name] != 1 for layer in put.values()):
        raise ValueError("its layers are not those of its file")
    for layer, half in updates.items():
        _fill(put[layer].lora_A[name].weight, half[DOWN])
        _fill(put[layer].lora_B[name].weight, half[UP])
        if SIZE in half:
            _fill(put[layer].lora_magnitude_vector[name].weight, half[SIZE])


def _fill(weight: Any, tensor: "Tensor") -> None:
    weight.data.copy_(tensor.reshape(weight.shape))


def activate(pipeline: Any, strengths: dict[str, float]) -> None:
    if strengths:
        pipeline.enable_lora()
        pipeline.set_adapters(list(strengths), list(strengths.values()))
    elif pipeline.get_list_adapters():
        pipeline.disable_lora()
