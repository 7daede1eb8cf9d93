"""Second raters: invited people rate finished items, each by as many as asked, never their own."""

# ruff: noqa: F811 - pytest finds fixtures by their names

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from experimenting import agree as agreed_to
from experimenting import person as participant
from experimenting import spot
from flows import labelled, make_flow, press, say
from program import pastiche
from studied import agree, clock, talk  # noqa: F401 - fixtures
from talking import told
from test_comparing import person, rows
from test_stimuli import opened as with_stimuli

from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.errors import AskerError, CommandError, SetupError
from engine.settings import Settings
from engine.study.design.experiment_file import parse_experiment
from engine.study.experiments import tables as e
from engine.study.experiments.eligibility import Candidate
from engine.study.tables import InteractionRow

chat = pytest.mark.asyncio(loop_scope="module")
RATE = """id = "quality"
title = "A second look"
hypothesis = "Raters agree on what is good."
task = "flow"
start = 2020-01-01
stop = 2099-12-31
max_n = 50
annotators = 2
completion_code = true

[[step]]
kind = "rate"
id = "texts"
count = 20
answers = "*"

[[step.questions]]
id = "good"
text = "How good is it?"

[[step.questions]]
id = "voice"
text = "Whose voice is it?"
kind = "choice"
choices = ["Poe", "Doyle"]
"""
STIMULI = RATE.replace('answers = "*"', 'stimuli = "manner"')


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder: Path = tmp_path_factory.mktemp("rating")
    made = Settings(home=folder / "home", backend="echo", key_file=folder / "key", study="pilot")
    (make_flow(made.home) / "experiments" / "quality.toml").write_text(RATE)
    yield made


async def rated(talk: ChatService, said: Reply, who: Who) -> list[str]:
    """Rate all that is shown, to the end; what was shown."""
    shown = []
    while "How good" in said.text:
        shown.append(said.text.partition("”")[0])
        said = await press(talk, labelled(said, "4"), who)
        assert shown[-1] in said.text and "Whose voice" in said.text
        said = await press(talk, labelled(said, "Poe"), who)
    assert "Your completion code" in said.text
    return shown


async def invited(talk: ChatService, name: str) -> str:
    return await talk.context.services.study.annotators.invite(name)


def seen(shown: list[str], *names: str) -> bool:
    """Whether these people's stories, and no others, were shown."""
    return len(shown) == len(names) and all(sum(f"{n} sat" in s for s in shown) == 1 for n in names)


async def who_is_not_invited_rates_nothing_and_a_code_is_one_persons(talk) -> None:
    for name in ("Ada", "Bea", "Cleo", "Dora"):
        await agree(talk, person(name), excerpts=name != "Cleo")
        await told(talk, f"/story {name} sat alone.", person(name))
    ann, bert = person("ann"), person("bert", platform="telegram")
    await agree(talk, bert)
    with pytest.raises(AskerError, match="whom the researchers invited"):
        await told(talk, "/rate", bert)
    code = await invited(talk, "Ann")
    with pytest.raises(CommandError, match="invited already"):
        await invited(talk, "Ann")
    form = await say(talk, f"/rate {code}", ann)
    assert "study by" in form.text, "consent comes first"
    for choice in (0, 0, 0, 0, 0):
        form = await press(talk, form.ask[choice].press, ann)
    said = await press(talk, labelled(form, "Begin"), ann)
    assert "How good" in said.text
    with pytest.raises(AskerError, match="whom the researchers invited"):
        await told(talk, f"/rate {code}", bert)
    with pytest.raises(AskerError, match="chat of the two of us"):
        await told(talk, "/rate", person("ann", alone=False, place="group"))


async def an_annotator_meets_everybodys_answers_once_but_theirs_and_of_who_lets_none_be_seen(
    talk,
) -> None:
    ann = person("ann")
    await told(talk, "/story Ann sat alone.", ann)
    said = await say(talk, "/rate", ann)
    assert seen(await rated(talk, said, ann), "Ada", "Bea", "Dora")
    assert "completion code" in (await say(talk, "/rate", ann)).text, "nothing is left"
    said = await rows(talk, e.QuestionnaireAnswer, question="good")
    assert [(row.instrument, row.value) for row in said] == [("texts", "4")] * 3
    assert all(row.seconds is not None for row in said)


async def a_participant_in_a_flow_rates_beside_it_and_never_what_they_asked_for(talk) -> None:
    ada = person("Ada")
    question = await say(talk, "/study join P1", ada)
    said = await say(talk, f"/rate {await invited(talk, 'Ada Lovelace')}", ada)
    assert seen(await rated(talk, said, ada), "Bea", "Dora", "Ann")
    assert (await say(talk, "/study join", ada)).text == question.text, "the flow is where it was"


async def what_two_have_rated_nobody_else_does_and_new_answers_go_on(talk) -> None:
    bert = person("bert", platform="telegram")
    said = await say(talk, f"/rate {await invited(talk, 'Bert')}", bert)
    assert seen(await rated(talk, said, bert), "Ada", "Ann")
    await agree(talk, person("Eve"))
    await told(talk, "/story Eve sat alone.", person("Eve"))
    assert seen(await rated(talk, await say(talk, "/rate", bert), bert), "Eve")
    listed = await talk.context.services.study.annotators.listed()
    assert listed == [("Ada Lovelace", True, 3), ("Ann", True, 3), ("Bert", True, 3)]


