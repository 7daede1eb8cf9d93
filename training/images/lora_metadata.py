"""What a LoRA file says of itself to other tools: kohya's `ss_...` keys and ModelSpec. Pure."""

import json
import math
from datetime import UTC, datetime
from typing import Any

from training.images.recipe import ImageRecipe
from training.images.tables import ImageLora
from training.run.recipe import placeless


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
        "modelspec.prediction_type": {"v_prediction": "v", "epsilon": "epsilon"}.get(
            facts["prediction"], facts["prediction"]
        ),
    }
