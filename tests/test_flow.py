"""Flows: one conversation from the start link to the code, that goes on wherever it was left."""

# ruff: noqa: F811 - pytest finds fixtures by their names

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flows import FLOW, buttons, judged, labelled, make_flow, press, say
from studied import agree, clock, talk  # noqa: F401 - fixtures
from talking import told
from test_comparing import paired, person, rows

from bot.chat import make_context
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.settings import PlatformSettings
from engine.errors import AskerError, SetupError
from engine.moderation.chain import usual
from engine.plan.cards import Registry
from engine.settings import Settings
from engine.study.design.checks import warnings_of
from engine.study.design.experiment_file import parse_experiment
from engine.study.experiments.tables import QuestionnaireAnswer
from engine.study.tables import InteractionRow

LIMITS = PlatformSettings(asker_burst=0, place_burst=0, asker_waiting=0)
chat = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder: Path = tmp_path_factory.mktemp("flow")
    made = Settings(home=folder / "home", backend="echo", key_file=folder / "key", study="pilot")
    make_flow(made.home)
    yield made


async def begun(talk: ChatService, who: Who, panel: str = "", reads: str = "often") -> Reply:
    """Agreed, begun, and through the first questions."""
    await agree(talk, who)
    said = await say(talk, f"/study join {panel}", who)
    said = await press(talk, labelled(said, reads), who)
    if reads == "often":
        said = await press(talk, labelled(said, "prefer not"), who)
    return await say(talk, "44", who)


@chat
async def test_answers_of_an_earlier_step_are_shut_once_a_later_one_showed_something(talk) -> None:
    who = person("shut")
    await agree(talk, who)
    first = await say(talk, "/study join", who)
    said = await press(talk, labelled(first, "never"), who)
    said = await say(talk, "44", who)
    with pytest.raises(AskerError, match="question is closed"):
        await press(talk, labelled(first, "often"), who)
    name = talk.context.services.study.study.pseudonym("terminal", "shut")
    while "Anything else" not in said.text:
        said = await judged(talk, said, who)
    await say(talk, "First answers come as late as they are asked for.", who)
    given = await rows(talk, QuestionnaireAnswer, pseudonym=name)
    assert [row.value for row in given if row.question == "reads"] == ["never"]
    assert [row.value for row in given if row.question == "remarks"] == ["typed"]


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('kind = "debrief"', 'kind = "debriefing"', "line 93, step.7.kind"),
        ("practice = true", "practise = true", "Did you mean practice"),
        ('{ reads = ["often"] }', '{ read = ["often"] }', "no question read stands before"),
        ('{ reads = ["often"] }', '{ reads = ["daily"] }', "cannot be answered with 'daily'"),
        ("often = 2", "weekly = 2", "must be asked before the first trial"),
        ('check = "2"', 'check = "9"', "'9' is no answer to it"),
        ('id = "pairs"', 'id = "tell"', "every step needs an id of its own"),
        ('count = 2\nstimuli = "manner"', "count = 2", "needs two arms at least"),
        ('"compare"\nid = "pairs"\ncount = 2\nstimuli = "manner"', '"single"', "no step"),
    ],
)
def test_lint_names_what_is_wrong_with_a_step_and_where(old: str, new: str, wanted: str) -> None:
    assert old in FLOW
    with pytest.raises(SetupError) as caught:
        parse_experiment(FLOW.replace(old, new, 1), "tell.toml")
    assert wanted in str(caught.value)


def test_lint_counts_the_trials_of_a_flow_by_its_steps(registry: Registry) -> None:
    text = FLOW.replace("failed_checks = 1", "fewer_exposures = 6")  # of five that there are
    told = warnings_of(parse_experiment(text, "tell.toml"), registry, 0.0)
    assert any("whoever finishes is left out" in one for one in told)
    text = FLOW.replace('count = 2\nstimuli = "manner"\nblock', "count = 300\nblock")
    told = warnings_of(parse_experiment(text, "tell.toml"), registry, 0.0)
    assert any("300 guesses, and the shipped pool" in one for one in told)


@chat
@pytest.mark.parametrize("platform", ["discord", "telegram"])
async def test_a_number_typed_at_a_question_is_an_answer_or_is_asked_again(
    talk: ChatService, platform: str
) -> None:
    """Never a story: "30" where nothing is called so, and then what is."""
    who = replace(person(f"typed on {platform}"), platform=platform)
    await agree(talk, who)
    said = await say(talk, "/study join", who)
    stories = await rows(talk, InteractionRow)
    for odd in ("30.", "3)", "#3", "3/5", "4!", "(4)", "４", "1 3", "2-3", "30"):
        asked = await say(talk, odd, who)
        assert "cannot read that" in asked.text and "How often" in asked.text
    assert labelled(asked, "never") == labelled(said, "never")
    said = await press(talk, labelled(asked, "never"), who)
    said = await say(talk, "44", who)
    while "How good" not in said.text:
        said = await judged(talk, said, who)
    before = len(await rows(talk, QuestionnaireAnswer, question="good"))
    talk = ChatService(make_context(talk.context.engine, talk.context.services, usual(), LIMITS))
    assert "How good" in (await say(talk, "4", who)).text, "after a restart it is asked again"
    assert "cannot read that" in (await say(talk, "9", who)).text
    assert "How good" not in (await say(talk, " 4 ", who)).text.partition("\n")[0]
    *_, row = await rows(talk, QuestionnaireAnswer, question="good")
    assert row.value == "4"
    assert len(await rows(talk, QuestionnaireAnswer, question="good")) == before + 1
    assert await rows(talk, InteractionRow) == stories


@chat
@pytest.mark.parametrize("agreed", [True, False])
async def test_a_number_typed_at_a_guess_a_pair_or_a_form_is_asked_again(
    talk: ChatService, agreed: bool
) -> None:
    who = replace(person(f"outside of flows, {agreed}"), platform="discord")
    form = await say(talk, "/consent", who)
    for _ in range(5):
        again = await say(talk, "30", who)
        assert (again.text.split("\n")[-1], again.ask) == (form.text.split("\n")[-1], form.ask)
        form = await press(talk, again.ask[0 if agreed else 1].press, who)
        if not form.ask:
            break
    guess = await say(talk, "/guess", who)
    assert (await say(talk, "2", who)).rows == guess.rows
    await press(talk, buttons(guess)["real"], who)  # and then: how sure, from 1 to 6?
    guess = await say(talk, "5", who)
    await press(talk, buttons(await press(talk, buttons(guess)["real"], who))["real.5"], who)
    pair = await paired(talk, who)
    assert (await say(talk, "2", who)).rows == pair.rows
    chosen = await press(talk, buttons(pair)["b"], who)
    assert (await say(talk, "(2)", who)).rows == chosen.rows
    await press(talk, buttons(chosen)["reveal"], who)
    if agreed:
        leaving = await say(talk, "/withdraw", who)
        assert [b.label for b in (await say(talk, "1", who)).ask] == [b.label for b in leaving.ask]
        await press(talk, leaving.ask[0].press, who)
    *_, story = await told(talk, "2", who)
    assert not isinstance(story, Reply), "where nothing is asked, it is what it was: a request"
