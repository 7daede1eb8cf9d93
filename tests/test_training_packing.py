"""Blocks start with one <bos>, end a work once, and lose no token."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_base import prose
from transformers import AutoTokenizer

from engine.backends.prompt_window import plain_tokens
from training.text.data.blocks import (
    cut,
    opening_token,
    pack,
    pack_like_autotrain,
    read_blocks,
    write_blocks,
)
from training.text.data.works import Work

pytest_plugins = ["training_fixtures"]
BOS, EOS = 2, 1


def works(count: int) -> list[Work]:
    return [
        Work(id=str(n), title="", source="", paragraphs=tuple(prose("gloom", n).split("\n\n")))
        for n in range(count)
    ]


def test_each_block_starts_with_exactly_one_bos_and_eos_ends_each_work(tiny_base: Path) -> None:
    blocks = list(pack(works(3), AutoTokenizer.from_pretrained(tiny_base), 32))
    for block in blocks:
        assert block.tokens[0] == BOS and BOS not in block.tokens[1:]
        assert EOS not in block.tokens[:-1]
    assert sum(block.tokens[-1] == EOS for block in blocks) == 3


def test_no_token_is_lost_and_no_block_spans_two_works(tiny_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    blocks = list(pack(works(3), tokenizer, 32))
    for number, work in enumerate(works(3)):
        joined = [t for b in blocks if b.work == number for t in b.tokens[1:]]
        assert joined == [*plain_tokens(tokenizer, work.text), EOS]


@given(st.lists(st.integers(3, 99), min_size=2, max_size=200), st.integers(3, 40))
def test_without_bos_every_token_but_the_first_is_predicted_once(
    tokens: list[int], size: int
) -> None:
    blocks = list(cut(tokens, size, bos=None))
    assert [token for block in blocks for token in block[1:]] == tokens[1:]
    assert all(2 <= len(block) <= size for block in blocks)


def test_a_tokenizer_that_adds_no_bos_gets_none(tiny_base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    assert opening_token(tokenizer) == BOS
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.save_pretrained(tmp_path)
    assert opening_token(AutoTokenizer.from_pretrained(tmp_path)) is None


def test_autotrain_packing_cuts_anywhere_and_drops_the_rest(tiny_base: Path) -> None:
    blocks = list(pack_like_autotrain(works(2), AutoTokenizer.from_pretrained(tiny_base), 32))
    assert {len(block.tokens) for block in blocks} == {32}
    assert any(block.tokens[0] != BOS for block in blocks)


def test_blocks_come_back_from_disk_as_they_were(tiny_base: Path, tmp_path: Path) -> None:
    blocks = list(pack(works(2), AutoTokenizer.from_pretrained(tiny_base), 32))
    write_blocks(tmp_path / "b.safetensors", blocks)
    assert read_blocks(tmp_path / "b.safetensors") == blocks


@pytest.mark.parametrize("bos", [None, BOS])
def test_a_block_is_never_longer_than_asked(bos: int | None) -> None:
    assert max(map(len, cut(list(range(3, 103)), 16, bos))) == 16
