"""Build the optimiser that a recipe names."""

from importlib import import_module
from typing import Any

from training.errors import BadRecipe
from training.runs.tables import AnyTraining

BETAS = (0.9, 0.999)
PRODIGY_BETAS = (0.9, 0.99)


def optimiser_for(weights: list[Any], training: AnyTraining) -> Any:
    """Build AdamW, whole or with 8-bit state, or Prodigy, which finds its own rate (set it to 1)."""
    import torch

    options: dict[str, Any] = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    match training.optimiser:
        case "adamw8bit":  # Dettmers et al. 2022
            import bitsandbytes

            return bitsandbytes.optim.AdamW8bit(weights, betas=BETAS, **options)
        case "prodigy":
            try:
                prodigy: Any = import_module("prodigyopt").Prodigy
            except ImportError as error:
                raise BadRecipe(
                    'training.optimiser = "prodigy" needs a package more: pip install prodigyopt. Or '
                    'set it to "adamw".'
                ) from error
            safe = {"use_bias_correction": True, "safeguard_warmup": True}
            return prodigy(weights, betas=PRODIGY_BETAS, **options, **safe)
        case _:
            return torch.optim.AdamW(weights, betas=BETAS, **options)
