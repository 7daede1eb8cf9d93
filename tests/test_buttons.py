"""What a press means survives the round trip through 64 bytes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.discord_client.commands import PLAIN, STUDY
from bot.messages.buttons import (
    ANYBODY,
    MAX_BYTES,
    PATTERN,
    Press,
    Verb,
    buttons_for,
    decode,
    encode,
)
from bot.messages.draft import Draft
from engine.errors import CommandError
from engine.events import Cancelled, Finished
from engine.ledger.ledger import new_id
from engine.plan.cards import Registry

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True)  # of cards
PRESSES = st.builds(Press, st.sampled_from(Verb), st.builds(new_id), st.just("") | NAMES)


@given(PRESSES)
def test_every_press_of_a_card_fits_and_comes_back(press: Press) -> None:
    text = encode(press)
    assert len(text.encode()) <= MAX_BYTES
    assert decode(text) == press
    assert PATTERN.fullmatch(text)


@given(st.text(max_size=80) | PRESSES.map(encode).map(lambda text: text[:-1] + "!"))
def test_what_is_no_button_is_refused_in_words(text: str) -> None:
    with pytest.raises(CommandError, match="button"):
        decode(text)


@given(st.text(min_size=1).filter(lambda text: not PATTERN.fullmatch(f"p1:s:{new_id()}:{text}")))
def test_an_argument_that_no_button_can_hold_is_refused(argument: str) -> None:
    with pytest.raises(CommandError):
        encode(Press(Verb.STYLE, new_id(), argument))


def finished(job: str) -> Finished:
    return Finished(
        job=job, attempt=1, text="It rained.", tokens_in=1, tokens_out=2,
        first_token_seconds=0.1, seconds=1.0,
    )  # fmt: skip


def test_a_running_answer_can_be_cancelled_and_nothing_else(registry: Registry) -> None:
    rows = buttons_for(Draft(job=new_id(), stage="writing"), registry)
    assert [b.press.verb for row in rows for b in row] == [Verb.CANCEL]
    assert buttons_for(Draft(), registry) == ()


def test_a_finished_story_has_all_its_buttons_in_rows_of_five(registry: Registry) -> None:
    job = new_id()
    rows = buttons_for(Draft(job=job, stage="finished", final=finished(job)), registry)
    verbs = {b.press.verb for row in rows for b in row}
    assert verbs >= {Verb.CONTINUE, Verb.AGAIN, Verb.STYLE, Verb.WHY, Verb.UP, Verb.DOWN}
    assert {b.press.job for row in rows for b in row} == {job}
    assert all(len(row) <= 5 for row in rows)
    others = {b.press.verb for row in rows for b in row if b.press.verb in ANYBODY}
    assert others == {Verb.WHY, Verb.UP, Verb.DOWN, Verb.REPORT}


@pytest.mark.parametrize("page", ["discord", "telegram"])
def test_the_platforms_pages_show_the_rows_below_a_story(registry: Registry, page: str) -> None:
    job = new_id()
    told = (Path(__file__).parents[1] / f"docs/{page}.md").read_text(encoding="utf-8")
    for row in buttons_for(Draft(job=job, stage="finished", final=finished(job)), registry):
        assert " ".join(f"[{each.label}]" for each in row) in told


def test_discords_page_names_every_command_that_it_offers() -> None:
    told = (Path(__file__).parents[1] / "docs/discord.md").read_text(encoding="utf-8")
    told = told.partition("## What people meet")[2].partition("\n## ")[0]
    assert [name for name in (*PLAIN, *STUDY) if f"`/{name}`" not in told] == []


def test_labels_follow_the_askers_language(registry: Registry) -> None:
    job = new_id()
    draft = Draft(job=job, stage="cancelled", final=Cancelled(job=job, attempt=1, text="It"))
    rows = buttons_for(draft, registry, "it-IT")
    assert [b.label for row in rows for b in row] == ["Continua", "Ancora", "Elimina"]
