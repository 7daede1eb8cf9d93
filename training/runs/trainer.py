"""Take optimiser steps: what training on texts and on pictures share, on one process or several."""

from typing import TYPE_CHECKING, Any

from training.errors import BadRecipe, TrainingStopped
from training.runs.tables import AnyTraining
from training.runs.schedule import learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator


class Trainer:
    """Hold a model with its optimiser, and the weights that are trained."""

    hint = ""  # what else helps against losses that are not finite

    def __init__(
        self, training: AnyTraining, model: Any, optimiser: Any, accelerator: "Accelerator"
    ) -> None:
        self.training, self.accelerator = training, accelerator
        self.weights = trained(model)
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
        import torch

        if self.accelerator.num_processes == 1:
            return value
        here = torch.tensor(value, device=self.accelerator.device)
        return float(self.accelerator.reduce(here, reduction="sum"))


def trained(model: Any) -> list[Any]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def accelerator_for(precision: str) -> "Accelerator":
    """Use one process or several, on a GPU where there is one, in a recipe's precision."""
    from accelerate import Accelerator

    try:
        return Accelerator(mixed_precision={"fp32": "no"}.get(precision, precision))
    except ValueError as error:
        raise BadRecipe(
            f'training.precision = "{precision}" does not work on this machine ({error}). Set it to '
            '"bf16" or "fp32".'
        ) from error
