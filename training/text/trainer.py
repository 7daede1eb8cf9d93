"""Fit an adapter to blocks, one optimiser step at a time; a plain loop that can stop anywhere.

A step's loss is its summed token losses over its number of predicted tokens, so short blocks
weigh what they hold, however the step is split into batches or over processes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from training.run.recipe import Recipe
from training.run.schedule import blocks_of_step, draw_key
from training.run.trainer import Trainer
from training.text.data.blocks import Block

IGNORED = -100  # the label of padding and of what is given: no loss


class TextTrainer(Trainer):
    """Train a language model's adapter on blocks."""

    def __init__(self, recipe: Recipe, model: Any, accelerator: Accelerator) -> None:
        super().__init__(recipe.training, model, accelerator)
        self.recipe = recipe

    def step(self, blocks: Sequence[Block], step: int, steps: int) -> dict[str, float]:
        """Take one optimiser step; gives its loss per token, gradient norm and learning rate."""
        training, seed = self.recipe.training, self.recipe.run.seed
        processes = self.accelerator.num_processes
        size = training.batch * training.accumulate * processes
        chosen = [blocks[index] for index in blocks_of_step(seed, step, size, len(blocks))]
        predicted = sum(block.predicted for block in chosen)
        rate = self.begin(step, steps)
        total = 0.0
        for part in range(self.accelerator.process_index, size // training.batch, processes):
            batch = chosen[part * training.batch : (part + 1) * training.batch]
            total += self.backward(batch, predicted, draw_key(seed, step, part))
        loss = self.everywhere(total) / predicted
        return {"loss": loss, "norm": self.update(step, loss), "rate": rate}

    def backward(self, batch: Sequence[Block], predicted: int, key: int) -> float:
        """Add one batch's gradients; gives its summed loss."""
        torch.manual_seed(key)
        loss = self.loss(batch)
        self.accelerator.backward(loss * (self.accelerator.num_processes / predicted))
        return float(loss.detach())

    def loss(self, batch: Sequence[Block]) -> Tensor:
        """Sum the cross-entropy of the batch's predicted tokens, in nats."""
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
        """Measure the loss per predicted token on blocks that are not trained on, without dropout."""
        self.model.eval()
        with torch.no_grad():
            total = sum(float(self.loss([block])) for block in blocks)
        return total / sum(block.predicted for block in blocks)


def padded(batch: Sequence[Block], device: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Pad token ids, attention mask and labels on the right to the longest block."""
    from torch.nn.utils.rnn import pad_sequence

    rows = [torch.tensor(block.tokens) for block in batch]
    ids = pad_sequence(rows, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    labels = pad_sequence(rows, batch_first=True, padding_value=IGNORED)
    for row, block in zip(labels, batch, strict=True):
        row[: block.given] = IGNORED
    return ids.to(device), mask.to(device), labels.to(device)
