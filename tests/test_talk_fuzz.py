"""Whatever is typed or pressed, the answer is words or an AskerError, and ChatService lives on."""

import random

import pytest
import talking
from talking import OPERATOR, pressed, told

from bot.messages.buttons import Press, Verb, decode
from bot.messages.grammar import Simple
from bot.service.request import Who
from bot.service.service import ChatService
from engine.errors import AskerError
from engine.events import Finished
from engine.ledger.ledger import new_id

here, clock, talk = talking.here, talking.clock, talking.talk  # fixtures
pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = [
    "/settings", "/admin", "/report", "/why", "/cancel", "/help", "/privacy", "/start", "style", "talk",
    "on", "off", "none", "agatha", "block", "allow", "clear", "asker", "place", "server", "reports",
    "status", "--private", "--style", "\u202e", "\x00", "💎" * 50, "'; drop table jobs; --", "{x}", "%s",
    "{0}", "a" * 300, "\ud800", "<@1>", "7",
]  # fmt: skip


async def test_a_thousand_odd_commands_by_anybody_and_by_an_operator(talk: ChatService) -> None:
    dice = random.Random(5)
    plain = Who(platform="telegram", asker="9", place="9", manager=True, server_manager=True)
    answered = refused = 0
    for _ in range(1000):
        text = " ".join(dice.choices(WORDS, k=dice.randint(1, 5)))
        who = dice.choice([plain, OPERATOR])
        try:
            command = talk.parse(text)
            if not isinstance(command, Simple):
                continue
            answered += all(said.text for said in await told(talk, text, who))
        except AskerError as error:
            refused += 1
            assert str(error)
    assert answered > 50
    assert refused > 100
    for kind in ("place", "server"):
        for name in filter(str.isprintable, WORDS):
            await talk.context.services.places.rule("discord", kind, name.lower(), "")
            await talk.context.services.places.rule("discord", kind, name, "")


async def test_a_thousand_forged_presses(talk: ChatService) -> None:
    dice = random.Random(6)
    who = Who(platform="telegram", asker="10", place="10")
    mine = (await told(talk, "It rained.", who))[-1].job
    theirs = (await told(talk, "It snowed.", Who(platform="telegram", asker="11", place="11")))[
        -1
    ].job
    for _ in range(1000):
        verb = dice.choice([v for v in Verb if v not in (Verb.AGAIN, Verb.CONTINUE, Verb.VARY)])
        job = dice.choice([theirs, new_id()])
        argument = dice.choice(["", "agatha", "x" * 32, "0" * 16])
        try:
            await pressed(talk, Press(verb, job, argument), who)
        except AskerError as error:
            assert str(error)
    for _ in range(1000):
        text = "p1:" + "".join(dice.choices("casux:01ARZ \x00é", k=dice.randint(0, 40)))
        with pytest.raises(AskerError):
            decode(text)
    for job in (mine, theirs):
        answer = await talk.context.engine.answer(job)
        assert answer.text
        assert await talk.context.services.feedback.ratings(job) == []
    assert isinstance((await told(talk, "It rained.", who))[-1], Finished)
