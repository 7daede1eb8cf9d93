"""Does an expert recite? Verbatim runs, shared 13-grams, and Carlini's prefix extraction."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch

from training.text.data.blocks import Block

SEED_GRAM = 5  # tokens that a run must share to be looked at
SHARED_GRAM = 13
PREFIX = 50  # tokens given, and tokens compared


class TrainingText:
    def __init__(self, works: Sequence[Sequence[int]]) -> None:
        self.works = works
        self.places: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        self.long_grams: set[tuple[int, ...]] = set()
        for number, tokens in enumerate(works):
            for start, gram in enumerate(grams(tokens, SEED_GRAM)):
                self.places.setdefault(gram, []).append((number, start))
            self.long_grams.update(grams(tokens, SHARED_GRAM))

    def longest_run(self, tokens: Sequence[int]) -> int:
        """Measure the longest run of tokens that stands in the training text word for word."""
        longest = 0
        for start, gram in enumerate(grams(tokens, SEED_GRAM)):
            for number, place in self.places.get(gram, ()):
                longest = max(longest, common(tokens[start:], self.works[number][place:]))
        return longest

    def shared(self, tokens: Sequence[int]) -> float:
        """Give the share of a text's 13-grams that stand in the training text."""
        found = grams(tokens, SHARED_GRAM)
        return sum(gram in self.long_grams for gram in found) / max(1, len(found))


def grams(tokens: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]


def common(left: Sequence[int], right: Sequence[int]) -> int:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    return sum(1 for _ in same)


def extract(model: Any, blocks: Sequence[Block]) -> dict[str, float]:
    """Continue each block's first 50 tokens greedily, and compare with the next 50."""
    chosen = [block.tokens for block in blocks if len(block.tokens) >= 2 * PREFIX]
    if not chosen:
        return {"tried": 0, "exact": 0.0, "run": 0.0}
    prefixes = torch.tensor([tokens[:PREFIX] for tokens in chosen], device=model.device)
    with torch.inference_mode():
        answers = model.generate(
            input_ids=prefixes,
            attention_mask=torch.ones_like(prefixes),
            do_sample=False,
            max_new_tokens=PREFIX,
            pad_token_id=0,
        )[:, PREFIX:].tolist()
    runs = [
        common(answer, tokens[PREFIX : 2 * PREFIX])
        for answer, tokens in zip(answers, chosen, strict=True)
    ]
    exact = sum(run == PREFIX for run in runs) / len(runs)
    return {"tried": len(runs), "exact": exact, "run": sum(runs) / len(runs)}
