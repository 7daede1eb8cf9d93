"""Prose becomes answers to wishes: what is asked for stands in them, and nobody of the corpus does."""

import random
import re
from pathlib import Path

import pytest
from training_base import make_recipe

from training.corpus import build
from training.run.recipe import load_recipe
from training.sources.text_folder import FolderSource
from training.text.data.blocks import read_split
from training.text.data.wishes import MEN, SURNAMES, WOMEN, People, answers
from training.text.data.works import Work, read_works

pytest_plugins = ["training_fixtures"]
THINGS = ("lamp", "letter", "garden", "bridge", "ladder", "violin", "candle", "anchor", "kettle")


def a_work(name: str, seed: int = 1) -> Work:
    """Mr. Crane and Lucy, paragraph after paragraph, with other things in each."""
    draw, paragraphs = random.Random(seed), ["CHAPTER IV", "Copyright 1902 by Crane", "* * *"]
    for _ in range(20):
        one, two, three = draw.sample(THINGS, 3)
        paragraphs.append(
            f"It rained. Mr. Crane took the old {one}, and looked for his {two}. “I have lost it,” said "
            f"Lucy, and she laughed at the {three}. Crane went to Paris with the {one}. " * 2
        )
    return Work(id=name, title="", source="", paragraphs=tuple(p.strip() for p in paragraphs))


def made() -> list[Work]:
    works = [a_work(f"w{n}", n) for n in range(6)]
    return list(answers(works, "{instruction}\n\n{request}\n{beginning}", ["Crane's", "gloom"], 1))


def test_a_wishs_subjects_come_back_in_its_answer() -> None:
    asked = [row for row in made() if "beginning: " not in row.prompt]
    named = 0
    for row in asked:
        told = re.sub(r"\s", " ", row.prompt.partition("requested:")[2])
        for thing in (*THINGS, "Paris", *WOMEN, *MEN):
            if re.search(rf"\b{thing}\b", told):
                assert thing in row.text
                named += 1
    assert named > 2 * len([row for row in asked if "I want a story." not in row.prompt])


def test_people_of_the_corpus_have_other_names_in_each_passage() -> None:
    rows = made()
    assert len(rows) > 20
    assert not [
        row
        for row in rows
        if re.search("Crane|Lucy", row.text + row.prompt.partition("style of")[0])
    ]
    people = {name for row in rows for name in (*WOMEN, *MEN, *SURNAMES) if name in row.text}
    assert len(people) > 20
    one = People([a_work("w").text]).renamed(
        "“Lucy!” said Mr. Crane. Lucy wept; Crane saw Paris.", random.Random(2)
    )
    her, him = re.findall(r"“(\w+)!” said Mr. (\w+)\.", one)[0]
    assert her in WOMEN and him in SURNAMES
    assert one.endswith(f"{her} wept; {him} saw Paris.")


def test_headings_and_copyright_lines_are_in_no_answer() -> None:
    assert not [row for row in made() if re.search(r"CHAPTER|Copyright|\*", row.text)]


def test_the_same_seed_makes_the_same_wishes_and_a_beginning_is_gone_on_from() -> None:
    rows = made()
    assert rows == made()
    begun = [row for row in rows if row.text.startswith(" ")]
    assert 0.2 < len(begun) / len(rows) < 0.7
    assert all(row.prompt.endswith((".", "”")) for row in begun)


def test_a_corpus_of_wishes_is_tested_on_prose(tmp_path: Path, tiny_base: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(8):
        (texts / f"w{number}.txt").write_text(a_work("w", number).text)
    changes = (
        "corpus.wishes=true",
        "corpus.block=2048",
        'corpus.test=["w1"]',
        'corpus.validation=["w2"]',
    )
    recipe = load_recipe(make_recipe(tmp_path / "recipe.toml"), changes)
    facts = build(recipe, FolderSource(texts, "e", "l"), tmp_path / "run", tiny_base)
    assert facts["splits"]["train"]["works"] == 6, "works, and not the answers made of them"
    assert all(block.given > 5 for block in read_split(tmp_path / "run", "train"))
    assert [work.prompt for work in read_works(tmp_path / "run" / "corpus" / "test.jsonl")] == [""]
    again = load_recipe(make_recipe(tmp_path / "recipe.toml"), (*changes, "corpus.prose=2"))
    build(again, FolderSource(texts, "e", "l"), tmp_path / "both", tiny_base)
    given = [block.given for block in read_split(tmp_path / "both", "train")]
    prose = [
        work for work in read_works(tmp_path / "both" / "corpus" / "train.jsonl") if not work.prompt
    ]
    assert (max(given) > 5, len(prose)) == (True, 2 * 6)


@pytest.mark.parametrize("name", ["lovecraft", "agatha", "poe", "doyle", "austen", "wilde"])
def test_the_embedded_recipes_learn_wishes(name: str) -> None:
    recipe = load_recipe(Path("training/recipes") / f"{name}-embedded.toml")
    assert recipe.corpus.wishes
    assert recipe.corpus.split == "span" or recipe.corpus.test
    assert recipe.rights.train_allowed
