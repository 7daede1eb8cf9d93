"""A LoRA as files: diffusers' own with its PEFT settings, and one for kohya's family of tools.

Both hold what other tools show of a LoRA (kohya's `ss_...`, and ModelSpec). Without the settings a
reload would guess alpha = rank; kohya's format has its alpha in a tensor of each module. The weights
keep PEFT's names in diffusers' file: its scripts rename those of attention (but no others) in an older
manner, and its loader (0.42) then leaves them out as soon as the LoRA has others too.
"""

import json
import math
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from engine.weights.picture_layers import CLIP, PARTS
from engine.weights.picture_lora import SETTINGS
from training.images.bases import adapted
from training.images.recipe import ImageRecipe
from training.images.tables import ImageLora
from training.run.recipe import placeless

WEIGHTS = "pytorch_lora_weights.safetensors"
KOHYA = "kohya.safetensors"


def lora_metadata(recipe: ImageRecipe, facts: dict[str, Any]) -> dict[str, str]:
    """Write the core keys as text; `facts` gives resolution, prediction, steps, epochs, pictures."""
    marks = {
        **kohyas(recipe, facts),
        **modelspec(recipe, facts),
        "pastiche.recipe_digest": recipe.digest,
        "pastiche.data_digest": facts["data"],
    }
    return {name: str(value) for name, value in marks.items() if value not in ("", None)}


def effective_alpha(lora: ImageLora, rank: int) -> float:
    """Give the alpha that other tools divide by a layer's rank to have its strength."""
    return lora.alpha * rank / lora.rank * (math.sqrt(rank) if lora.rslora else 1)


def kohyas(recipe: ImageRecipe, facts: dict[str, Any]) -> dict[str, Any]:
    lora, training, conv = recipe.lora, recipe.training, recipe.lora.conv_rank
    args = {"conv_dim": f"{conv}", "conv_alpha": f"{effective_alpha(lora, conv):g}"}
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": lora.rank,
        "ss_network_alpha": f"{effective_alpha(lora, lora.rank):g}",
        "ss_network_args": json.dumps(args) if conv else None,
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_sd_model_name": placeless(recipe.base.id),
        "ss_v2": False,
        "ss_resolution": (facts["resolution"], facts["resolution"]),
        "ss_enable_bucket": recipe.data.buckets,
        "ss_num_train_images": facts["pictures"],
        "ss_max_train_steps": facts["steps"],
        "ss_num_epochs": facts["epochs"],
        "ss_batch_size_per_device": training.batch,
        "ss_gradient_accumulation_steps": training.accumulate,
        "ss_learning_rate": training.learning_rate,
        "ss_lr_scheduler": training.schedule,
        "ss_optimizer": training.optimiser,
        "ss_mixed_precision": training.precision,
        "ss_min_snr_gamma": training.snr_gamma or None,
        "ss_noise_offset": training.noise_offset or None,
        "ss_caption_dropout_rate": recipe.data.caption_dropout,
        "ss_prior_loss_weight": recipe.prior.weight,
        "ss_seed": recipe.run.seed,
        "ss_session_id": recipe.digest,
        "ss_output_name": recipe.run.name,
    }


def modelspec(recipe: ImageRecipe, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": recipe.expert.title or recipe.expert.name,
        "modelspec.description": recipe.run.about,
        "modelspec.date": datetime.now(UTC).date().isoformat(),
        "modelspec.license": recipe.rights.licence,
        "modelspec.trigger_phrase": recipe.expert.token or recipe.data.instance_prompt,
        "modelspec.usage_hint": recipe.expert.prompt,
        "modelspec.resolution": f"{facts['resolution']}x{facts['resolution']}",
        "modelspec.prediction_type": facts["prediction"].replace("v_prediction", "v"),
    }


def save_lora(pipeline: Any, folder: Path, marks: dict[str, str]) -> None:
    """Write diffusers' file with the settings and `marks`; reloading it changes nothing."""
    from peft import get_peft_model_state_dict

    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for part, model in adapted(pipeline).items():
        state = get_peft_model_state_dict(model, adapter_name="default")
        tensors |= {f"{part}.{name}": tensor for name, tensor in state.items()}
        said = model.peft_config["default"].to_dict()
        settings |= {f"{part}.{key}": value for key, value in said.items()}
    text = json.dumps(settings, sort_keys=True, default=sorted)  # PEFT holds names in sets
    save_weights(tensors, folder / WEIGHTS, {"format": "pt", SETTINGS: text, **marks})


def save_kohya(pipeline: Any, folder: Path, marks: dict[str, str]) -> None:
    """Write the file for kohya's tools, with the alpha that was trained with in each module."""
    made: dict[str, Tensor] = {}
    for part, model in adapted(pipeline).items():
        for name, module in model.named_modules():
            if "default" not in getattr(module, "lora_A", ()):
                continue
            name = CLIP + name.removeprefix(CLIP) if part != "unet" else name
            stem = f"lora_{PARTS[part][0]}_{name.replace('.', '_')}"
            made[f"{stem}.lora_down.weight"] = module.lora_A["default"].weight
            made[f"{stem}.lora_up.weight"] = module.lora_B["default"].weight
            made[f"{stem}.alpha"] = torch.tensor(module.scaling["default"] * module.r["default"])
    save_weights(made, folder / KOHYA, marks)


def save_weights(tensors: dict[str, Tensor], path: Path, marks: dict[str, str]) -> None:
    """Write a file with marks and the hashes that kohya's tools and ModelSpec know it by.

    Both are of the weights behind the header; kohya's older one is of a fixed place in a file that
    holds only its own marks.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    body = save(whole, {name: marks[name] for name in marks if name.startswith("ss_")})
    weights = sha256(body[8 + int.from_bytes(body[:8], "little") :]).hexdigest()
    hashes = {
        "sshs_model_hash": weights,
        "sshs_legacy_hash": sha256(body[0x100000:0x110000]).hexdigest()[:8],
        "modelspec.hash_sha256": f"0x{weights}",
    }
    save_file(whole, path, {**marks, **hashes})
    path.chmod(0o644)  # safetensors makes it private


def read_marks(path: Path) -> dict[str, str]:
    with safe_open(path, framework="np") as file:
        return dict(file.metadata() or {})


def copy_lora(source: Path, path: Path, half: bool) -> None:
    """Copy a LoRA's file and what it says of itself; `half` stores it in fp16, alphas excepted."""
    kind = torch.float16 if half else torch.float32
    weights = {
        name: tensor if name.endswith(".alpha") else tensor.to(kind)
        for name, tensor in load_file(source).items()
    }
    save_weights(weights, path, read_marks(source))
