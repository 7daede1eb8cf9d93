"""Perplexity and bits per byte of held-out blocks, for the base and each expert."""

import math
import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from training.text.data.blocks import Block

BASE = "base"
DRAWS = 1000  # bootstrap draws


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]

    @property
    def perplexity(self) -> float:
        return math.exp(sum(self.nats) / sum(self.tokens))

    @property
    def bits_per_byte(self) -> float:
        """Measure what is comparable across tokenizers."""
        return sum(self.nats) / math.log(2) / sum(self.bytes)

    def interval(self) -> tuple[float, float]:
        """Bootstrap a 95 % interval of the perplexity, blocks drawn with replacement."""
        draw, count = random.Random(0), len(self.nats)
        values = []
        for _ in range(DRAWS):
            chosen = [draw.randrange(count) for _ in range(count)]
            nats = sum(self.nats[index] for index in chosen)
            values.append(math.exp(nats / sum(self.tokens[index] for index in chosen)))
        values.sort()
        return values[int(DRAWS * 0.025)], values[int(DRAWS * 0.975)]


def score(model: Any, tokenizer: Any, blocks: Sequence[Block]) -> Score:
    """Make one forward pass a block."""
    nats, tokens, sizes = [], [], []
    model.eval()
    for block in blocks:
        ids = torch.tensor([block.tokens], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits[0, block.given - 1 : -1].float()
            loss = torch.nn.functional.cross_entropy(logits, ids[0, block.given :], reduction="sum")
        nats.append(float(loss))
        tokens.append(block.predicted)
        text = tokenizer.decode(block.tokens[block.given :], skip_special_tokens=True)
        sizes.append(max(1, len(text.encode())))
    return Score(nats=tuple(nats), tokens=tuple(tokens), bytes=tuple(sizes))


def wearing(model: Any, expert: str) -> Any:
    """Use the base alone, or exactly one expert's adapter."""
    if expert == BASE:
        return model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()
    model.set_adapter(expert)
    return nullcontext()
