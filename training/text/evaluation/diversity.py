"""Do samples repeat themselves, or each other? Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from training.text.evaluation.delta import words_of

SENTENCE = re.compile(r"(?<![.!?…])[.!?…]++(?=\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    distinct_1: float
    distinct_2: float
    repeated_4: float
    sentence_words: float


def diversity_of(texts: Sequence[str]) -> Diversity:
    """Count distinct words and pairs over all texts, and repeated runs of four words within each."""
    words = [words_of(text) for text in texts]
    every = [word for text in words for word in text]
    pairs = [pair for text in words for pair in pairwise(text)]
    sentences = sum(max(1, len(SENTENCE.findall(text))) for text in texts)
    return Diversity(
        distinct_1=len(set(every)) / max(1, len(every)),
        distinct_2=len(set(pairs)) / max(1, len(pairs)),
        repeated_4=sum(map(repeated, words)) / max(1, len(words)),
        sentence_words=len(every) / max(1, sentences),
    )


def repeated(words: Sequence[str], size: int = 4) -> float:
    """Give the share of a text's runs of words that have come before in it.

    >>> round(repeated("a b c d a b c d".split()), 3)
    0.2
    """
    runs = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
