"""Whose manner is a text in? A classifier of character n-grams (TF-IDF, logistic regression).

It learns from the authors' training texts; its share of right answers on their held-out texts is
the ceiling that generated samples can reach.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.run.schedule import spread
from training.text.data.works import Work

GRAMS = (3, 5)
CHUNK = 700  # characters, about the length of a sample
MOST_CHUNKS = 500  # an author


@dataclass(frozen=True, slots=True)
class StyleClassifier:
    """Hold a fitted pipeline and how often it is right on real held-out text of each author."""

    pipeline: Any
    ceiling: dict[str, float]

    def shares(self, texts: Sequence[str]) -> dict[str, float]:
        counts = Counter(self.pipeline.predict(list(texts)))
        return {author: counts[author] / len(texts) for author in self.pipeline.classes_}


def fit(
    train: Mapping[str, Iterable[Work]], held_out: Mapping[str, Iterable[Work]], seed: int
) -> StyleClassifier:
    """Fit on training works, measure the ceiling on held-out ones."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts: list[str] = []
    authors: list[str] = []
    for author, works in train.items():
        chunks = spread([chunk for work in works for chunk in chunks_of(work)], MOST_CHUNKS)
        texts += chunks
        authors += [author] * len(chunks)
    pipeline = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=GRAMS, sublinear_tf=True, min_df=2),
        LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000, random_state=seed),
    )
    pipeline.fit(texts, authors)
    ceiling = {}
    for author, works in held_out.items():  # the share of real chunks that go to their own author
        chunks = spread([chunk for work in works for chunk in chunks_of(work)], MOST_CHUNKS)
        ceiling[author] = float((pipeline.predict(chunks) == author).mean())
    return StyleClassifier(pipeline, ceiling)


def chunks_of(work: Work) -> list[str]:
    """Join a work's paragraphs to pieces of about CHUNK characters; no piece is a stub.

    >>> work = Work(id="a", title="", source="", paragraphs=("x" * 400, "y" * 400, "z" * 50))
    >>> [len(chunk) for chunk in chunks_of(work)]
    [801]
    """
    chunks, piece = [], ""
    for paragraph in work.paragraphs:
        piece = f"{piece}\n{paragraph}".strip()
        if len(piece) >= CHUNK:
            chunks.append(piece)
            piece = ""
    if len(piece) >= CHUNK // 2 or not chunks:
        chunks.append(piece)
    return chunks
