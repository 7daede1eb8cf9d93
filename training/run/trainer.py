"""Take optimiser steps: what training on texts and on pictures share, on one process or several."""

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from accelerate import Accelerator

from training.errors import BadRecipe, TrainingStopped
from training.run.schedule import learning_rate
from training.run.tables import AnyTraining

BETAS = (0.9, 0.999)
PRODIGY_BETAS = (0.9, 0.99)


class Trainer:
    """Hold a model with its optimiser, and the weights that are trained."""

    hint = ""  # what else helps against losses that are not finite

    def __init__(
        self,
        training: AnyTraining,
        model: Any,
        accelerator: Accelerator,
        others: Sequence[Any] = (),  # models that are trained along
    ) -> None:
        self.training, self.accelerator = training, accelerator
        models = torch.nn.ModuleList([model, *others])
        self.weights = [weight for weight in models.parameters() if weight.requires_grad]
        optimiser = optimiser_for(self.weights, training)
        self.model, self.optimiser = accelerator.prepare(model, optimiser)

    def begin(self, step: int, steps: int) -> float:
        """Set a step's learning rate and the model to training; gives the rate."""
        rate = learning_rate(self.training, step, steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        return rate

    def update(self, step: int, loss: float) -> float:
        """Clip and apply the gradients; raises TrainingStopped when they are not finite."""
        norm = float(self.accelerator.clip_grad_norm_(self.weights, self.training.clip))
        scaled = self.accelerator.scaler is not None  # fp16 skips a step that overflowed itself
        if loss != loss or (not scaled and not norm < float("inf")):
            raise TrainingStopped(
                f"The loss became {loss:g} and its gradient {norm:g} at step {step + 1}. The last good "
                "checkpoint is kept. Lower training.learning_rate (try half), or set "
                f'training.precision to "bf16" or "fp32"{self.hint}. Then delete the checkpoints or '
                "use --fresh."
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        return norm

    def everywhere(self, value: float) -> float:
        """Sum a figure over all processes."""
        if self.accelerator.num_processes == 1:
            return value
        here = torch.tensor(value, device=self.accelerator.device)
        return float(self.accelerator.reduce(here, reduction="sum"))


def optimiser_for(weights: list[Any], training: AnyTraining) -> Any:
    """Build AdamW, whole or with 8-bit state, or Prodigy, which finds its own rate (set it to 1)."""
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


def accelerator_for(precision: str) -> Accelerator:
    """Use one process or several, on a GPU where there is one, in a recipe's precision."""
    try:
        return Accelerator(mixed_precision={"fp32": "no"}.get(precision, precision))
    except ValueError as error:
        raise BadRecipe(
            f'training.precision = "{precision}" does not work on this machine ({error}). Set it to '
            '"bf16" or "fp32".'
        ) from error


def time_steps(trainer: Trainer, steps: int, take: Callable[[int], object]) -> dict[str, float]:
    """Take steps; give the best one's seconds a sample, by the clock and of processors."""
    samples = trainer.training.batch * trainer.training.accumulate
    seconds, busy = [], []
    for step in range(steps):
        started, worked = time.monotonic(), time.process_time()
        take(step)
        seconds.append(time.monotonic() - started)
        busy.append(time.process_time() - worked)
    return {
        "trained": sum(weight.numel() for weight in trainer.weights),
        "seconds": min(seconds) / samples,
        "processor_seconds": min(busy) / samples,
    }
