"""Fit an adapter to blocks, one optimiser step at a time; a plain loop that can stop anywhere.

A step's loss is its summed token losses over its number of predicted tokens, so short blocks
weigh what they hold, however the step is split into batches or over processes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from training.run.recipe import Recipe
from training.run.schedule import blocks_of_step, draw_key
from training.run.trainer import Trainer
from training.text.data.blocks import Block

CHUNK = 128  # tokens whose logits are held at once
IGNORED = -100  # the label of padding and of what is given: no loss


class TextTrainer(Trainer):
    def __init__(
        self, recipe: Recipe, model: Any, accelerator: Accelerator, rare: frozenset[int]
    ) -> None:
        """`rare` are tokens that few prompts hold: what each asks for, and not how."""
        super().__init__(recipe.training, model, accelerator)
        self.recipe, self.rare = recipe, rare

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
            torch.manual_seed(draw_key(seed, step, part))
            loss = self.loss(batch)
            self.accelerator.backward(loss * (processes / predicted))
            total += float(loss.detach())
        mean = self.everywhere(total) / predicted
        return {"loss": mean, "norm": self.update(step, mean), "rate": rate}

    def loss(self, batch: Sequence[Block]) -> Tensor:
        """Sum the cross-entropy of the batch's predicted tokens, in nats, weighed in training."""
        ids, mask, labels = padded(batch, self.accelerator.device)
        options = {"use_cache": False, "logits_to_keep": 1, "output_hidden_states": True}
        with self.accelerator.autocast():
            answer = self.model(input_ids=ids, attention_mask=mask, **options)
            base = self.accelerator.unwrap_model(self.model).get_base_model()
            hidden, labels = answer.hidden_states[-1][:, :-1].flatten(0, 1), labels[:, 1:].flatten()
            kept = labels != IGNORED
            weights = self.weighed(batch)[:, 1:].flatten().to(labels.device)
            return chunked_loss(base, hidden[kept], labels[kept], weights[kept])

    def weighed(self, batch: Sequence[Block]) -> Tensor:
        """Give each token its weight in the loss (B, longest); in training, what a block's own prompt
        asks for has `wish_weight`."""
        heavy = self.recipe.training.wish_weight - 1 if self.model.training else 0
        rows = []
        for block in batch:
            prompt = block.tokens[: block.given] if block.given > 1 else ()
            asked = torch.tensor([*self.rare.intersection(prompt)]).long()
            rows.append(torch.isin(torch.tensor(block.tokens), asked))
        return 1 + heavy * pad_sequence(rows, batch_first=True).float()

    def held_out_loss(self, blocks: Sequence[Block]) -> float:
        """Measure the loss per predicted token on blocks that are not trained on, without dropout."""
        self.model.eval()
        with torch.no_grad():
            total = sum(float(self.loss([block])) for block in blocks)
        return total / sum(block.predicted for block in blocks)


def chunked_loss(base: Any, hidden: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Sum the weighted cross-entropy of hidden states, CHUNK of them at a time.

    The logits of a block of 1024 tokens over Gemma's vocabulary take a gigabyte, and as much thrice
    more for their gradients. So each chunk's gradient is taken at once and its logits forgotten; only
    where the head itself is trained, autograd must have all of them. Not torch's own
    linear_cross_entropy: Gemma-2 caps its logits.
    """
    head, cap = base.get_output_embeddings(), getattr(base.config, "final_logit_softcapping", None)

    def loss_of(part: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        logits = head(part).float()
        if cap:
            logits = torch.tanh(logits / cap) * cap
        return weight @ torch.nn.functional.cross_entropy(logits, wanted, reduction="none")

    pieces = zip(*(torch.split(each, CHUNK) for each in (hidden, labels, weights)), strict=True)
    if not hidden.requires_grad or any(weight.requires_grad for weight in head.parameters()):
        return torch.stack([loss_of(*piece) for piece in pieces]).sum()
    losses: list[Tensor] = []
    gradients: list[Tensor] = []
    for part, *told in pieces:
        leaf = part.detach().requires_grad_()
        loss = loss_of(leaf, *told)
        gradients += torch.autograd.grad(loss, leaf)
        losses.append(loss.detach())
    carrier = (hidden * torch.cat(gradients)).float().sum()  # its gradient is the one just taken
    return torch.stack(losses).sum() + carrier - carrier.detach()


def padded(batch: Sequence[Block], device: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Pad token ids, attention mask and labels on the right to the longest block."""
    rows = [torch.tensor(block.tokens) for block in batch]
    ids = pad_sequence(rows, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    labels = pad_sequence(rows, batch_first=True, padding_value=IGNORED)
    for row, block in zip(labels, batch, strict=True):
        row[: block.given] = IGNORED
    return ids.to(device), mask.to(device), labels.to(device)
