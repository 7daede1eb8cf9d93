"""A study that is closed takes in nothing more, though the bot beside it runs on; rights stay."""

# ruff: noqa: F811 - pytest finds fixtures by their names

from dataclasses import replace

import pytest
from experimenting import experiment_text
from studied import agree, clock, make_study, study_counts, talk  # noqa: F401 - fixtures
from talking import pressed, told
from test_comparing import person

from bot.messages.buttons import Press, Verb
from bot.service.service import ChatService
from engine.errors import AskerError
from engine.settings import Settings
from engine.study.lifecycle import close_study

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A study with an experiment."""
    folder = tmp_path_factory.mktemp("closing")
    made = Settings(home=folder / "home", backend="echo", key_file=folder / "key", study="pilot")
    experiments = make_study(made.home) / "experiments"
    experiments.mkdir()
    (experiments / "pilot.toml").write_text(experiment_text())
    return made


async def test_nothing_comes_in_after_the_closing_though_the_bot_runs_on(talk: ChatService) -> None:
    who, late, new = (person(name) for name in ("in", "filling in the form", "new"))
    await agree(talk, who)
    *_, story = await told(talk, "/story It rained.", who)
    [form] = await told(talk, "/consent", late)
    for _ in range(4):
        [form] = await pressed(talk, form.ask[0].press, late)
    await close_study(talk.context.services.ledger, "pilot")
    counts = await study_counts(talk)
    *_, again = await told(talk, "/story It rained again.", who)
    await pressed(talk, Press(Verb.UP, story.job), who)
    for ask in (pressed(talk, form.ask[0].press, late), told(talk, "/consent", new)):
        with pytest.raises(AskerError, match="no study here at the moment"):
            await ask
    *_, other = await told(talk, "/story It rained.", new)
    assert await talk.invitation(new, other.job) is None
    assert await study_counts(talk) == counts
    [held] = await told(talk, "/mydata", who)
    assert "It rained." in held.files[0][1].decode() and "rained" in story.text
    group = replace(who, alone=False)
    assert await talk.invitation(group, again.job) is None, "nobody else reads what they judged"
    over = await talk.invitation(who, again.job)
    assert over is not None and "without the adapter" in over.text, "who was in the middle is told"
    assert await talk.invitation(who, again.job) is None
    [left] = await told(talk, "/withdraw", who)
    assert len(left.ask) == 2 and "without the adapter" not in left.text
