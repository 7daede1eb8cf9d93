"""Prompt and answer: the loss is on the answer alone, put as the base or the bot puts it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from training_base import make_recipe
from transformers import AutoTokenizer

from engine.backends.prompt_window import plain_tokens
from training.corpus import build
from training.errors import BadCorpus
from training.run.recipe import load_recipe
from training.run.tables import Corpus
from training.sources.text_folder import FolderSource
from training.text.data.blocks import Block, pack, rare_in_prompts, read_split
from training.text.data.splits import split_works
from training.text.data.works import Work
from training.text.session import Session
from training.text.trainer import IGNORED, padded
from training.train_text import train

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore")

CHAT = (
    "{% for m in messages %}<unk>{{ m['role'] }} {{ m['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<unk>assistant {% endif %}"
)


def answer(prompt: str = "a tomb", text: str = "the moon was upon the stone") -> Work:
    return Work(id="w", title="", paragraphs=(text,), source="", prompt=prompt)


def rows(folder: Path, works: int = 8) -> Path:
    """Four answers of each work, each to a prompt of its own."""
    folder.mkdir()
    lines = [
        {
            "work": f"gloom-{w}",
            "prompt": f"said {'a ' * n}tomb",
            "answer": f"the moon was stone {w}. " * 3,
        }
        for w in range(works)
        for n in range(4)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "wishes.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_only_the_answer_and_its_end_are_learnt(tiny_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    short = Work(id="s", title="", paragraphs=("a b",), source="", prompt="the")
    blocks = list(pack([answer(), short], tokenizer, 32))
    ids, mask, labels = padded(blocks, "cpu")
    prompt, text = plain_tokens(tokenizer, "a tomb"), plain_tokens(tokenizer, answer().text)
    assert ids[0].tolist() == [2, *prompt, *text, 1]
    assert labels[0].tolist() == [IGNORED] * 3 + [*text, 1]
    assert blocks[0].predicted == len(text) + 1
    assert mask[1].tolist() == [1] * len(blocks[1].tokens) + [0] * (ids.shape[1] - 5)


def test_what_the_prompt_asks_for_weighs_more_in_training_alone(
    tmp_path: Path, tiny_base: Path
) -> None:
    losses = {}
    for weight in (1, 3):
        changes = (f"training.wish_weight={weight}", "lora.dropout=0")
        recipe = load_recipe(make_recipe(tmp_path / "r.toml"), changes)
        run = tmp_path / f"run {weight}"
        build(recipe, FolderSource(rows(tmp_path / f"rows {weight}"), "", ""), run, tiny_base)
        session = Session(recipe, run, tiny_base)
        trainer, block = session.trainer, session.blocks[0]
        trainer.rare = frozenset(block.tokens[-3:-2])
        asked = replace(
            block, tokens=(block.tokens[0], *block.tokens[-3:-2], *block.tokens[1:]), given=2
        )
        trainer.model.train()
        weighed, page = trainer.weighed([asked, replace(asked, tokens=asked.tokens[1:], given=1)])
        losses[weight] = [float(trainer.loss([asked])), trainer.held_out_loss([asked])]
    assert weighed.tolist() == [3.0 if token == asked.tokens[1] else 1.0 for token in asked.tokens]
    assert set(page.tolist()) == {1.0}, "a page of prose was asked for by nobody"
    assert losses[3][0] > losses[1][0] * 1.01
    assert losses[3][1] == pytest.approx(losses[1][1])


def test_what_few_prompts_hold_is_what_each_asks_for() -> None:
    blocks = [Block(tokens=(1, 2, 100 + n, 7), work=0, given=3) for n in range(60)]
    assert rare_in_prompts(blocks) == frozenset(range(100, 160))
    pages = [Block(tokens=(200 + n, 2, 7), work=0) for n in range(9000)]
    assert rare_in_prompts([*blocks, *pages]) == frozenset(range(100, 160))


def test_a_chat_base_is_asked_by_its_own_template(tiny_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    with pytest.raises(BadCorpus, match="no chat template"):
        list(pack([answer()], tokenizer, 32, "chat"))
    tokenizer.chat_template = CHAT
    (block,) = pack([answer()], tokenizer, 32, "chat")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "a tomb"}], add_generation_prompt=True, return_dict=False
    )
    assert list(block.tokens[: block.given]) == asked
    assert tokenizer.decode(block.tokens[block.given :]) == f"{answer().text} <eos>"
    with pytest.raises(BadCorpus, match="markup of this base"):
        list(pack([answer("a <eos> tomb")], tokenizer, 32, "chat"))


def test_a_long_answer_is_cut_and_a_long_prompt_is_told(tiny_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    (block,) = pack([answer(text="the moon " * 40)], tokenizer, 16)
    assert len(block.tokens) == 16 and block.tokens[-1] != tokenizer.eos_token_id
    with pytest.raises(BadCorpus, match="prompt of w has 41 tokens"):
        list(pack([answer("a moon " * 20)], tokenizer, 64))


def test_answers_of_one_work_share_a_split_and_are_trained_on(
    tmp_path: Path, tiny_base: Path
) -> None:
    recipe = load_recipe(make_recipe(tmp_path / "r.toml"), ("training.blocks=8",))
    run = tmp_path / "run"
    build(recipe, FolderSource(rows(tmp_path / "rows"), "", ""), run, tiny_base)
    blocks = {name: read_split(run, name) for name in ("train", "validation", "test")}
    assert {name: len(found) for name, found in blocks.items()} == {
        "train": 20,
        "validation": 4,
        "test": 8,
    }
    assert {block.given for block in blocks["train"]} == {3, 4, 5, 6}
    assert train(recipe, run, tiny_base).progress.best_loss < float("inf")


def test_answers_of_one_work_share_a_split_whatever_their_ids(tmp_path: Path) -> None:
    lines = [
        {"id": str(n), "work": f"w{n % 20}", "prompt": "a", "answer": f"w{n % 20} {n}"}
        for n in range(80)
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    works = list(FolderSource(tmp_path, "", "").works())
    splits = split_works(works, Corpus(test_share=0.2, validation_share=0.2), seed=1)
    books = [{work.text.split()[0] for work in part} for part in splits.values()]
    assert sum(map(len, books)) == 20 and len({work.id for work in works}) == 80


def test_a_row_with_a_prompt_but_no_answer_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"prompt": "a"}\n', encoding="utf-8")
    with pytest.raises(BadCorpus, match=r'line 1: .*"prompt" and "answer"'):
        list(FolderSource(tmp_path, "", "").works())


def test_a_plain_block_gives_its_first_token_only() -> None:
    assert Block(tokens=(5, 6, 7), work=0).predicted == 2
