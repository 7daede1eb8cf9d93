"""Texts are cleaned, repeats and slurs dropped, and all that is dropped is kept note of."""

import codecs

from hypothesis import given
from hypothesis import strategies as st

from training.text.data.cleaning import clean_paragraph, paragraphs_of, without_repeats
from training.text.data.markup import text_of
from training.text.data.slurs import REASON, without_slurs
from training.text.data.works import Drop, Work

LONG = "This is a paragraph of more than eight words in all."


def work(name: str, *paragraphs: str) -> Work:
    return Work(id=name, title=name, paragraphs=paragraphs, source="test")


def test_a_gutenberg_header_and_licence_are_cut_off() -> None:
    text = "Licence\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nA.\n\nB.\n\n"
    assert paragraphs_of(text + "*** END OF THE PROJECT GUTENBERG EBOOK X ***\nmore") == (
        "A.",
        "B.",
    )


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean_paragraph(text)
    assert clean_paragraph(once) == once


def test_a_long_paragraph_is_kept_once_and_short_ones_may_repeat() -> None:
    drops: list[Drop] = []
    kept = list(without_repeats([work("a", LONG, "“Yes.”"), work("b", "“Yes.”", LONG)], drops))
    assert [w.paragraphs for w in kept] == [(LONG, "“Yes.”"), ("“Yes.”",)]
    assert [drop.reason for drop in drops] == ["repeated paragraph"]


def test_a_work_that_comes_twice_is_dropped_whole() -> None:
    drops: list[Drop] = []
    assert len(list(without_repeats([work("a", LONG), work("b", LONG)], drops))) == 1
    assert drops[0].reason == "repeated work"


def test_paragraphs_with_slurs_go_and_are_counted() -> None:
    slur = codecs.decode("fdhnjf", "rot13")
    drops: list[Drop] = []
    (kept,) = without_slurs([work("a", f"He saw the {slur}.", "A chink of light.")], drops)
    assert kept.paragraphs == ("A chink of light.",)
    assert [drop.reason for drop in drops] == [REASON]


def test_a_page_gives_headings_and_paragraphs_without_notes_and_menus() -> None:
    page = (
        "<html><head><title>no</title></head><body><nav><p>no</p></nav><h2>I</h2>"
        "<p>One<br/>line, <i>and</i> more.<a epub:type='noteref' href='#n'>1</a></p></body></html>"
    )
    assert paragraphs_of(text_of(page)) == ("I", "One line, and more.")
