"""No text, however made, holds the program up: time grows with its length, and no faster."""

import pytest
from pattern_times import EVERY, measured


# A repeat has up to 35 texts of its own: a hundred meet nearly every repeat of a pattern
@pytest.mark.parametrize("most", [100, pytest.param(EVERY, marks=pytest.mark.long)])
def test_no_text_makes_time_grow_faster_than_its_length(most: int) -> None:
    """Every pattern, and every function that reads a text, each on texts made to be hard for it."""
    timings = measured(most=most, seconds=200)
    assert len(timings) > 150
    assert [one for one in timings if not one.linear] == []


def test_a_pattern_that_backtracks_is_noticed() -> None:
    """The first held the bot for an hour; the others were seconds."""
    backtracking = (
        r"\bin\s+the\s+(?:style|manner)\s+of\s+(?:\S+\s*){1,6}\Z",
        r"(?:^|(?<=[.!?])[^\S\n]+)[^\S\n]*here",
        r"\(?\d{1,4}\)?(?:[ ./-]?\(?\d{1,5}\)?){2,7}(?!\w)",
        r"\s+\Z",
    )
    assert [one.linear for one in measured(*backtracking)] == [False] * 4
