"""Every name that a LoRA's file may give to a layer of its base, so that each tensor finds its place.

PEFT, diffusers and kohya's tools name one layer differently; kohya's also use Stability's own names of
the UNet's blocks. CLIP's layers stand below `text_model` or not, by the release of transformers.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]
Layers = dict[str, dict[str, Shape]]  # part of the pipeline -> layer -> its weight's shape
Place = tuple[str, str]  # part and layer

# parts of the pipeline, and kohya's names of them
PARTS = {"unet": ("unet",), "text_encoder": ("te1", "te"), "text_encoder_2": ("te2",)}
PEFT_PREFIX = "base_model.model."
CLIP = "text_model."

_BLOCK = re.compile(
    r"(?P<way>down|up)_blocks\.(?P<block>\d+)\.(?P<kind>[a-z]+)\.(?P<number>\d+)\.(?P<rest>.+)"
)
_RESNETS = re.compile(r"down_blocks\.0\.resnets\.(\d+)")  # of the first block
_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_ALONE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def layers_of(pipeline: Any) -> Layers:
    """List the layers of a pipeline in memory that can have a LoRA; to be asked before it has one."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {
        part: {
            name: tuple(layer.weight.shape)
            for name, layer in getattr(pipeline, part).named_modules()
            if isinstance(layer, kinds)
        }
        for part in PARTS
    }


def layers_in(folder: Path) -> Layers:
    from safetensors import safe_open

    found: Layers = {part: {} for part in PARTS}
    for part, layers in found.items():
        for path in (folder / part).glob("*.safetensors"):
            with safe_open(path, framework="np") as file:
                for key in file.keys():  # noqa: SIM118 - no mapping
                    shape = tuple(file.get_slice(key).get_shape())
                    name = key.removesuffix(".weight")
                    if name != key and len(shape) in (2, 4) and not name.endswith("_embedding"):
                        layers[name] = shape
    return found


def spellings(layers: Layers) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for part, own in layers.items():
        resnets = [int(found[1]) for found in map(_RESNETS.match, own) if found]
        blocks = 1 + max(resnets, default=0)
        for layer in own:
            for name in _names(part, layer, own, blocks):
                found[f"{part}.{name}"] = (part, layer)
                for short in PARTS[part]:
                    found[f"lora_{short}_{name.replace('.', '_')}"] = (part, layer)
            if part == "unet":
                found[PEFT_PREFIX + layer] = (part, layer)
    return found


def _names(part: str, layer: str, own: Mapping[str, Shape], blocks: int) -> Iterator[str]:
    yield layer
    if part != "unet":
        yield layer.removeprefix(CLIP) if layer.startswith(CLIP) else CLIP + layer
        return
    yield layer.removesuffix(".0")  # attention's `to_out` in diffusers' older files
    if name := _stability(layer, own, blocks):
        yield name


def _stability(layer: str, own: Mapping[str, Shape], blocks: int) -> str:
    """Name the UNet's layer as Stability does; `blocks` resnets are in a block on the way down."""
    if layer.startswith("mid_block."):
        _, kind, place, rest = layer.split(".", 3)
        if kind == "attentions":
            return f"middle_block.1.{rest}"
        return f"middle_block.{2 * int(place)}.{_RESNET.get(rest, rest)}"
    found = _BLOCK.fullmatch(layer)
    if found is None:
        return _ALONE.get(layer, "")
    down, kind, rest = found["way"] == "down", found["kind"], found["rest"]
    first = (blocks + 1) * int(found["block"])
    side = "input_blocks" if down else "output_blocks"
    if kind == "downsamplers":
        return f"{side}.{first + blocks + 1}.0.op"
    if kind == "upsamplers":
        attends = any(name.startswith(f"up_blocks.{found['block']}.attentions.") for name in own)
        return f"{side}.{first + blocks}.{1 + attends}.conv"
    number = first + int(found["number"]) + down
    if kind == "attentions":
        return f"{side}.{number}.1.{rest}"
    return f"{side}.{number}.0.{_RESNET.get(rest, rest)}"
