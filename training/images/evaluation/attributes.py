"""Does a picture show what was asked? A judge says what it sees, where that is known beforehand.

The known attributes are the fields of the folder's listing that a recipe or command names, such as
kind, metal, stone and ground. A judge is itself judged on held-out photographs.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from training.errors import BadCorpus, BadRecipe
from training.images.evaluation.features import features_of_all

ROUNDS = 400
EDGE = 128  # pixels, as the network of renders takes them


class FittedJudge:
    """Fit a logistic regression on plain features to each attribute of labelled pictures."""

    def __init__(self, pictures: Sequence[Image.Image], known: Sequence[Mapping[str, str]]) -> None:
        """Fit to each picture's `known` attributes; raises BadCorpus for one with a single value."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows = features_of_all(pictures)
        self.models: dict[str, Any] = {}
        for name in known[0]:
            values = [facts[name] for facts in known]
            if len(set(values)) < 2:
                raise BadCorpus(f"Every training picture has the same {name}, so it tells nothing.")
            regression = LogisticRegression(max_iter=ROUNDS, C=0.03)
            self.models[name] = make_pipeline(StandardScaler(), regression).fit(rows, values)

    def attributes(self, pictures: Sequence[Image.Image]) -> list[dict[str, str]]:
        rows = features_of_all(pictures)
        return by_picture({name: model.predict(rows) for name, model in self.models.items()})


class RenderJudge:
    """Ask the network of `training.judge_jewellery`, which learnt its properties on renders."""

    def __init__(self, weights: Path) -> None:
        """Load the judge; raises BadRecipe when `weights` are not the judge's."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from training.judge_jewellery import network

        self.network = network().eval()
        try:
            self.network.load_state_dict(load_file(weights))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise BadRecipe(
                f"{weights} is no judge of renders. Run: python -m training.judge_jewellery learn"
            ) from error

    def attributes(self, pictures: Sequence[Image.Image]) -> list[dict[str, str]]:
        from training.judge_jewellery import likeliest

        pixels = np.stack([np.asarray(p.convert("RGB").resize((EDGE, EDGE))) for p in pictures])
        given = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        with torch.no_grad():
            return by_picture(likeliest(self.network(given)))


def by_picture(columns: Mapping[str, Iterable[Any]]) -> list[dict[str, str]]:
    """Turn the values of each attribute into the attributes of each picture."""
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, map(str, row), strict=True)) for row in rows]


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


def known_of(facts: Mapping[str, Any], names: Sequence[str]) -> dict[str, str] | None:
    """Give a picture's attributes, or None when the listing lacks one of them."""
    if not all(facts.get(name) for name in names):
        return None
    return {name: str(facts[name]) for name in names}
