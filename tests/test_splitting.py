"""Parts keep every character, fit their limit, and end where a reader would pause."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.messages.split import as_file, split, utf16

LETTERS = st.sampled_from([*"ab .!?\n\t。\"'\u0301\u200d", "🕯️", "\r\n"])
ANYTHING = LETTERS | st.characters(exclude_categories=["Cs"])
TEXTS = st.lists(ANYTHING, max_size=300).map("".join)


def dense(text: str) -> str:
    return "".join(text.split())


@given(TEXTS, st.integers(2, 60), st.sampled_from([len, utf16]))
def test_nothing_but_white_space_at_the_cuts_is_lost(text, limit, measure) -> None:
    parts = split(text, limit, measure)
    assert dense("".join(parts)) == dense(text)
    assert all(part.strip() == part and 0 < measure(part) <= limit for part in parts)


@given(TEXTS, st.integers(2, 60))
def test_white_space_within_a_part_stays_as_it_is(text: str, limit: int) -> None:
    place = 0
    for part in split(text, limit):
        place = text.index(part, place) + len(part)


@given(st.lists(st.sampled_from(["👩‍👩‍👧", "🇮🇹", "é", "👍🏽", "❤️", "a"]), min_size=1))
def test_no_emoji_flag_or_accent_is_torn(letters: list[str]) -> None:
    parts = split("".join(letters), 12, utf16)
    whole = re.compile("(?:👩‍👩‍👧|🇮🇹|é|👍🏽|❤️|a)+")
    assert all(whole.fullmatch(part) for part in parts)


def test_a_paragraph_is_the_first_choice_and_a_sentence_the_second() -> None:
    text = "The house was old. It leaned.\n\nNobody lived there. Nobody would."
    assert split(text, 40) == ["The house was old. It leaned.", "Nobody lived there. Nobody would."]
    assert (
        split(text.replace("\n\n", " "), 52)[0]
        == "The house was old. It leaned. Nobody lived there."
    )


def test_a_sentence_keeps_its_closing_quotation_mark() -> None:
    assert split("“Who is there?” asked the vicar, and stood up.", 20)[0] == "“Who is there?”"


def test_a_wall_of_letters_is_cut_at_the_limit() -> None:
    assert [len(p) for p in split("x" * 4500, 2000)] == [2000, 2000, 500]


def test_utf16_counts_what_telegram_counts() -> None:
    assert [utf16(p) for p in split("🕯" * 3000, 4096, utf16)] == [4096, 1904]


def test_text_of_many_parts_is_better_as_a_file() -> None:
    assert not as_file("word " * 1500, 2000)
    assert as_file("word " * 2000, 2000)


def test_twenty_thousand_blanks_are_no_part() -> None:
    assert split(" \n" * 10_000, 2000) == []


def test_a_limit_that_no_letter_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="two units"):
        split("text", 1)
