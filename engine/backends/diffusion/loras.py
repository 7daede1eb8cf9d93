"""LoRAs of pictures: which file, whether it fits the UNet, loaded by name beside the others.

A LoRA is compared with the base's own layers before anything is put into the base, so that one of
another base, or a damaged one, leaves the base as it was.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelError
from engine.weights import (
    ADAPTER_WEIGHTS,
    PICKLES,
    check_adapter,
    check_safetensors,
    digest_of,
    is_adapter,
    lora_file,
)

if TYPE_CHECKING:
    from torch import Tensor

PEFT_PREFIX = "base_model.model."
_LAYER = re.compile(r"(?P<layer>.+)\.(?P<side>lora_A|lora_B)\.weight")
ENCODERS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True, slots=True)
class Lora:
    """One that is loaded: its name in the pipeline, its digest, and whether it changes the words too."""

    name: str
    digest: str
    words: bool


@dataclass(frozen=True, slots=True)
class _Read:
    """A file's tensors by diffusers' names, with what says how strong they are."""

    state: "dict[str, Tensor]"
    alphas: dict[str, Any] | None
    settings: dict[str, Any] | None


def load_lora(pipeline: Any, name: str, place: Path, digest: str = "") -> Lora:
    """Put it beside the others. Raises ModelError, and then the base is as it was."""
    file = check_lora(place)
    found = digest_of(place)
    if digest and digest != found:
        raise ModelError(
            f"The LoRA of {name} is not the one on its card ({found} instead of {digest}). Restore "
            "the file, or add it anew: pastiche experts add --help"
        )
    try:
        read = _read_peft(place) if is_adapter(place) else _read(pipeline, file)
        _check_fit(read.state, pipeline, name)
        _put(pipeline, name, read)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ModelError(
            f"The LoRA of {name} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    return Lora(name, found, any(key.startswith(ENCODERS) for key in read.state))


def check_lora(place: Path) -> Path:
    """The file that would be read, after checking it. Raises ModelError; no pickle is ever opened."""
    if is_adapter(place):
        check_adapter(place)
        return place / ADAPTER_WEIGHTS
    file = lora_file(place)
    if file is None:
        names = sorted(p.name for p in place.iterdir()) if place.is_dir() else [place.name]
        pickles = [name for name in names if name.endswith(PICKLES)]
        if pickles:
            raise ModelError(
                f"{place} holds only pickled weights ({pickles[0]}), which can run code when read. "
                "Convert them to safetensors first."
            )
        raise ModelError(
            f"{place} holds no LoRA for pictures: no pytorch_lora_weights.safetensors and not just "
            "one .safetensors file."
        )
    check_safetensors(file)
    return file


def _read(pipeline: Any, file: Path) -> _Read:
    """diffusers' own format and kohya's, in which each layer has its alpha."""
    state, alphas, settings = pipeline.lora_state_dict(
        str(file),
        use_safetensors=True,
        local_files_only=True,
        unet_config=pipeline.unet.config,
        return_lora_metadata=True,
    )
    if not state or not all("lora" in key for key in state):
        raise ValueError("it is of another kind than LoRA (LoKr, LoHa or whole weights)")
    from safetensors import safe_open

    with safe_open(file, framework="np") as weights:
        if any("dora_scale" in key for key in weights.keys()):  # noqa: SIM118 - no mapping
            raise ValueError("it is a DoRA in kohya's format, which would be read only in part")
    return _Read(state, alphas, settings)


def _read_peft(folder: Path) -> _Read:
    """A folder that PEFT saved of the UNet."""
    from safetensors.torch import load_file

    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    state = load_file(folder / ADAPTER_WEIGHTS)
    if not all(key.startswith(PEFT_PREFIX) for key in state):
        raise ValueError("its names are not PEFT's")
    return _Read(
        {f"unet.{key.removeprefix(PEFT_PREFIX)}": tensor for key, tensor in state.items()},
        None,
        {f"unet.{key}": value for key, value in settings.items()},
    )


def _check_fit(state: "dict[str, Tensor]", pipeline: Any, name: str) -> None:
    """Raise ModelError unless every layer of the LoRA is one of the base, of the same shape."""
    from diffusers.utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft

    for part in ("unet", *ENCODERS):
        own = {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}
        if not own:
            continue
        if not any("lora_A" in key for key in own):
            convert = (
                convert_unet_state_dict_to_peft if part == "unet" else convert_state_dict_to_peft
            )
            own = convert(own)
        layers = {path: _bare(layer) for path, layer in getattr(pipeline, part).named_modules()}
        for key, tensor in own.items():
            place = _LAYER.fullmatch(key)
            if place is None:
                continue
            layer = layers.get(place["layer"]) or layers.get(f"text_model.{place['layer']}")
            weight = getattr(layer, "weight", None)
            side = 0 if place["side"] == "lora_B" else 1
            if weight is None or weight.ndim < 2 or tensor.shape[side] != weight.shape[side]:
                raise ModelError(
                    f"The LoRA of {name} is for another base: its layer {place['layer']} "
                    + ("is not in this one." if weight is None else "has another size here.")
                    + " Name its base on the card, or train it on this one."
                )


def _bare(layer: Any) -> Any:
    """The layer itself, where an earlier LoRA has been put around it."""
    return getattr(layer, "base_layer", layer)


def _put(pipeline: Any, name: str, read: _Read) -> None:
    common = {
        "network_alphas": read.alphas,
        "adapter_name": name,
        "metadata": read.settings,
        "_pipeline": pipeline,
        "low_cpu_mem_usage": True,
    }
    pipeline.load_lora_into_unet(read.state, unet=pipeline.unet, **common)
    for part in ENCODERS:
        if any(key.startswith(f"{part}.") for key in read.state):
            pipeline.load_lora_into_text_encoder(
                read.state, text_encoder=getattr(pipeline, part), prefix=part, **common
            )


def wear(pipeline: Any, strengths: dict[str, float]) -> None:
    """From the next step on these LoRAs act, each as strongly as said; the others do not."""
    if strengths:
        pipeline.enable_lora()
        pipeline.set_adapters(list(strengths), list(strengths.values()))
    elif pipeline.get_list_adapters():
        pipeline.disable_lora()
