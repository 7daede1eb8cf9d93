"""Does a picture show what was asked? The judge of renders says what it sees."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.judge_jewellery import PROPERTIES, SIDE, likeliest, trained


class RenderJudge:
    """Ask the network of `training.judge_jewellery`, which learnt its properties on renders."""

    def __init__(self, weights: Path) -> None:
        """Load the judge; raises BadRecipe when `weights` are not the judge's."""
        self.network = trained(weights)

    def attributes(self, pictures: Sequence[Image.Image]) -> list[dict[str, str]]:
        pixels = np.stack([np.asarray(p.convert("RGB").resize((SIDE, SIDE))) for p in pictures])
        given = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        with torch.no_grad():
            seen = likeliest(self.network(given))
        rows = zip(*seen.values(), strict=True)
        return [dict(zip(seen, row, strict=True)) for row in rows]


def accuracy(
    known: Sequence[Mapping[str, str]], seen: Sequence[Mapping[str, str]]
) -> dict[str, float]:
    """Give the share of pictures that show each attribute as asked.

    >>> accuracy([{"stone": "ruby"}, {"stone": "opal"}], [{"stone": "ruby"}, {"stone": "jet"}])
    {'stone': 0.5}
    """
    return {
        name: sum(k[name] == s[name] for k, s in zip(known, seen, strict=True)) / len(known)
        for name in known[0]
    }


def is_known(facts: Mapping[str, object]) -> bool:
    return all(facts.get(name) for name in PROPERTIES)