async def an_answer_taken_away_while_it_is_shown_is_passed_over(talk) -> None:
    cora = person("cora", platform="discord")
    await agree(talk, cora)
    said = await say(talk, f"/rate {await invited(talk, 'Cora')}", cora)
    assert "Eve sat" in said.text
    services = talk.context.services
    await services.agreements.withdraw("terminal", "Eve", "private")
    assert "That was all" in (await press(talk, labelled(said, "4"), cora)).text
    assert len(await rows(talk, e.Exposure, void_reason="gone")) == 1


async def who_is_removed_is_shown_no_more(talk) -> None:
    await told(talk, "/story Dora sat up.", person("Dora"))
    annotators = talk.context.services.study.annotators
    assert await annotators.remove("Bert") and not await annotators.remove("Bert")
    with pytest.raises(AskerError, match="whom the researchers invited"):
        await told(talk, "/rate", person("bert", platform="telegram"))
    assert "Dora sat up" in (await say(talk, "/rate", person("ann"))).text
    await annotators.remove("Ann")
    with pytest.raises(AskerError, match="whom the researchers invited"):
        await told(talk, "/rate", person("ann"))


async def what_was_said_of_somebodys_answers_goes_when_they_are_forgotten(talk) -> None:
    [theirs, *_] = [r for r in await rows(talk, InteractionRow) if "Bea sat" in (r.output or "")]
    about = [row.id for row in await rows(talk, e.Exposure, item=theirs.id)]
    assert len(about) == 2 and await rows(talk, e.QuestionnaireAnswer, about=about[0])
    await talk.context.services.forget("terminal", "Bea")
    assert not await rows(talk, e.Exposure, item=theirs.id)
    assert not [r for name in about for r in await rows(talk, e.QuestionnaireAnswer, about=name)]


@chat
async def test_raters_of_one_study_in_their_order(talk) -> None:
    """One test, for each claim is about people who came before."""
    await who_is_not_invited_rates_nothing_and_a_code_is_one_persons(talk)
    await an_annotator_meets_everybodys_answers_once_but_theirs_and_of_who_lets_none_be_seen(talk)
    await a_participant_in_a_flow_rates_beside_it_and_never_what_they_asked_for(talk)
    await what_two_have_rated_nobody_else_does_and_new_answers_go_on(talk)
    await an_answer_taken_away_while_it_is_shown_is_passed_over(talk)
    await who_is_removed_is_shown_no_more(talk)
    await what_was_said_of_somebodys_answers_goes_when_they_are_forgotten(talk)


async def test_every_version_of_a_stimulus_is_rated_by_as_many_as_asked(settings, ledger) -> None:
    make_flow(settings.home, STIMULI.replace('id = "quality"', 'id = "tell"'))
    of = await with_stimuli(settings, ledger)
    met: Counter[str] = Counter()
    orders = []
    for name in "123":
        await agreed_to(ledger, of.study, "terminal", name)
        who = await participant(ledger, of.study, spot(name))
        assert await of.annotators.admit(who, await of.annotators.invite(name))
        found = await of.enrolled(who, spot(name), Candidate(task="flow", invited=True))
        assert (
            found is not None and await of.enrolled(who, spot(name), Candidate(task="flow")) is None
        )
        orders.append([])
        while (made := await of.flow.trial(found, found.experiment.steps[0], who)) is not None:
            orders[-1].append((await of.exposures.get(made)).shown[0]["item"])
            await of.exposures.delivered(made)
            await of.exposures.rated(made, practice=False)
        met.update(orders[-1])
    items = {item.id for item in of.stimuli.pools["manner"]}
    assert met == dict.fromkeys(items, 2)
    assert orders[0] != orders[1] and [len(order) for order in orders] == [12, 12, 0]


def test_a_file_that_shows_answers_to_everybody_or_lets_annotators_compare_is_refused() -> None:
    for wrong, why in (
        (RATE.replace("annotators = 2", ""), "only annotators"),
        (RATE.replace("annotators = 2", "annotators = 2\nseen_by = 3"), "stands for seen_by"),
        (RATE.replace('answers = "*"', ""), "say which are rated"),
        (RATE + '[[step]]\nkind = "compare"\nstimuli = "manner"\n', "nothing else"),
        (RATE + '[[step]]\nkind = "guess"\nanswers = "*"\n', "a step of the kind rate"),
    ):
        with pytest.raises(SetupError, match=why):
            parse_experiment(wrong, "quality")


async def test_annotators_are_invited_listed_and_removed_by_commands(settings, ledger) -> None:
    make_flow(settings.home, RATE.replace('id = "quality"', 'id = "tell"'))

    def study(*words: str) -> str:
        home = {"PASTICHE_HOME": str(settings.home), "PASTICHE_STUDY": "pilot"}
        ran = pastiche("study", "annotators", *words, **home)
        assert ran.returncode == 0, (words, ran)
        return ran.stdout.decode()

    added = study("--add", "Ann of Leeds")
    assert added.startswith("Ann of Leeds says to the bot: /rate ")
    assert study() == "Ann of Leeds: not here yet\n"
    assert study("--remove", "Ann of Leeds") == ""
