"""The optimiser that a recipe names."""

from typing import Any

from training.runs.recipe import Recipe

BETAS = (0.9, 0.999)


def optimiser_for(model: Any, recipe: Recipe) -> Any:
    """AdamW over the adapter's weights, whole or with 8-bit state (Dettmers et al. 2022)."""
    import torch

    training = recipe.training
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    options: dict[str, Any] = {
        "lr": training.learning_rate,
        "betas": BETAS,
        "weight_decay": training.weight_decay,
    }
    if training.optimiser == "adamw8bit":
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(weights, **options)
    return torch.optim.AdamW(weights, **options)
