"""Take optimiser steps: what training on texts and on pictures share, on one process or several."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from accelerate import Accelerator, PartialState

from training.errors import BadRecipe, TrainingStopped
from training.run.schedule import learning_rate
from training.run.tables import AnyTraining

MOST_SKIPPED = 20  # steps in a row that overflowed in fp16: no smaller scale will help
BETAS = (0.9, 0.999)


class Trainer:
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
        self.skipped = 0
        optimiser = optimiser_for(models, self.weights, training)
        self.model, self.optimiser = accelerator.prepare(model, optimiser)

    def begin(self, step: int, steps: int) -> float:
        """Set a step's learning rate and the model to training; gives the rate."""
        rate = learning_rate(self.training, step, steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("ratio", 1.0)
        self.model.train()
        return rate

    def update(self, step: int, loss: float) -> float:
        """Clip and apply the gradients; raises TrainingStopped when they are not finite."""
        norm = float(self.accelerator.clip_grad_norm_(self.weights, self.training.clip))
        scaled = self.accelerator.scaler is not None  # fp16 skips a step that overflowed itself
        self.skipped = self.skipped + 1 if scaled and not norm < float("inf") else 0
        lost = loss != loss or (not scaled and not norm < float("inf"))
        if lost or self.skipped > MOST_SKIPPED:
            half = (
                ' Or set training.precision = "bf16".' if self.training.precision == "fp16" else ""
            )
            raise TrainingStopped(
                f"The training diverged: at step {step + 1} its loss is {loss:g}, its gradient "
                f"{norm:g}. Lower training.learning_rate (try a tenth of it), then start over with "
                f"--fresh.{half}{self.hint}"
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


def optimiser_for(model: Any, weights: list[Any], training: AnyTraining) -> Any:
    rate, decay = training.learning_rate, training.weight_decay
    kind: Any = torch.optim.AdamW
    if training.optimiser == "adamw8bit":  # Dettmers et al. 2022
        kind = import_module("bitsandbytes").optim.AdamW8bit
    if training.lora_plus == 1:
        return kind(weights, betas=BETAS, lr=rate, weight_decay=decay)
    from peft.optimizers import create_loraplus_optimizer

    ratio = {"loraplus_lr_ratio": training.lora_plus, "loraplus_weight_decay": decay}
    optimiser = create_loraplus_optimizer(model, kind, lr=rate, betas=BETAS, **ratio)
    for group in optimiser.param_groups:  # kept when the schedule sets the rates
        group["ratio"] = group["lr"] / rate
    return optimiser


def accelerator_for(precision: str) -> Accelerator:
    """Use one process or several, on a GPU where there is one, in a recipe's precision."""
    told = f'training.precision = "{precision}" does not work here: '
    if precision == "fp16" and PartialState().device.type == "cpu":  # it would be fp32, untold
        raise BadRecipe(f'{told}a processor has no fp16. Set it to "bf16" or "fp32".')
    try:
        return Accelerator(mixed_precision={"fp32": "no"}.get(precision, precision))
    except ValueError as error:
        raise BadRecipe(f'{told}{error}. Set it to "bf16" or "fp32".') from error
