"""The corpus stage: what goes in, what is kept, and what it refuses."""

import json
from pathlib import Path

import pytest
from training_base import make_recipe

from tests.benchmarks.training_step import measure
from training.corpus import build
from training.errors import BadCorpus, BadRecipe
from training.run.recipe import load_recipe
from training.run.settings import TrainingSettings
from training.sources.factory import source_of
from training.text.data.works import read_works

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore")


def built(tmp_path: Path, corpus: Path, base: Path, *changes: str) -> dict[str, object]:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"), changes)
    source = source_of(recipe, tmp_path, corpus, TrainingSettings())
    return build(recipe, source, tmp_path / "run", base)


def test_building_twice_gives_the_same_digests(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    first, second = (built(tmp_path, corpus, tiny_base) for _ in range(2))
    assert first == second
    assert str(tmp_path) not in json.dumps(first)


def test_a_changed_text_is_noticed_when_the_recipe_knows_its_root(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    root = built(tmp_path, corpus, tiny_base)["data_root"]
    built(tmp_path, corpus, tiny_base, f"corpus.root={root}")
    (corpus / "gloom-0.txt").write_text("Another revision of the text. " * 20)
    with pytest.raises(BadCorpus, match="not those this recipe was written for"):
        built(tmp_path, corpus, tiny_base, f"corpus.root={root}")


def test_an_empty_corpus_is_told_and_leaves_an_older_one_alone(
    tmp_path: Path, corpus: Path, tiny_base: Path
) -> None:
    built(tmp_path, corpus, tiny_base)
    for path in corpus.iterdir():
        path.write_text("Too short.")
    with pytest.raises(BadCorpus, match="no usable text"):
        built(tmp_path, corpus, tiny_base)
    assert len(list(read_works(tmp_path / "run" / "corpus" / "train.jsonl"))) == 5


def test_one_work_only_is_refused_with_a_way_out(tmp_path: Path, tiny_base: Path) -> None:
    path = tmp_path / "only.txt"
    path.write_text("\n\n".join(f"Paragraph {n} of the only work there is." for n in range(40)))
    with pytest.raises(BadCorpus, match="holds out"):
        built(tmp_path, path, tiny_base)
    facts = built(tmp_path, path, tiny_base, "corpus.split=span")
    assert facts["splits"]["test"]["works"] == 1  # type: ignore[index]


def test_articles_are_chosen_by_their_marks(tmp_path: Path, tiny_base: Path) -> None:
    rows = [
        {"id": f"n{n}", "text": f"Report {n}. " * 30, "spelling": ("british", "american")[n % 2]}
        for n in range(12)
    ]
    path = tmp_path / "news.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = (
        'corpus.test=["n0"]',
        'corpus.validation=["n2"]',
        'corpus.keep={spelling=["british"]}',
    )
    facts = built(tmp_path, path, tiny_base, *changes)
    assert facts["dropped"] == {"not selected": 6}


def test_a_recipe_without_its_texts_at_hand_says_so(tmp_path: Path, tiny_base: Path) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"))
    with pytest.raises(BadCorpus, match="--corpus DIR"):
        source_of(recipe, tmp_path, None, TrainingSettings())
    with pytest.raises(BadCorpus, match="no corpus at"):
        source_of(recipe, tmp_path, tmp_path / "none", TrainingSettings())


def test_a_step_can_be_measured_without_weights(tmp_path: Path, tiny_base: Path) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"))
    found = measure(recipe, tiny_base, steps=1)
    assert found["seconds"] > 0 and found["trained"] < found["parameters"]
    with pytest.raises(BadRecipe, match="--base"):
        measure(recipe, None, steps=1)
