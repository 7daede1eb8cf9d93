"""LoRAs for the tiny pipeline, in the formats that people bring; big enough to be seen."""

import json
from pathlib import Path
from typing import Any

TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]


def lora_on(pipeline: Any, seed: int, *, alpha: int = 8, **options: Any) -> Any:
    """The pipeline's UNet with a random LoRA of rank 4 on it."""
    import torch
    from peft import LoraConfig

    unet = pipeline.unet
    config = LoraConfig(r=4, lora_alpha=alpha, target_modules=TARGETS, **options)
    unet.add_adapter(config)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in unet.named_parameters():
        if "lora_" in name:
            weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.7)
    return unet


def save_diffusers(unet: Any, folder: Path) -> Path:
    """As a trainer that keeps its alpha saves it."""
    from diffusers import StableDiffusionXLPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import get_peft_model_state_dict

    settings = unet.peft_config["default"].to_dict()
    settings["target_modules"] = sorted(settings["target_modules"])
    StableDiffusionXLPipeline.save_lora_weights(
        folder,
        unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(unet)),
        unet_lora_adapter_metadata=settings,
    )
    return folder


def save_kohya(unet: Any, folder: Path) -> Path:
    """As kohya's tools save it: other names, an alpha in each layer."""
    import torch
    from diffusers.utils import convert_state_dict_to_kohya
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = {f"unet.{name}": weight for name, weight in get_peft_model_state_dict(unet).items()}
    made = convert_state_dict_to_kohya(state)
    for name in made:
        if name.endswith(".alpha"):
            made[name] = torch.tensor(float(unet.peft_config["default"].lora_alpha))
    folder.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in made.items()}, folder / "kohya.safetensors")
    return folder


def save_peft(unet: Any, folder: Path) -> Path:
    """As PEFT itself saves it."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    settings = unet.peft_config["default"].to_dict()
    settings["target_modules"] = sorted(settings["target_modules"])
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(settings, default=str))
    state = get_peft_model_state_dict(unet)
    save_file(
        {f"base_model.model.{name}": weight.contiguous() for name, weight in state.items()},
        folder / "adapter_model.safetensors",
    )
    return folder


def save_with_words(pipeline: Any, folder: Path, seed: int) -> Path:
    """A LoRA of the UNet and of both text encoders."""
    import torch
    from diffusers import StableDiffusionXLPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig, get_peft_model_state_dict

    layers = {"unet_lora_layers": convert_state_dict_to_diffusers(
        get_peft_model_state_dict(lora_on(pipeline, seed)))}  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    for part in ("text_encoder", "text_encoder_2"):
        encoder = getattr(pipeline, part)
        encoder.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"]))
        state = get_peft_model_state_dict(encoder)
        for name, weight in state.items():
            state[name] = torch.randn(weight.shape, generator=generator)
        layers[f"{part}_lora_layers"] = convert_state_dict_to_diffusers(state)
    StableDiffusionXLPipeline.save_lora_weights(folder, **layers)
    return folder


def write_image_card(
    root: Path,
    name: str,
    base: Path | str,
    adapter: Path | str = "",
    drawing: str = "",
    **more: Any,
) -> Path:
    """A card of the embedded profile, in a folder of its name; `more` are lines of its weights."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f'{key} = "{value}"\n' for key, value in more.items())
    (folder / "card.toml").write_text(
        f'name = "{name}"\ntitle = "the {name}"\nmedium = "image"\ncommand = "jewel"\norder = 1\n'
        f'keywords = ["{name}"]\n[drawing]\nsize = 64\nlargest = 256\nsteps = 4\nguidance = 3.0\n'
        f'{drawing}\n[profiles.embedded]\nbase = "{base}"\nadapter = "{adapter}"\n{lines}'
        '[rights]\nlicence = "CC0-1.0"\n'
    )
    return folder
