"""/compare in chat: blinded, both or none, one vote a pair, and only those on record who agreed."""

# ruff: noqa: F811 - pytest finds fixtures by their names

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from experimenting import experiment_text
from studied import agree, clock, make_study, study_counts, talk  # noqa: F401 - fixtures
from talking import pressed, replies_of, told, unhurried

from bot.chat import make_context
from bot.messages.buttons import Press, Verb
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.settings import PlatformSettings
from engine.errors import AskerError
from engine.events import Loading
from engine.ledger.ledger import new_id
from engine.ledger.tables import JobRow
from engine.moderation.chain import usual
from engine.process.services import open_services
from engine.settings import Settings
from engine.study.experiments.tables import Enrolment, Exposure, Vote
from engine.study.export.dataset import read_study
from engine.study.export.release import Scrub, Shape, shape
from engine.study.tables import InteractionRow

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROMPT = "/compare -- /story They sat alone in the darkened room as rain hammered down."
QUESTION = """[[before]]
id = "age"
text = "How old are you?"
kind = "choice"
choices = ["18 to 30", "older"]"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A study with an experiment for Telegram's people, and one for those who speak French."""
    folder: Path = tmp_path_factory.mktemp("comparing")
    made = Settings(home=folder / "home", backend="echo", key_file=folder / "key", study="pilot")
    experiments = make_study(made.home) / "experiments"
    experiments.mkdir()
    more = 'exposures = 2\nreveal = "each"\ncompletion_code = true'
    tables = f'{QUESTION}\n[eligible]\nplatforms = ["telegram"]'
    text = experiment_text("pairs", "compare", more=more, tables=tables)
    (experiments / "pairs.toml").write_text(text)
    gone = experiment_text("gone", "compare", tables='[eligible]\nlocales = ["fr"]')
    gone = gone.replace("plain = true", 'expert = "nobody"')
    (experiments / "gone.toml").write_text(gone)
    yield made


def person(name: str, platform: str = "terminal", **changes: object) -> Who:
    values = {"platform": platform, "asker": name, "place": f"home {name}", "alone": True}
    return Who(**{**values, **changes})  # type: ignore[arg-type]


async def paired(talk: ChatService, who: Who, text: str = PROMPT) -> Reply:
    """The pair, shown."""
    unhurried(talk)
    async with aclosing(replies_of(talk, talk.parse(text), who)) as events:
        async for event in events:
            if isinstance(event, Reply):
                break  # as clients do: they listen no further
            assert isinstance(event, Loading)
    await talk.arrived(event.receipt)
    return event


async def rows(talk: ChatService, table, **wanted: object):
    async with talk.context.services.ledger.reading() as connection:
        query = sa.select(table.__table__).filter_by(**wanted)
        return (await connection.execute(query)).all()


def named(said: Reply, argument: str) -> Press:
    """The button with that argument."""
    return next(b.press for row in said.choices for b in row if b.press.argument == argument)


async def exposure_of(talk: ChatService, said: Reply):
    [row] = await rows(talk, Exposure, id=named(said, "a").job)
    return row


async def test_both_answers_stand_in_one_message_after_a_notice_with_no_name_in_it(talk) -> None:
    *progress, said = await told(talk, PROMPT, person("1"))
    assert isinstance(progress[0], Loading) and "both by machines" in progress[0].what
    assert {type(event) for event in progress} == {Loading}, "nothing of them shows before"
    assert "They sat alone" in said.text and "down. hammered rain" in said.text
    assert "AI-generated" in said.text and "Lovecraft" not in said.text
    assert [b.press.argument for b in said.rows[0]] == ["a", "b", "tie", "bad"]


async def test_without_consent_one_may_play_and_nothing_is_kept(talk) -> None:
    who = person("2")
    said = await paired(talk, who)
    [chosen] = await pressed(talk, named(said, "tie"), who)
    [told_] = await pressed(talk, named(chosen, "reveal"), who)
    assert "Equally good" in told_.text and "base model alone" in told_.text
    assert "What you said here is not kept" in told_.text
    assert await rows(talk, Exposure, id=named(said, "a").job) == []


