"""Fit an adapter to blocks, one optimiser step at a time; a plain loop that can stop anywhere.

A step's loss is its summed token losses over its number of predicted tokens, so short blocks
weigh what they hold, however the step is split into batches or over processes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.errors import TrainingStopped
from training.runs.recipe import Recipe
from training.text.data.blocks import Block
from training.text.schedule import blocks_of_step, draw_key, learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

IGNORED = -100  # the label of padding: no loss


class Trainer:
    """A model with its optimiser, and the blocks it is fitted to."""

    def __init__(
        self, recipe: Recipe, model: Any, optimiser: Any, accelerator: "Accelerator"
    ) -> None:
        self.recipe = recipe
        self.accelerator = accelerator
        self.model, self.optimiser = accelerator.prepare(model, optimiser)
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]

    def step(self, blocks: Sequence[Block], step: int, steps: int) -> dict[str, float]:
        """One optimiser step; gives its loss per token, gradient norm and learning rate."""
        training, seed = self.recipe.training, self.recipe.run.seed
        processes = self.accelerator.num_processes
        size = training.batch * training.accumulate * processes
        chosen = [blocks[index] for index in blocks_of_step(seed, step, size, len(blocks))]
        predicted = sum(len(block.tokens) - 1 for block in chosen)
        rate = learning_rate(training, step, steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        total = 0.0
        for part in range(self.accelerator.process_index, size // training.batch, processes):
            batch = chosen[part * training.batch : (part + 1) * training.batch]
            total += self.backward(batch, predicted, draw_key(seed, step, part))
        norm = self.update(step)
        return {"loss": self.everywhere(total) / predicted, "norm": norm, "rate": rate}

    def backward(self, batch: Sequence[Block], predicted: int, key: int) -> float:
        """Add one batch's gradients; gives its summed loss."""
        import torch

        torch.manual_seed(key)
        loss = self.loss(batch)
        self.accelerator.backward(loss * (self.accelerator.num_processes / predicted))
        return float(loss.detach())

    def update(self, step: int) -> float:
        """Clip and apply the gradients; raises TrainingStopped when they are not finite."""
        norm = float(self.accelerator.clip_grad_norm_(self.weights, self.recipe.training.clip))
        scaled = self.accelerator.scaler is not None  # fp16 skips a step that overflowed itself
        if norm != norm or (norm == float("inf") and not scaled):
            raise TrainingStopped(
                f"The loss or its gradient became {norm} at step {step + 1}. The last good "
                "checkpoint is kept. Lower training.learning_rate (try half), or set "
                'training.precision to "bf16" or "fp32", then delete the checkpoints or use '
                "--fresh."
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        return norm

    def loss(self, batch: Sequence[Block]) -> "Tensor":
        """Summed cross-entropy of the batch's predicted tokens, in nats."""
        import torch

        ids, mask, labels = padded(batch, self.accelerator.device)
        with self.accelerator.autocast():
            logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1),
            labels[:, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )

    def held_out_loss(self, blocks: Sequence[Block]) -> float:
        """Loss per predicted token on blocks that are not trained on, without dropout."""
        import torch

        self.model.eval()
        with torch.no_grad():
            total = sum(float(self.loss([block])) for block in blocks)
        return total / sum(len(block.tokens) - 1 for block in blocks)

    def everywhere(self, value: float) -> float:
        """The sum of a figure over all processes."""
        import torch

        if self.accelerator.num_processes == 1:
            return value
        here = torch.tensor(value, device=self.accelerator.device)
        return float(self.accelerator.reduce(here, reduction="sum"))


def padded(batch: Sequence[Block], device: Any) -> "tuple[Tensor, Tensor, Tensor]":
    """Token ids, attention mask and labels, padded on the right to the longest block."""
    import torch

    longest = max(len(block.tokens) for block in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    labels = torch.full((len(batch), longest), IGNORED, dtype=torch.long)
    mask = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, block in enumerate(batch):
        tokens = torch.tensor(block.tokens)
        ids[row, : len(tokens)] = labels[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids.to(device), mask.to(device), labels.to(device)
