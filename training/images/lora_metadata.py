"""What a LoRA file says of itself to other tools: kohya's `ss_...` keys and ModelSpec. Pure."""

import json
import math
from datetime import UTC, datetime
from typing import Any

from training.images.recipe import ImageRecipe
from training.run.recipe import placeless


def lora_metadata(recipe: ImageRecipe, facts: dict[str, Any]) -> dict[str, str]:
    """Write the core keys as text; `facts` gives resolution, prediction, steps, epochs, pictures."""
    lora, training = recipe.lora, recipe.training
    args = {
        "conv_dim": f"{lora.conv_rank}",
        "conv_alpha": f"{lora.alpha * lora.conv_rank / lora.rank:g}",
    }
    args = args if lora.conv_rank else {}
    marks = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": lora.rank,
        "ss_network_alpha": f"{lora.alpha * (math.sqrt(lora.rank) if lora.rslora else 1):g}",
        "ss_network_args": json.dumps(args) if args else None,
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
        "modelspec.prediction_type": {"v_prediction": "v", "epsilon": "epsilon"}.get(
            facts["prediction"], facts["prediction"]
        ),
        "pastiche.recipe_digest": recipe.digest,
        "pastiche.data_digest": facts["data"],
    }
    return {name: str(value) for name, value in marks.items() if value not in ("", None)}