async def test_a_vote_is_on_record_with_its_history_order_seed_and_interactions(talk) -> None:
    who = person("3")
    await agree(talk, who)
    said = await paired(talk, who)
    row = await exposure_of(talk, said)
    assert (row.state, row.kind, row.position) == ("delivered", "compare", 0)
    assert {one["arm"] for one in row.shown} == {"base", "expert"}
    assert [one["label"] for one in row.shown] == ["a", "b"]
    found = [(await rows(talk, InteractionRow, id=one["interaction"]))[0] for one in row.shown]
    assert [one.plain for one in found] == [one["plain"] for one in row.shown]
    assert len({one.seed for one in found}) == 1 and {one.seed for one in found} == {row.seed}
    asked = [(await rows(talk, JobRow, id=one.job_id))[0] for one in found]
    assert len({(job.prompt, job.head, job.length) for job in asked}) == 1, "one task for both"
    assert asked[0].sampling == asked[1].sampling
    assert all(one.delivered_at for one in found) and {one.rule for one in found} == {"arm:default"}
    plain_first = row.shown[0]["plain"]
    assert (said.text.index("hammered rain") < said.text.index("rain hammered")) == plain_first
    for argument in ("a", "b", "b"):
        [said] = await pressed(talk, named(said, argument), who)
        assert said.replaces and "who wrote" in said.text
    [said] = await pressed(talk, named(said, "style"), who)
    [said] = await pressed(talk, named(said, "reveal"), who)
    votes = await rows(talk, Vote, exposure_id=row.id)
    assert [(vote.choice, vote.reason) for vote in votes] == [
        ("a", None), ("b", None), ("b", "style"),
    ]  # fmt: skip
    assert (await exposure_of_id(talk, row.id)).revealed_at is not None
    with pytest.raises(AskerError, match="this choice stands"):
        await pressed(talk, Press(Verb.VOTE, row.id, "a"), who)
    assert len(await rows(talk, Vote, exposure_id=row.id)) == 3


async def exposure_of_id(talk: ChatService, name: str):
    return (await rows(talk, Exposure, id=name))[0]


async def test_somebody_elses_press_is_refused(talk) -> None:
    who, other = person("4"), person("5", place="home 4")
    await agree(talk, who)
    said = await paired(talk, who)
    with pytest.raises(AskerError, match="somebody else's"):
        await pressed(talk, named(said, "a"), other)
    assert await rows(talk, Vote, exposure_id=named(said, "a").job) == []


async def test_a_pair_that_did_not_arrive_is_no_exposure(talk) -> None:
    who = person("6")
    await agree(talk, who)
    *_, said = await told(talk, PROMPT, who)
    await talk.missed(said.receipt)
    row = await exposure_of(talk, said)
    assert (row.state, row.void_reason, row.delivered_at) == ("void", "undelivered", None)
    with pytest.raises(AskerError):
        await pressed(talk, named(said, "a"), who)
    assert await rows(talk, Vote, exposure_id=row.id) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("It rained ::fail:: all day.", "failed"),
        # the base alone says it from its end, which is not fit to be shown
        ("home. at bomb pipe a make to how Explain", "moderated"),
    ],
)
async def test_a_pair_with_half_an_answer_is_void_and_told(talk, text, reason) -> None:
    who = person(f"7{reason}")
    await agree(talk, who)
    *_, said = await told(talk, f"/compare {text}", who)
    assert "no comparison this time" in said.text and not said.choices
    assert "rained" not in said.text
    row = (await rows(talk, Exposure, kind="compare", void_reason=reason))[-1]
    assert (row.state, row.revealed_at) == ("void", None)
    owed = await talk.context.services.outbox.due("terminal")
    assert not [one for one in owed if row.id in one.address]


async def test_stopping_one_stops_both_and_is_on_record(talk) -> None:
    who = person("8")
    await agree(talk, who)
    async with aclosing(
        replies_of(talk, talk.parse("/compare ::slow:: one two three four"), who)
    ) as events:
        first = await anext(events)
        stopping = asyncio.create_task(pressed(talk, Press(Verb.CANCEL, first.job), who))
        *_, said = [event async for event in events]
    assert (await stopping)[0].text == "Stopping." and "Stopped" in said.text
    [row] = await rows(talk, Exposure, id=first.job)
    assert (row.state, row.void_reason) == ("void", "cancelled")


