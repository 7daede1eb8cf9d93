"""A LoRA of pictures as a file: PEFT's, diffusers' and kohya's formats, read into matrices by layer.

Every tensor must have its place among the base's own layers, and what the file says of a layer's
strength is multiplied into its matrices, so that no library has to understand it again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelError
from engine.weights.adapter_config import AdapterConfig, understand
from engine.weights.picture_layers import PARTS, PEFT_PREFIX, Layers, Place, spellings
from engine.weights.weight_files import (
    ADAPTER_WEIGHTS,
    LORA_WEIGHTS,
    check_adapter,
    check_safetensors,
    is_adapter,
    lora_file,
    no_weights,
)

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS = "lora_adapter_metadata"  # where diffusers keeps PEFT's settings, in the file's header
DOWN, UP, SIZE, ALPHA = "lora_A", "lora_B", "lora_magnitude_vector", "alpha"
_ENDS = {
    ".lora_A.weight": DOWN, ".lora_B.weight": UP,  # PEFT
    ".lora_down.weight": DOWN, ".lora_up.weight": UP,  # kohya
    ".lora.down.weight": DOWN, ".lora.up.weight": UP,  # diffusers, then its older files
    ".lora_linear_layer.down.weight": DOWN, ".lora_linear_layer.up.weight": UP,
    "_lora.down.weight": DOWN, "_lora.up.weight": UP,
    ".lora_magnitude_vector": SIZE, ".lora_magnitude_vector.weight": SIZE,  # DoRA, not kohya's
    ".alpha": ALPHA,
}  # fmt: skip
SHOWN = 3  # names in a refusal

Halves = dict[str, "Tensor"]  # of one layer: A, B with the strength in it, a DoRA's magnitude


def check_lora(place: Path) -> Path:
    """Find and check the file that would be read. Raises ModelError; no pickle is ever opened."""
    if is_adapter(place):
        check_adapter(place)
        return place / ADAPTER_WEIGHTS
    file = lora_file(place)
    if file is None:
        wanted = f"LoRA for pictures: no {LORA_WEIGHTS} and not just one .safetensors file"
        raise no_weights(place, wanted)
    check_safetensors(file)
    return file


def read_lora(name: str, place: Path, layers: Layers | None) -> dict[Place, Halves]:
    """Read what it changes, by layer; without the base's layers only the form of the names is looked at.
    Raises ModelError unless every tensor has its place, and every layer its size and both halves."""
    from safetensors.torch import load_file

    file = check_lora(place)
    settings = _settings(name, place, file)
    known = None if layers is None else spellings(layers)
    found: dict[Place, Halves] = {}
    other: list[str] = []
    foreign: list[str] = []
    for key, tensor in sorted(load_file(file).items()):
        stem, side = _parted(key)
        where = known.get(stem) if known is not None else _guess(stem)
        if not side:
            other.append(key)
        elif where is None or side in found.get(where, {}):
            foreign.append(key)
        else:
            found.setdefault(where, {})[side] = tensor
    if other or not (found or foreign):
        raise ModelError(
            f"The LoRA of {name} is of another kind than LoRA, or holds more than one (LoKr, LoHa, "
            f"kohya's DoRA, whole weights){_few(other)}. Only LoRA can be served."
        )
    if foreign:
        raise ModelError(
            f"The LoRA of {name} is for another base: {len(foreign)} of its tensors have no place "
            f"here{_few(foreign)}. Name its base on the card, or train it on this one."
        )
    sized = [where for where, half in found.items() if SIZE in half]
    dora = any("use_dora" in said.beyond for said in settings.values())
    if len(sized) not in (0, len(found)) or (dora and not sized):
        raise ModelError(f"The LoRA of {name} is a DoRA that is not whole. Fetch it anew.")
    return {
        (part, layer): _folded(name, layer, half, settings.get(part), (layers or {}).get(part))
        for (part, layer), half in found.items()
    }


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f" ({shown})" if shown else ""


def _parted(key: str) -> tuple[str, str]:
    for end, side in _ENDS.items():
        if key.endswith(end):
            return key.removesuffix(end).replace(".processor.", "."), side
    return key, ""


def _guess(stem: str) -> Place | None:
    if stem.startswith(PEFT_PREFIX):
        return "unet", stem
    for part, short in PARTS.items():
        if stem.startswith((f"{part}.", *(f"lora_{name}_" for name in short))):
            return part, stem
    return None


def _settings(name: str, place: Path, file: Path) -> dict[str, AdapterConfig]:
    """Read PEFT's settings for each part, where there are any. Raises ModelError for unknown ones."""
    from safetensors import safe_open

    parts: dict[str, dict[str, Any]] = {}
    if is_adapter(place):
        parts["unet"] = check_adapter(place)
    else:
        with safe_open(file, framework="np") as header:
            said = (header.metadata() or {}).get(SETTINGS)
        try:
            for key, value in (json.loads(said) if said else {}).items():
                part, _, line = key.partition(".")
                parts.setdefault(part, {})[line] = value
        except (ValueError, AttributeError, RecursionError) as error:
            raise ModelError(f"The LoRA of {name} has settings that cannot be read.") from error
    found = {part: understand(name, said) for part, said in parts.items()}
    for settings in found.values():
        if more := sorted(settings.beyond.keys() - {"use_dora"}):
            raise ModelError(f"The LoRA of {name} has more than a LoRA for pictures{_few(more)}.")
    return found


def _folded(
    name: str,
    layer: str,
    half: Halves,
    settings: AdapterConfig | None,
    shapes: Mapping[str, tuple[int, ...]] | None,
) -> Halves:
    """Multiply the layer's strength into B. Raises ModelError for halves that do not fit."""
    down, up, size = half.get(DOWN), half.get(UP), half.get(SIZE)
    if down is None or up is None or down.ndim < 2 or (ALPHA in half and half[ALPHA].numel() != 1):
        raise ModelError(f"The LoRA of {name} is not whole: {layer} lacks a half. Fetch it anew.")
    rank = down.shape[0]
    if settings is not None and ALPHA not in half and settings.rank(layer) != rank:
        said = f"{layer} has rank {rank} instead of {settings.rank(layer)}"
        raise ModelError(f"The LoRA of {name} is not as its settings say: {said}. Fetch it anew.")
    if shapes is not None:
        shape = shapes[layer]
        ones = (1,) * (len(shape) - 2)
        sizes = [tuple(tensor.shape) for tensor in (down, up)]
        if sizes != [(rank, *shape[1:]), (shape[0], rank, *ones)] or (
            size is not None and size.numel() != shape[0]
        ):
            raise ModelError(
                f"The LoRA of {name} is for another base: its layer {layer} has another size here "
                f"({shape}; the LoRA's halves: {sizes[0]}, {sizes[1]}). Name its base on the card, or "
                "train it on this one."
            )
    if not all(bool(tensor.float().isfinite().all()) for tensor in half.values()):
        raise ModelError(f"The LoRA of {name} holds numbers that are not finite. Fetch it anew.")
    strength = settings.scale(layer) if settings is not None else 1.0
    if ALPHA in half:
        strength = float(half[ALPHA]) / rank
    return {DOWN: down, UP: up.float() * strength} | ({SIZE: size} if size is not None else {})
