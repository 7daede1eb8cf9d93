"""Results that hold: nobody can count, no experiment costs another a unit, and no answer comes late."""

# ruff: noqa: F811 - pytest finds fixtures by their names

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from experimenting import STUDY, experiment_text, folder_of, person, spot, with_study
from experimenting import agree as agree_on_record
from hypothesis import given, settings
from hypothesis import strategies as st
from studied import agree, clock, make_study, talk  # noqa: F401 - fixtures
from talking import pressed, told
from test_comparing import PROMPT, QUESTION, named, paired, rows
from test_comparing import person as somebody

from bot.messages.buttons import Press, Verb
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.errors import AskerError
from engine.settings import Settings
from engine.study.erasure_rules import erase
from engine.study.experiments.allocation import sides
from engine.study.experiments.eligibility import Candidate
from engine.study.experiments.passages import KINDS, next_kind, score_of
from engine.study.experiments.tables import (
    Enrolment,
    ExperimentRow,
    Exposure,
    QuestionnaireAnswer,
    Vote,
)
from engine.study.study import open_study, read_study_file, read_texts
from engine.study.study_services import StudyServices
from engine.study.tables import ConsentRow

chat = pytest.mark.asyncio(loop_scope="module")
SINGLE = Candidate(task="single", command="story")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A study whose experiments tell who wrote what at each time, at the end, or never."""
    folder: Path = tmp_path_factory.mktemp("validity")
    made = Settings(home=folder / "home", backend="echo", key_file=folder / "key", study="pilot")
    experiments = make_study(made.home) / "experiments"
    experiments.mkdir()
    for name, task, language, more, tables in (
        ("ending", "compare", "fr", "exposures = 2", QUESTION),
        ("telling", "compare", "de", 'exposures = 4\nreveal = "each"', ""),
        ("hiding", "guess", "es", 'exposures = 2\nreveal = "none"', ""),
        ("games", "guess", "pt", "exposures = 3", ""),
        ("units", "single", "nl", 'exposures = 2\nunit = "request"', ""),
        ("rated", "single", "sv", "exposures = 1", '[rating]\ntext = "How was it?"'),
    ):
        eligible = f'{tables}\n[eligible]\nlocales = ["{language}"]'
        text = experiment_text(name, task, more=more, tables=eligible)
        if name == "units":
            text = text.replace('debrief = "One of the two was written without the adapter."', "")
        (experiments / f"{name}.toml").write_text(text)
    yield made


# Guessing


@settings(max_examples=15)
@given(st.binary(min_size=32, max_size=32))
def test_a_counter_of_what_was_told_knows_nothing_of_the_next_passage(key: bytes) -> None:
    """Somebody who says whatever came less often so far, in sessions of twenty."""
    guesses = []
    for person_ in range(400):
        seen: Counter[str] = Counter()
        for number in range(20):
            was = next_kind(key, f"p{person_}", number)
            said = min(KINDS, key=lambda kind: seen[kind])
            guesses.append((was, said))
            seen[was] += 1
    dprime = score_of(guesses).dprime
    assert dprime is not None and abs(dprime) < 0.1


async def guess(talk: ChatService, who: Who, said: str = "real") -> Reply:
    [asked] = await told(talk, "/guess", who)
    await talk.arrived(asked.receipt)
    name = asked.rows[0][0].press.job
    [done] = await pressed(talk, Press(Verb.GUESS, name, f"{said}.4"), who)
    return done


@chat
async def test_within_an_experiment_a_guess_is_told_at_the_end_or_never(talk) -> None:
    ending, hiding = somebody("g1", locale="pt"), somebody("g2", locale="es")
    for who, count in ((ending, 3), (hiding, 2)):
        await agree(talk, who)
        for _ in range(count):
            done = await guess(talk, who)
            assert "noted" in done.text and "A person wrote it" not in done.text
            assert "d′ is" not in done.text and "You were right" not in done.text
        [end] = await pressed(talk, named(done, "a.start"), who)
        assert ("You were right" in end.text) == (who is ending)
        assert "without the adapter" in end.text, "whatever is told, everybody is debriefed"


# Comparing


@given(st.binary(min_size=32, max_size=32), st.text(max_size=8), st.integers(1, 12))
def test_each_arm_stands_first_as_often_as_the_other(key: bytes, name: str, length: int) -> None:
    first = [sides(key, name, number, length) for number in range(length)]
    assert abs(2 * sum(first) - length) <= 1
    assert first == [sides(key, name, number, length) for number in range(length)]


@chat
async def test_the_order_of_a_persons_pairs_is_balanced_and_follows_from_the_key(talk) -> None:
    who = somebody("c1", locale="de")
    await agree(talk, who)
    for _ in range(4):
        said = await paired(talk, who)
        [said] = await pressed(talk, named(said, "a"), who)
        [said] = await pressed(talk, named(said, "reveal"), who)
        assert "base model alone" in said.text
    study = talk.context.services.study.study
    root = study.pseudonym("terminal", "c1")
    pairs = sorted(await rows(talk, Exposure, experiment="telling"), key=lambda pair: pair.position)
    first = [pair.shown[0]["arm"] for pair in pairs]
    assert Counter(first) == {"base": 2, "lora": 2}
    key = study.needed_key()
    assert first == [("base", "lora")[sides(key, f"telling|{root}", n, 4)] for n in range(4)]


@chat
async def test_a_pair_of_an_experiment_is_told_at_its_end_and_no_more_are_judged(talk) -> None:
    who = somebody("c2", locale="fr")
    await agree(talk, who)
    [question] = await told(talk, PROMPT, who)
    old = question.rows[0][0].press
    *_, said = await pressed(talk, old, who)
    await talk.arrived(said.receipt)
    passed_over = named(said, "a").job
    for number in range(2):
        said = await paired(talk, who)
        [said] = await pressed(talk, named(said, "a"), who)
        assert "last button" in said.text
        [said] = await pressed(talk, named(said, "reveal"), who)
        assert "base model" not in said.text and "noted" in said.text, number
    [over] = await rows(talk, Exposure, id=passed_over)
    assert (over.state, over.void_reason) == ("void", "passed over")
    with pytest.raises(AskerError, match="over, or too old"):
        await pressed(talk, Press(Verb.VOTE, passed_over, "b"), who)
    after = await paired(talk, who)
    [outside] = await rows(talk, Exposure, id=named(after, "a").job)
    assert outside.experiment is None, "exposures are a ceiling"
    [end] = await pressed(talk, named(said, "a.start"), who)
    assert "You chose: A" in end.text and "base model alone" in end.text
    assert end.text.count("You chose") == 2 and "without the adapter" in end.text
    [enrolment] = await rows(talk, Enrolment, experiment="ending", pseudonym=outside.pseudonym)
    assert enrolment.completed_at is not None


@chat
async def test_an_answer_from_before_is_shut_once_the_treatment_was_delivered(talk) -> None:
    who = somebody("c3", locale="fr")
    await agree(talk, who)
    [question] = await told(talk, PROMPT, who)
    first, other = question.rows[0][:2]
    *_, said = await pressed(talk, first.press, who)
    await talk.arrived(said.receipt)
    with pytest.raises(AskerError, match="question is closed"):
        await pressed(talk, other.press, who)
    name = talk.context.services.study.study.pseudonym("terminal", "c3")
    [answer] = await rows(talk, QuestionnaireAnswer, pseudonym=name)
    assert answer.value == "18 to 30"


@chat
async def test_nothing_is_said_otherwise_by_who_was_told_which_arm_was_which(talk) -> None:
    voter, rater = somebody("t1", locale="fr"), somebody("t2", locale="sv")
    for who in (voter, rater):
        await agree(talk, who)
    [question] = await told(talk, PROMPT, voter)
    *_, said = await pressed(talk, question.rows[0][0].press, voter)
    await talk.arrived(said.receipt)
    [_] = await pressed(talk, named(said, "a"), voter)
    last = await paired(talk, voter)
    [_] = await pressed(talk, named(last, "a"), voter)
    *_, final = await told(talk, "/story It rained.", rater)
    asked = await talk.invitation(rater, final.job)
    scale = [button.press for row in asked.choices for button in row]
    [thanks] = await pressed(talk, scale[0], rater)
    *_, outside = await told(talk, "/story It rained.", voter)
    ends = {"t1": await talk.invitation(voter, outside.job), "t2": thanks}
    for who in (voter, rater):
        [end] = await pressed(talk, named(ends[who.asker], "a.start"), who)
        assert "without the adapter" in end.text
    for who, late in ((voter, named(said, "b")), (voter, named(last, "b")), (rater, scale[4])):
        with pytest.raises(AskerError):
            await pressed(talk, late, who)
    study = talk.context.services.study.study
    votes = await rows(talk, Vote, pseudonym=study.pseudonym("terminal", "t1"))
    assert [vote.choice for vote in votes] == ["a", "a"]
    [rating] = await rows(talk, QuestionnaireAnswer, instrument="rating")
    assert rating.value == "1"


@chat
async def test_who_was_told_and_comes_back_is_asked_and_treated_no_more(talk) -> None:
    who = somebody("t3", locale="fr")
    await agree(talk, who)
    [question] = await told(talk, PROMPT, who)
    *_, said = await pressed(talk, question.rows[0][0].press, who)
    [left] = await told(talk, "/withdraw", who)
    assert "without the adapter" in left.text
    await agree(talk, who)
    after = await paired(talk, who)
    [outside] = await rows(talk, Exposure, id=named(after, "a").job)
    assert outside.experiment is None
    with pytest.raises(AskerError):
        await pressed(talk, named(said, "b"), who)


@chat
async def test_every_unit_has_its_debrief_at_its_end_or_when_the_person_leaves(talk) -> None:
    whole, leaver = somebody("u1", locale="nl"), somebody("u2", locale="nl")
    for who in (whole, leaver):
        await agree(talk, who)
    for who in (leaver, whole, whole):
        *_, final = await told(talk, "/story It rained.", who)
        offered = await talk.invitation(who, final.job)
        assert not await rows(talk, Enrolment, unit=final.job), "every button has the job's name"
    assert offered is not None and await talk.invitation(leaver) is None
    [end] = await pressed(talk, named(offered, "a.start"), whole)
    assert "was an experiment. Chance decided which of these you got: base, lora" in end.text
    assert await talk.invitation(whole) is None, "told once"
    *_, final = await told(talk, "/story It rained.", whole)
    assert "experiment" not in await talk.footer(final, whole), "two were all"
    [left] = await told(talk, "/withdraw", leaver)
    assert "Chance decided" in left.text


@chat
@pytest.mark.parametrize("way", ["/withdraw", "in a group", "of an older text", "no", "/forget"])
async def test_whoever_leaves_is_told_once_however_they_leave(talk, way: str) -> None:
    who = somebody(f"leaves {way}", locale="nl")
    await agree(talk, who)
    await told(talk, "/story It rained.", who)
    group = replace(who, alone=False, place="one that takes no part")
    if way == "of an older text":
        name = talk.context.services.study.study.pseudonym("terminal", who.asker)
        changed = sa.update(ConsentRow).where(ConsentRow.pseudonym == name)
        await talk.context.services.ledger.change(changed.values(text_sha256="0" * 64))
    if way == "no":
        [standing] = await told(talk, "/consent", who)
        [form] = await pressed(talk, standing.ask[0].press, who)
        [form] = await pressed(talk, form.ask[0].press, who)
        [left] = await pressed(talk, form.ask[1].press, who)
    elif way == "/forget":
        [asked] = await told(talk, way, group)
        [left] = await pressed(talk, asked.ask[0].press, group)
    else:
        [left] = await told(talk, "/withdraw", group if way == "in a group" else who)
    assert "Chance decided which of these you got: base, lora" in left.text
    [again] = await told(talk, "/withdraw", who)
    assert "Chance decided" not in again.text


@chat
async def test_a_footer_in_a_group_tells_nobody_that_one_takes_part(talk) -> None:
    who = somebody("u3", locale="nl")
    await agree(talk, who)
    *_, final = await told(talk, "/story It rained.", who)
    assert "you take part in" in await talk.footer(final, who)
    footer = await talk.footer(final, replace(who, alone=False))
    assert "take part" not in footer and "Lovecraft" not in footer


def test_no_text_of_consent_is_silent_on_chance_and_each_says_what_its_study_sets(settings) -> None:
    settings = with_study(settings)
    folder = folder_of(settings).parent
    shipped = read_texts(settings, "pilot", read_study_file(settings, "pilot"))
    for locale, words in (("en", "chance decides"), ("it", "il caso decide")):
        assert words in shipped[locale].body and "{" not in shipped[locale].body
        assert "Risks" not in shipped[locale].body and "Rischi" not in shipped[locale].body
    (folder / "consent.en.md").write_text("<!-- version: mine -->\nMay we? {risks}")
    (folder / "study.toml").write_text(STUDY + 'risks = "None that we know."\n')
    own = read_texts(settings, "pilot", read_study_file(settings, "pilot"))
    assert own["en"].body.startswith("May we? None that we know.") and "chance" in own["en"].body
    assert "Rischi: None that we know." in own["it"].body


# Experiments beside each other


async def services(settings: Settings, ledger, *experiments: str) -> StudyServices:
    settings = with_study(settings, *experiments)
    study = await open_study(settings, ledger)
    assert study is not None
    made = StudyServices(ledger, study, folder_of(settings).parent)
    await made.experiments.load()
    return made


async def enrolled(of: StudyServices, name: str) -> str | None:
    await agree_on_record(of.experiments.database, of.study, "terminal", name)
    return await again(of, name)


async def again(of: StudyServices, name: str) -> str | None:
    where = spot(name)
    found = await of.enrolled(await person(of.experiments.database, of.study, where), where, SINGLE)
    return found.experiment.id if found else None


async def test_a_stopped_experiment_costs_the_next_one_nobody(settings, ledger) -> None:
    of = await services(settings, ledger, experiment_text("love"), experiment_text("love2"))
    assert await enrolled(of, "1") == "love"
    await of.experiments.stop("love", "a fault")
    assert await again(of, "1") == "love2"
    assert await enrolled(of, "2") == "love2"


async def test_a_full_experiment_costs_the_next_one_nobody(settings, ledger) -> None:
    of = await services(settings, ledger, experiment_text("a1", max_n=2), experiment_text("a2"))
    assert [await enrolled(of, str(n)) for n in range(5)] == ["a1", "a1", "a2", "a2", "a2"]


async def test_a_file_that_sorts_earlier_takes_over_nobody(settings, ledger) -> None:
    of = await services(settings, ledger, experiment_text("love"))
    assert await enrolled(of, "1") == "love"
    of = await services(settings, ledger, experiment_text("alike"))
    assert await again(of, "1") == "love", "who is in one goes on in it"
    assert await enrolled(of, "2") == "alike"


async def test_who_has_seen_all_goes_on_in_the_next_and_then_outside(settings, ledger) -> None:
    of = await services(
        settings, ledger, *(experiment_text(name, more="exposures = 1") for name in ("a", "b"))
    )
    found = []
    for number in range(3):
        found.append(await (again if number else enrolled)(of, "1"))
        me = await person(ledger, of.study, spot("1"))
        experiment = of.experiments.named(found[-1] or "")
        of_whom = {"shown": [{"arm": "base"}], "seed": 1, "experiment": experiment}
        await of.exposures.make(f"e{number}", me, "single", **of_whom)
        await of.exposures.delivered(f"e{number}")
    assert found == ["a", "b", None]


async def test_who_left_stays_in_the_counts_by_arm(settings, ledger) -> None:
    of = await services(settings, ledger, experiment_text("love"))
    for name in ("1", "2", "3", "4"):
        await enrolled(of, name)
    async with ledger.reading() as connection:
        query = sa.select(Enrolment.arm, Enrolment.pseudonym).order_by(Enrolment.position)
        gone, *_ = (await connection.execute(query)).all()

    async with ledger.writing() as connection:
        await erase(connection, [gone.pseudonym], standing=True)
        assert await connection.scalar(sa.select(sa.func.count()).select_from(Vote)) == 0
        assert await connection.scalar(sa.select(ExperimentRow.erased)) == {gone.arm: 1}
        assert await connection.scalar(sa.select(ExperimentRow.enrolled)) == 4