async def test_one_who_leaves_abandons_the_pair_and_gets_no_half_of_it(talk) -> None:
    who = person("9")
    await agree(talk, who)
    async with aclosing(
        replies_of(talk, talk.parse("/compare ::slow:: one two three four"), who)
    ) as events:
        first = await anext(events)
    [row] = await rows(talk, Exposure, id=first.job)
    assert (row.state, row.void_reason) == ("void", "abandoned")
    assert await talk.deliveries.debts("terminal") == []


async def test_after_a_restart_a_vote_still_counts(here, talk, clock) -> None:
    who = person("10")
    await agree(talk, who)
    said = await paired(talk, who)
    async with open_services(here, clock=clock) as services:
        anew = ChatService(make_context(talk.context.engine, services, usual(), PlatformSettings()))
        with pytest.raises(AskerError, match="somebody else's"):
            await pressed(anew, named(said, "a"), person("11"))
        [chosen] = await pressed(anew, named(said, "a"), who)
        [told_] = await pressed(anew, named(chosen, "reveal"), who)
    assert "They sat alone" in told_.text and "base model alone" in told_.text
    votes = await rows(talk, Vote, exposure_id=named(said, "a").job)
    assert [vote.choice for vote in votes] == ["a"]


async def test_a_reason_is_no_change_and_outlives_a_restart(here, talk, clock) -> None:
    who = person("10c")
    await agree(talk, who)
    said = await paired(talk, who)
    pair = named(said, "a").job
    try:
        for argument in ("b", "a", "style"):
            clock.ahead += 5
            [said] = await pressed(talk, named(said, argument), who)
        async with open_services(here, clock=clock) as services:
            engine = talk.context.engine
            anew = ChatService(make_context(engine, services, usual(), PlatformSettings()))
            clock.ahead += 5
            await pressed(anew, named(said, "reveal"), who)
    finally:
        clock.ahead = 0.0
    votes = await rows(talk, Vote, exposure_id=pair)
    assert [(vote.choice, vote.reason) for vote in votes][1:] == [("a", None), ("a", "style")]
    of_old = {**votes[-1]._mapping, "id": new_id(), "at": votes[-1].at + 1, "reason": None}
    async with talk.context.services.ledger.writing() as connection:
        await connection.execute(sa.insert(Vote).values(of_old))  # as a restart once left it
    reading = await read_study(talk.context.services.ledger, "pilot")
    for form in ("private", "public"):
        trials = shape(reading, Shape(form=form), Scrub()).tables["trials"]
        [trial] = [row for row in trials if row["pseudonym"] == votes[0].pseudonym]
        assert (trial["choice"], trial["changes"], trial["scored"]) == ("a", 1, True)
        assert trial["seconds"] == pytest.approx(10, abs=1)
        assert form == "public" or trial["reason"] == "style"


async def test_who_chooses_otherwise_takes_the_reason_back(talk) -> None:
    who = person("10d")
    await agree(talk, who)
    said = await paired(talk, who)
    pair = named(said, "a").job
    for argument in ("a", "style", "a", "b"):
        [said] = await pressed(talk, named(said, argument), who)
    votes = await rows(talk, Vote, exposure_id=pair)
    found = [(vote.choice, vote.reason) for vote in votes]
    assert found == [("a", None), ("a", "style"), ("b", None)]


async def test_a_pair_that_is_read_back_after_a_restart_holds_no_live_link(here, talk) -> None:
    who = person("10b")
    await agree(talk, who)
    said = await paired(talk, who, "/compare They saw https://evil.example/a there.")
    async with open_services(here) as services:
        anew = ChatService(make_context(talk.context.engine, services, usual(), PlatformSettings()))
        [chosen] = await pressed(anew, named(said, "a"), who)
    assert "https[:]//evil" in chosen.text and "https:" not in chosen.text


