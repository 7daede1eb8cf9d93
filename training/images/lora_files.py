"""A LoRA as files: diffusers' own with its PEFT settings, and one for kohya's family of tools.

Both hold what other tools show of a LoRA (kohya's `ss_...`, and ModelSpec). Without the settings a
reload would guess alpha = rank; kohya's format has its alpha in a tensor of each module.
"""

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.weights.weight_files import ADAPTER_CONFIG, PICKLES
from training.errors import NotPublished

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "pytorch_lora_weights.safetensors"
KOHYA = "kohya.safetensors"
SETTINGS = "lora_adapter_metadata"  # the key that diffusers reads


def lora_state(unet: Any) -> "dict[str, Tensor]":
    from peft import get_peft_model_state_dict

    state: dict[str, Tensor] = get_peft_model_state_dict(unet, adapter_name="default")
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def settings_of(unet: Any) -> dict[str, Any]:
    settings: dict[str, Any] = unet.peft_config["default"].to_dict()
    for key, value in settings.items():
        if isinstance(value, set):
            settings[key] = sorted(value)
    if isinstance(settings.get("target_modules"), list):
        settings["target_modules"].sort()
    return settings


def save_lora(unet: Any, folder: Path, marks: dict[str, str]) -> Path:
    """Write diffusers' file with the settings and `marks`; reloading it changes nothing.

    The weights keep PEFT's names. diffusers' scripts rename those of attention (but no others) in an
    older manner, and its loader (0.42) then leaves them out as soon as the LoRA has others too.
    """
    from diffusers import StableDiffusionXLPipeline
    from safetensors.torch import load_file, save_file

    StableDiffusionXLPipeline.save_lora_weights(
        folder, unet_lora_layers=lora_state(unet), unet_lora_adapter_metadata=settings_of(unet)
    )
    path = folder / WEIGHTS
    save_file(load_file(path), path, metadata={**read_marks(path), **marks})
    path.chmod(0o644)  # safetensors makes it private
    return path


def save_kohya(unet: Any, folder: Path, marks: dict[str, str]) -> Path:
    """Write the file for kohya's tools, with the alpha that was trained with in each module."""
    import torch
    from diffusers.utils import convert_state_dict_to_kohya
    from safetensors.torch import save_file

    settings = unet.peft_config["default"]
    if settings.use_dora:
        raise NotPublished("A DoRA has no kohya export. Set [save] kohya = false.")
    alpha = settings.lora_alpha * (math.sqrt(settings.r) if settings.use_rslora else 1.0)
    weights = lora_state(unet)
    made = convert_state_dict_to_kohya({f"unet.{name}": weights[name] for name in weights})
    for name in made:
        if name.endswith(".alpha"):  # diffusers writes the rank there
            made[name] = torch.tensor(float(alpha))
    path = folder / KOHYA
    save_file({name: made[name].contiguous() for name in made}, path, metadata=marks)
    path.chmod(0o644)
    return path


def read_marks(path: Path) -> dict[str, str]:
    """Read what a safetensors file says of itself. Raises NotPublished for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise NotPublished(f"{path} is damaged ({error}). Train or fetch it again.") from error


def copy_weights(source: Path, to: Path, half: Any, metadata: dict[str, str]) -> None:
    """Copy weights, in the half precision that is given, if one is."""
    from safetensors.torch import load_file, save_file

    if not half:
        shutil.copyfile(source, to)
        return
    save_file({k: w.to(half) for k, w in load_file(source).items()}, to, metadata=metadata)
    to.chmod(0o644)  # safetensors makes it private


def check_lora(folder: Path) -> dict[str, Any]:
    """Check a folder's LoRA and give its PEFT settings. Raises NotPublished."""
    path = folder / WEIGHTS
    if not path.is_file():
        names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        pickles = [name for name in names if name.endswith(PICKLES)]
        if pickles:
            raise NotPublished(
                f"{folder} holds only pickled weights ({pickles[0]}), which can run code when read. "
                "Convert them to safetensors first."
            )
        kind = "a text adapter" if ADAPTER_CONFIG in names else "no LoRA for pictures"
        raise NotPublished(f"{folder} is {kind}: it has no {WEIGHTS}.")
    marks = read_marks(path)
    if SETTINGS not in marks:
        raise NotPublished(
            f"{path} does not say with which alpha it was trained. Save it with this trainer, or with "
            "diffusers' save_lora_weights and its metadata."
        )
    settings: dict[str, Any] = json.loads(marks[SETTINGS])
    return settings
