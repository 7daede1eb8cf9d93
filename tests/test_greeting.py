"""A greeting, or a question about the bot, gets a line of help; a story's wish or opening never does."""

import csv
from pathlib import Path

import pytest
import talking
from talking import Clock, told

from bot.locales import words
from bot.messages.normalise import greets
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.events import Finished

here, clock, talk = talking.here, talking.clock, talking.talk  # fixtures
EVALUATION = Path("docs/evaluation")


def wishes() -> list[str]:
    """What was written beforehand for other ends, and openings of stories."""
    found: list[str] = []
    for name in ("wishes", "router_wishes"):
        with (EVALUATION / f"{name}.tsv").open(encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        found += [field for row in rows[1:] for field in row]
    for name in ("fiction_held_out", "fiction_near_rules"):
        found += Path(f"tests/{name}.txt").read_text(encoding="utf-8").splitlines()
    return [text for text in found if len(text.split()) > 2]


def test_no_wish_and_no_opening_is_taken_for_a_greeting() -> None:
    assert len(wishes()) > 500
    assert [text for text in wishes() if greets(text)] == []


@pytest.mark.parametrize(
    "text", ["hi", "Hello bot!", "test", "What can you do?", "?", " CIAO ", "Cos’è questo?"]
)  # fmt: skip
def test_a_greeting_is_one_from_end_to_end(text: str) -> None:
    assert greets(text)
    assert not greets(f"{text} said the dragon")


@pytest.mark.parametrize(
    "text", ["A", "🐉🍞", "* * *", "hello hello hello hello", "Good morning, midnight"]
)
def test_what_might_be_a_wish_gets_its_story(text: str) -> None:
    assert not greets(text)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_greeting_costs_nothing_and_says_what_to_type(
    talk: ChatService, clock: Clock
) -> None:
    who = Who(platform="telegram", asker="newcomer", place="group", address="x", locale="it")
    for _ in range(3):
        clock.ahead += 60
        (answer,) = await told(talk, "Ciao!", who)
        assert isinstance(answer, Reply)
        assert answer.text == words("talk.hello", "it")
    assert await talk.context.engine.last(*who.account, who.place) is None
    clock.ahead += 60
    assert isinstance((await told(talk, "Hello, said the bear.", who))[-1], Finished)