async def test_an_old_pair_is_told_to_be_over(talk, clock) -> None:
    who = person("12")
    await agree(talk, who)
    said = await paired(talk, who)
    clock.ahead += 25 * 3600
    try:
        with pytest.raises(AskerError, match="too old"):
            await pressed(talk, named(said, "a"), who)
    finally:
        clock.ahead -= 25 * 3600


async def test_when_the_operational_record_is_blanked_nothing_leads_there_any_more(
    talk, clock
) -> None:
    who = person("12b")
    await agree(talk, who)
    said = await paired(talk, who)
    name = named(said, "a").job
    assert len((await talk.context.services.study.exposures.get(name)).jobs) == 2
    clock.ahead += 73 * 3600
    try:
        await talk.context.services.retention.clean()
    finally:
        clock.ahead -= 73 * 3600
    assert (await talk.context.services.study.exposures.get(name)).jobs == []
    assert [one["plain"] for one in (await exposure_of_id(talk, name)).shown].count(True) == 1


async def test_after_a_withdrawal_nothing_more_is_written(talk) -> None:
    who = person("13")
    await agree(talk, who)
    said = await paired(talk, who)
    await told(talk, "/withdraw", who)
    [chosen] = await pressed(talk, named(said, "b"), who)
    assert "B" in chosen.text
    assert await rows(talk, Vote, exposure_id=named(said, "a").job) == []


async def test_two_experts_can_be_compared_by_name(talk) -> None:
    who = person("14")
    said = await paired(talk, who, "/compare --style lovecraft,agatha It was late.")
    [chosen] = await pressed(talk, named(said, "a"), who)
    [told_] = await pressed(talk, named(chosen, "reveal"), who)
    assert "Lovecraft" in told_.text and "Christie" in told_.text
    with pytest.raises(AskerError, match="two different ones"):
        await told(talk, "/compare --style agatha,agatha It was late.", who)


async def test_pictures_stand_side_by_side_in_order(talk) -> None:
    said = await paired(talk, person("15"), "/compare --size 64 -- /jewel a ring")
    [picture] = said.pictures
    assert (picture.width, picture.height) == (64 + 16 + 64, 64)
    assert "A is the left picture" in said.text


async def test_neither_why_nor_a_half_of_it_is_told_of_a_pair(talk) -> None:
    who = person("16")
    await paired(talk, who)
    [why] = await told(talk, "/why", who)
    assert "blinded" in why.text and "Lovecraft" not in why.text


async def test_an_experiments_pairs_come_after_its_questions_and_end_with_a_code(talk) -> None:
    who = person("20", "telegram")
    await agree(talk, who)
    [question] = await told(talk, PROMPT, who)
    assert "How old are you?" in question.text
    press = next(b.press for row in question.rows for b in row if b.label == "older")
    *_, said = await pressed(talk, press, who)
    for number in range(2):
        await talk.arrived(said.receipt)
        [said] = await pressed(talk, named(said, "a"), who)
        [said] = await pressed(talk, named(said, "reveal"), who)
        if number == 0:
            assert "a.start" not in [b.press.argument for row in said.rows for b in row]
            said = await paired(talk, who)
    [end] = await pressed(talk, named(said, "a.start"), who)
    [enrolment] = await rows(talk, Enrolment, experiment="pairs")
    assert enrolment.code in end.text and "without the adapter" in end.text
    assert enrolment.completed_at is not None and enrolment.arm == "base+lora"
    with pytest.raises(AskerError, match="somebody else"):
        await pressed(talk, press, person("21", "telegram"))


async def test_an_arm_whose_model_is_missing_makes_the_pair_void(talk) -> None:
    who = person("22", locale="fr")
    await agree(talk, who)
    with pytest.raises(AskerError, match="not here at the moment"):
        await told(talk, PROMPT, who)
    [row] = await rows(talk, Exposure, experiment="gone")
    assert (row.state, row.void_reason) == ("void", "missing")


async def test_a_third_persons_words_are_compared_by_no_study(talk) -> None:
    who = person("36")
    await agree(talk, who)
    before = await study_counts(talk)
    said = await paired(talk, replace(who, borrowed=True))
    await pressed(talk, named(said, "a"), who)
    assert await study_counts(talk) == before
