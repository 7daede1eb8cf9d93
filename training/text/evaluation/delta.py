"""Burrows's Delta (2002): how far a text stands from an author in its most frequent words."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

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
        rows = {a: [self.frequencies(part) for part in parts] for a, parts in pieces.items()}
        columns = list(zip(*(row for part in rows.values() for row in part), strict=True))
        self.means = [fmean(column) for column in columns]
        self.spreads = [pstdev(column) or 1.0 for column in columns]
        self.profiles = {
            author: [fmean(column) for column in zip(*map(self.z_scores, part), strict=True)]
            for author, part in rows.items()
        }

    def frequencies(self, words: Sequence[str]) -> list[float]:
        counts = Counter(words)
        return [counts[word] / max(1, len(words)) for word in self.words]

    def z_scores(self, frequencies: Sequence[float]) -> list[float]:
        """Give frequencies as deviations from the real corpora's mean."""
        return [
            (value - mean) / spread
            for value, mean, spread in zip(frequencies, self.means, self.spreads, strict=True)
        ]

    def to(self, author: str, text: str) -> float:
        """Average the differences of z-scores between a text and an author; lower is nearer."""
        profile = self.profiles[author]
        distances = []
        for piece in chunks(words_of(text)):
            scores = self.z_scores(self.frequencies(piece))
            distances.append(fmean(abs(a - b) for a, b in zip(scores, profile, strict=True)))
        return fmean(distances)
