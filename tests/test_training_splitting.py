"""A work is in one split only, the same one each time."""

import pytest

from training.errors import BadCorpus
from training.run.tables import Corpus
from training.text.data.splits import split_works
from training.text.data.works import Work


def works(count: int) -> list[Work]:
    return [
        Work(id=f"w{n}", title="", paragraphs=tuple(f"p{n}.{k}" for k in range(20)), source="")
        for n in range(count)
    ]


def test_every_work_is_in_exactly_one_split_and_stays_there() -> None:
    corpus = Corpus(test_share=0.2, validation_share=0.2)
    first, second = (split_works(works(50), corpus, seed=1) for _ in range(2))
    names = [work.id for part in first.values() for work in part]
    assert sorted(names) == sorted(w.id for w in works(50))
    assert first == second


def test_a_new_work_moves_no_other() -> None:
    corpus = Corpus(test_share=0.2, validation_share=0.2)
    before, after = (split_works(works(n), corpus, seed=1) for n in (50, 51))
    for name in before:
        assert {w.id for w in before[name]} <= {w.id for w in after[name]}


def test_named_works_are_held_out() -> None:
    splits = split_works(works(4), Corpus(test=("w1",), validation=("w2",)), seed=1)
    assert [w.id for w in splits["test"]] == ["w1"]
    assert [w.id for w in splits["train"]] == ["w0", "w3"]


def test_a_held_out_name_that_no_work_has_is_told() -> None:
    with pytest.raises(BadCorpus, match="holds out nowhere"):
        split_works(works(3), Corpus(test=("nowhere",), validation=("w2",)), seed=1)


def test_one_work_alone_cannot_be_split_by_work_but_can_by_span() -> None:
    with pytest.raises(BadCorpus, match='split = "span"'):
        split_works(works(1), Corpus(test_share=0.2, validation_share=0.2), seed=1)
    splits = split_works(works(1), Corpus(split="span"), seed=1)
    joined = [p for name in ("train", "validation", "test") for p in splits[name][0].paragraphs]
    assert joined == list(works(1)[0].paragraphs)
