"""Burrows's Delta (2002): how far a text stands from an author in its most frequent words."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FREQUENT = 150  # words
CHUNK = 2000  # words
WORD = re.compile(r"[a-z]+(?:['\u2019][a-z]+)?")


def words_of(text: str) -> list[str]:
    """List lower-case words.

    >>> words_of("It wasn't HE.")
    ['it', "wasn't", 'he']
    """
    return WORD.findall(text.lower())


def chunks(words: Sequence[str], size: int = CHUNK) -> list[Sequence[str]]:
    """Cut whole pieces of `size` words; a shorter text is one piece."""
    pieces = [words[start : start + size] for start in range(0, len(words) - size + 1, size)]
    return pieces or [words]


class Delta:
    """Profile authors in z-scores of the most frequent words; fitted on real texts only."""

    def __init__(self, corpora: Mapping[str, str]) -> None:
        pieces = {author: chunks(words_of(text)) for author, text in corpora.items()}
        counts = Counter(w for parts in pieces.values() for part in parts for w in part)
        self.words = [word for word, _ in counts.most_common(FREQUENT)]
        rows = {author: self.frequencies(parts) for author, parts in pieces.items()}
        every = np.concatenate(list(rows.values()))
        self.mean, spread = every.mean(axis=0), every.std(axis=0)
        self.spread = np.where(spread == 0, 1.0, spread)
        self.profiles = {author: self.z_scores(part).mean(axis=0) for author, part in rows.items()}

    def frequencies(self, pieces: Sequence[Sequence[str]]) -> Any:
        """Give the share of each frequent word (columns) in each piece (rows)."""
        counts = [(Counter(piece), max(1, len(piece))) for piece in pieces]
        return np.array([[count[word] / size for word in self.words] for count, size in counts])

    def z_scores(self, frequencies: Any) -> Any:
        """Give frequencies as deviations from the real corpora's mean."""
        return (frequencies - self.mean) / self.spread

    def to(self, author: str, text: str) -> float:
        """Average the differences of z-scores between a text and an author; lower is nearer."""
        scores = self.z_scores(self.frequencies(chunks(words_of(text))))
        return float(np.abs(scores - self.profiles[author]).mean())
