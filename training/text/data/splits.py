"""Split works into training, validation and test: by work, or by contiguous spans of each. Pure."""

import hashlib
from collections.abc import Sequence

from training.errors import BadCorpus
from training.run.tables import Corpus
from training.text.data.works import Work

SPLITS = ("train", "validation", "test")
SPAN_SHARE = 0.1  # of the paragraphs, when a recipe names no share


def split_works(works: Sequence[Work], corpus: Corpus, seed: int) -> dict[str, list[Work]]:
    """Put every work in exactly one split; raises BadCorpus when a split would be empty."""
    if corpus.split == "none":
        return {"train": list(works), "validation": [], "test": []}
    if corpus.split == "span":
        return split_spans(works, corpus)
    known = {work.origin for work in works}
    if missing := sorted({*corpus.test, *corpus.validation} - known):
        raise BadCorpus(
            f"The recipe holds out {', '.join(missing)}, which the corpus does not have. "
            f"It has: {', '.join(sorted(known)[:20])}."
        )
    splits: dict[str, list[Work]] = {name: [] for name in SPLITS}
    for work in works:
        splits[split_of(work.origin, corpus, seed)].append(work)
    for name in SPLITS:
        if not splits[name]:
            raise BadCorpus(
                f"The {name} split has no work (the corpus has {len(works)}). Add works, name some "
                f"under [corpus] {name if name != 'train' else 'test'}, raise the share, or set "
                'split = "span" to cut one long work into contiguous parts.'
            )
    return splits


def split_of(work: str, corpus: Corpus, seed: int) -> str:
    if work in corpus.test:
        return "test"
    if work in corpus.validation:
        return "validation"
    draw = int(hashlib.sha256(f"{seed}:{work}".encode()).hexdigest()[:8], 16) / 0x100000000
    if draw < corpus.test_share:
        return "test"
    return "validation" if draw < corpus.test_share + corpus.validation_share else "train"


def split_spans(works: Sequence[Work], corpus: Corpus) -> dict[str, list[Work]]:
    """Cut each work: its last paragraphs are test, those before them validation."""
    splits: dict[str, list[Work]] = {name: [] for name in SPLITS}
    for work in works:
        count = len(work.paragraphs)
        test = max(1, round(count * (corpus.test_share or SPAN_SHARE)))
        validation = max(1, round(count * (corpus.validation_share or SPAN_SHARE)))
        cuts = (0, count - test - validation, count - test, count)
        if cuts[1] < 1:
            raise BadCorpus(f"{work.id} has only {count} paragraphs: too few to split.")
        for name, start, end in zip(SPLITS, cuts, cuts[1:], strict=False):
            splits[name].append(work.with_paragraphs(work.paragraphs[start:end]))
    return splits
