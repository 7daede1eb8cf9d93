"""A study that is closed takes in nothing more, though the bot beside it runs on; rights stay."""

# ruff: noqa: F811 - pytest finds fixtures by their names

import pytest
from studied import agree, clock, here, study_counts, talk  # noqa: F401 - fixtures
from talking import pressed, told
from test_comparing import person

from bot.messages.buttons import Press, Verb
from bot.service.service import ChatService
from engine.errors import AskerError
from engine.study.lifecycle import close_study

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_nothing_comes_in_after_the_closing_though_the_bot_runs_on(talk: ChatService) -> None:
    who, late, new = (person(name) for name in ("in", "filling in the form", "new"))
    await agree(talk, who)
    *_, story = await told(talk, "/story It rained.", who)
    [form] = await told(talk, "/consent", late)
    for _ in range(4):
        [form] = await pressed(talk, form.ask[0].press, late)
    await close_study(talk.context.services.ledger, "pilot")
    counts = await study_counts(talk)
    await told(talk, "/story It rained again.", who)
    await pressed(talk, Press(Verb.UP, story.job), who)
    for ask in (pressed(talk, form.ask[0].press, late), told(talk, "/consent", new)):
        with pytest.raises(AskerError, match="no study here at the moment"):
            await ask
    *_, other = await told(talk, "/story It rained.", new)
    assert await talk.invitation(new, other.job) is None
    assert await study_counts(talk) == counts
    [held] = await told(talk, "/mydata", who)
    assert "It rained." in held.files[0][1].decode() and "It rained" in story.text
    [left] = await told(talk, "/withdraw", who)
    assert len(left.ask) == 2
