"""What is kept, for how long, and that forgetting reaches every corner."""

import shutil
import sqlite3
from contextlib import aclosing, closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
import talking
from looking import every_byte, kept, look
from talking import Clock, pressed, replies_of, told

from bot.messages.buttons import Press, Verb
from bot.service.request import Who, request_of
from bot.service.service import ChatService
from engine.chat.retention import BACKUP_SECONDS, KEEP_SECONDS
from engine.errors import AskerError
from engine.ledger.chat_tables import PlaceRow
from engine.ledger.ledger import new_id
from engine.ledger.storage import storage_of
from engine.ledger.tables import Table
from engine.process.services import open_services
from engine.settings import Settings
from engine.study.erasure_rules import RULES

here, clock, talk = talking.here, talking.clock, talking.talk  # fixtures
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.databases("sqlite", "postgres")]
numbers = count(1)

PEOPLE = {"pseudonym", "author", "root", "lookup", "rater", "reporter", "asker", "asker_id"}
RESEARCHERS = {"experiments", "items", "enrolments"}
MACHINES = {"tickets", "workers"}
NOT_A_PERSON = {"places", "blocks", "tombstones"}  # by the lookup of a place, or without content


@pytest.fixture
def who() -> Who:
    """Somebody new, alone with the bot."""
    number = next(numbers)
    return Who(platform="telegram", asker=f"person-{number}", place=f"chat-{number}", alone=True)


def rows(here: Settings, table: str, where: str = "1 = 1") -> int:
    return look(here, f"select count(*) from {table} where {where}")[0][0]


async def test_every_table_has_a_rule_for_forgetting() -> None:
    assert set(RULES) == set(Table.metadata.tables)


async def test_a_table_that_names_somebody_is_never_about_nobody() -> None:
    for name, table in Table.metadata.tables.items():
        if PEOPLE & {column.name for column in table.columns} and name not in NOT_A_PERSON:
            assert RULES[name].by != "nobody", name
        if RULES[name].by != "nobody":
            assert RULES[name].column.class_.__tablename__ == name


async def forget(talk: ChatService, who: Who) -> str:
    [question] = await told(talk, "/forget", who)
    [said] = await pressed(talk, question.ask[0].press, who)
    return said.text


async def test_forgetting_leaves_no_row_file_or_word(
    talk: ChatService, here: Settings, who: Who
) -> None:
    story = (await told(talk, "/story Zyzzyva sat alone.", who))[-1]
    await talk.deliveries.delivered(story.job, ("chat:1",))
    picture = (await told(talk, "/jewel a gold ring", who))[-1]
    files = set(here.media.glob("??/*"))
    await pressed(talk, Press(Verb.UP, story.job), who)
    await told(talk, "/report too short", replace(who, reply_to=story.job))
    assert "requests are deleted (2)" in await forget(talk, who)
    lookup = talk.context.services.ledger.person(who.platform, who.asker)
    for table, column in (("ratings", "rater"), ("reports", "reporter"), ("verdicts", "asker")):
        assert rows(here, table, f"{column} = '{lookup}'") == 0
    assert rows(here, "askers", f"lookup = '{lookup}'") == 0
    for job in (story.job, picture.job):
        assert await talk.context.engine.answer(job) is None
        for table in ("outputs", "pictures", "deliveries", "messages"):
            assert rows(here, table, f"job_id = '{job}'") == 0
        assert job.encode() not in kept(here)
    assert files and not files & set(here.media.glob("??/*"))
    with pytest.raises(AskerError, match="nothing of yours from this chat"):
        await told(talk, "/again", who)
    with pytest.raises(AskerError, match="expired"):
        await talk.press(Press(Verb.CONTINUE, story.job), who)


async def test_only_its_asker_answers_the_question_and_not_too_late(
    talk: ChatService, who: Who
) -> None:
    await told(talk, "It rained.", who)
    [question] = await told(talk, "/forget", who)
    yes, no = (button.press for button in question.ask)
    with pytest.raises(AskerError, match="somebody else"):
        await talk.press(yes, replace(who, asker="another"))
    with pytest.raises(AskerError, match="too old"):
        await talk.press(Press(Verb.FORGET, "01ARZ3NDEKTSV4RRFFQ69G5FAV", yes.argument), who)
    [said] = await pressed(talk, no, who)
    assert "Nothing was deleted" in said.text
    assert await talk.context.engine.last(who.platform, who.asker, who.place)
    for _ in range(2):  # pressing twice is harmless
        [done] = await pressed(talk, yes, who)
    assert "requests are deleted (0)" in done.text


async def test_a_running_request_is_stopped_and_forgotten(talk: ChatService, who: Who) -> None:
    async with aclosing(
        replies_of(talk, talk.parse("Begin ::slow:: a b c d e f g"), who)
    ) as replies:
        first = await anext(replies)
        assert "requests are deleted (1)" in await forget(talk, who)
        with pytest.raises(StopAsyncIteration):
            while True:
                await anext(replies)
    assert await talk.context.engine.answer(first.job) is None


@pytest.mark.parametrize("ends", ["forget", "delete"])
async def test_what_others_took_up_stays_without_the_words_that_it_took_over(
    talk: ChatService, here: Settings, who: Who, ends: str
) -> None:
    mine = (await told(talk, "/story --style agatha The vicar coughed.", who))[-1]
    friend = replace(who, asker=who.asker + " friend", reply_to=mine.job)
    theirs = [(await told(talk, line, friend))[-1] for line in ("/continue And then.", "/again")]
    theirs += await told(talk, "/again", replace(friend, reply_to=theirs[1].job))
    if ends == "forget":
        await forget(talk, who)
    else:
        await pressed(talk, Press(Verb.DELETE, mine.job), who)
    for job in (theirs[0].job, theirs[1].job, theirs[-1].job):
        kept = await talk.context.engine.answer(job)
        assert kept.text and kept.expired
        assert (kept.request.text, kept.request.beginning, kept.request.style) == ("", None, None)
        assert kept.job.prompt == ""
    with pytest.raises(AskerError, match="expired"):
        await told(talk, "/again", replace(friend, reply_to=theirs[1].job))


async def test_a_prompt_that_still_runs_goes_when_its_job_ends(
    talk: ChatService, here: Settings, who: Who
) -> None:
    mine = (await told(talk, "Begin ::slow:: a b c", who))[-1]
    friend = replace(who, asker=who.asker + " friend", reply_to=mine.job)
    async with aclosing(replies_of(talk, talk.parse("/again"), friend)) as replies:
        first = await anext(replies)
        await forget(talk, who)
        last = [event async for event in replies][-1]
    assert last.text
    kept = await talk.context.engine.answer(first.job)
    assert (kept.request.text, kept.job.prompt) == ("", "")


async def test_an_answer_deleted_while_it_is_written_leaves_no_word(
    talk: ChatService, here: Settings, who: Who
) -> None:
    async with aclosing(
        replies_of(talk, talk.parse("Begin ::slow:: a b c d e f g"), who)
    ) as replies:
        first = await anext(replies)
        await pressed(talk, Press(Verb.DELETE, first.job), who)
        async for _ in replies:
            pass
    left = await talk.context.engine.answer(first.job)
    assert left.expired
    assert (left.text, left.request.text, left.request.typed, left.job.prompt) == ("", "", "", "")
    assert rows(here, "outputs", f"job_id = '{first.job}' and text is not null") == 0


async def test_of_a_cry_for_help_no_verdict_is_kept(
    talk: ChatService, here: Settings, who: Who
) -> None:
    before = rows(here, "verdicts")
    for line in ("/story I want to kill myself", "/story --private I want to kill myself"):
        with pytest.raises(AskerError, match=r"(?i)help"):
            await told(talk, line, who)
    assert rows(here, "verdicts") == before


async def test_forgetting_reaches_the_settings_of_a_private_chat(
    talk: ChatService, here: Settings, who: Who
) -> None:
    group = replace(who, place="-100 a group", alone=False, manager=True)
    before = rows(here, "places")
    for where in (who, group):
        await told(talk, "/settings style agatha", where)
    await forget(talk, who)
    assert rows(here, "places") == before + 1  # the group's are no one person's


async def test_forgetting_reaches_the_settings_of_a_chat_of_two_from_an_older_ledger(
    talk: ChatService, here: Settings, who: Who
) -> None:
    group = replace(who, place="-101 a group", alone=False, manager=True)
    quiet, other = replace(who, place="asked in"), replace(who, asker="other", place="other")
    before = rows(here, "places")
    for where in (who, quiet, other, group):
        await told(talk, "/settings style agatha", where)
    await told(talk, "The vicar coughed.", quiet)
    ownerless = sa.update(PlaceRow).values(owner=None)
    await talk.context.services.ledger.change(ownerless)
    await forget(talk, who)
    assert rows(here, "places") == before + 2  # the group's, and the other person's


async def test_a_private_request_that_cannot_be_delivered_leaves_the_record(
    talk: ChatService, here: Settings, who: Who
) -> None:
    async with aclosing(
        replies_of(talk, talk.parse("/story --private It rained."), who)
    ) as replies:
        final = [event async for event in replies][-1]
    await talk.deliveries.lost(final.job)
    assert await talk.context.engine.answer(final.job) is None
    async with aclosing(
        replies_of(talk, talk.parse("/story --private ::slow:: a b c"), who)
    ) as replies:
        first = await anext(replies)
        await talk.deliveries.lost(first.job)
        async for _ in replies:
            pass
    await talk.context.services.retention.clean()
    assert await talk.context.engine.answer(first.job) is None


async def test_words_and_pictures_go_after_72_hours_and_counts_stay(
    talk: ChatService, here: Settings, who: Who, clock: Clock
) -> None:
    story = (await told(talk, "The vicar coughed.", who))[-1]
    picture = (await told(talk, "/jewel a gold ring with emeralds --seed 77", who))[-1]
    clock.ahead += KEEP_SECONDS - 60
    await talk.context.services.retention.clean()
    assert (await talk.context.engine.answer(story.job)).text
    clock.ahead += 120
    await talk.context.services.retention.clean()
    for job in (story.job, picture.job):
        blanked = await talk.context.engine.answer(job)
        assert blanked.expired
        assert (blanked.text, blanked.request.text, blanked.job.prompt) == ("", "", "")
    assert list(here.media.glob("??/*")) == []
    assert rows(here, "jobs", f"id = '{story.job}' and tokens_out > 0") == 1
    for verb in (Verb.CONTINUE, Verb.AGAIN, Verb.WHY):
        with pytest.raises(AskerError, match="72 hours"):
            await talk.press(Press(verb, story.job), who)
    with pytest.raises(AskerError, match="72 hours"):
        await told(talk, "/continue", who)
    lookup = talk.context.services.ledger.person(who.platform, who.asker)
    mine = f"asker_id in (select id from askers where lookup = '{lookup}')"
    here_asked = talk.context.services.ledger.place(who.platform, who.place)
    assert rows(here, "requests", f"{mine} or place_lookup = '{here_asked}'") == 0  # nobody's now
    assert rows(here, "buckets", f"lookup = '{lookup}'") == 0
    [(at,)] = look(here, f"select created_at from askers where lookup = '{lookup}'")
    assert at % 3600 == 0  # no exact time stands beside somebody
    assert "requests are deleted (0)" in await forget(talk, who)
    clock.ahead = 0.0


async def test_after_72_hours_an_answer_in_a_group_is_reported_and_deleted_there_still(
    talk: ChatService, who: Who, clock: Clock
) -> None:
    group = replace(who, place=f"group of {who.place}", alone=False)
    job = (await told(talk, "The vicar coughed.", group))[-1].job
    mine = (await told(talk, "The vicar coughed.", who))[-1].job
    clock.ahead += KEEP_SECONDS + 60
    await talk.context.services.retention.clean()
    away = replace(group, asker="a stranger", place="elsewhere")
    others = (group, away, replace(away, alone=True), replace(away, manager=True))
    for verb, people in ((Verb.DELETE, others), (Verb.REPORT, others[1:])):
        for one in people:
            with pytest.raises(AskerError, match="no longer know who asked"):
                await talk.press(Press(verb, job), one)
    [noted] = await pressed(talk, Press(Verb.REPORT, job), replace(group, asker="a neighbour"))
    assert "noted your report" in noted.text
    [gone] = await pressed(
        talk, Press(Verb.DELETE, job), replace(away, place=group.place, manager=True)
    )
    assert gone.deletes
    [gone] = await pressed(talk, Press(Verb.DELETE, mine), who)
    assert gone.deletes
    clock.ahead = 0.0


async def test_what_is_deleted_early_is_its_askers_until_72_hours_are_over(
    talk: ChatService, here: Settings, who: Who, clock: Clock
) -> None:
    final = (await told(talk, "The vicar coughed.", who))[-1]
    await pressed(talk, Press(Verb.DELETE, final.job), who)
    await talk.context.services.retention.clean()
    assert (await talk.context.engine.answer(final.job)).request.asker == who.asker
    clock.ahead += KEEP_SECONDS + 60
    await talk.context.services.retention.clean()
    assert (await talk.context.engine.answer(final.job)).request.asker == ""
    clock.ahead = 0.0


async def test_what_somebody_has_taken_up_can_be_forgotten_as_long_as_they_have_it(
    talk: ChatService, here: Settings, who: Who, clock: Clock
) -> None:
    mine = (await told(talk, "The vicar coughed.", who))[-1]
    with storage_of(here).connect(writing=True) as connection:
        long_ago = f"finished_at = finished_at - {KEEP_SECONDS + 60} where id = '{mine.job}'"
        friend = replace(who, asker=who.asker + " friend", reply_to=mine.job)
        theirs = (await told(talk, "/again", friend))[-1]
        connection.execute(sa.text(f"update jobs set {long_ago}"))
        connection.commit()
    await talk.context.services.retention.clean()
    assert (await talk.context.engine.answer(theirs.job)).request.text == "The vicar coughed."
    assert "requests are deleted (1)" in await forget(talk, who)
    assert (await talk.context.engine.answer(theirs.job)).request.text == ""


async def test_verdicts_thumbs_and_reports_lose_their_person_in_time(
    talk: ChatService, here: Settings, who: Who, clock: Clock
) -> None:
    final = (await told(talk, "What the hell, said the vicar.", who))[-1]
    await pressed(talk, Press(Verb.UP, final.job), who)
    await told(talk, "/report Zyzzyva", replace(who, reply_to=final.job))
    assert b"profan" not in kept(here)  # why moderation said something is sealed
    lookup = talk.context.services.ledger.person(who.platform, who.asker)
    mine = [("verdicts", "asker"), ("ratings", "rater"), ("reports", "reporter")]
    assert all(rows(here, table, f"{column} = '{lookup}'") for table, column in mine)
    clock.ahead += KEEP_SECONDS + 60
    await talk.context.services.retention.clean()
    assert rows(here, "verdicts", f"asker = '{lookup}' or job_id = '{final.job}'") == 0
    assert rows(here, "ratings", f"rater = '{lookup}'") == 0
    assert await talk.context.services.feedback.ratings(final.job) == [1]
    clock.ahead += BACKUP_SECONDS
    await talk.context.services.retention.clean()
    assert rows(here, "reports", f"reporter = '{lookup}'") == 0
    clock.ahead = 0.0


async def test_what_no_worker_ends_and_what_a_wrong_clock_wrote_go_too(
    talk: ChatService, here: Settings, who: Who, clock: Clock
) -> None:
    early = (await told(talk, "The vicar coughed.", who))[-1]
    with storage_of(here).connect(writing=True) as connection:
        ahead = f"finished_at = finished_at + 31536000 where id = '{early.job}'"
        connection.execute(sa.text(f"update jobs set {ahead}"))
        connection.commit()
    await talk.context.services.retention.clean()
    assert (await talk.context.engine.answer(early.job)).expired
    request = await request_of(talk.parse("Nobody ends this."), who, talk.context.engine)
    plan = talk.context.engine.plan(request, new_id())
    await talk.context.services.ledger.accept(request, plan.route, plan.job)  # and no queue
    job = plan.job
    clock.ahead = KEEP_SECONDS + 60
    assert await talk.context.services.retention.overdue() == [job.id]
    await talk.context.services.retention.clean()
    left = await talk.context.engine.answer(job.id)
    assert (left.state, left.expired, left.job.prompt) == ("failed", True, "")
    clock.ahead = 0.0


async def test_a_private_request_leaves_the_record_when_it_arrives(
    talk: ChatService, here: Settings, who: Who
) -> None:
    before = rows(here, "verdicts")
    final = (await told(talk, "/story --private The vicar coughed.", who))[-1]
    assert final.text
    assert await talk.context.engine.answer(final.job) is None
    for table in ("outputs", "deliveries", "messages"):
        assert rows(here, table, f"job_id = '{final.job}'") == 0
    assert rows(here, "verdicts") == before


@pytest.mark.databases("sqlite")
async def test_an_older_database_forgets_again_before_it_serves(
    talk: ChatService, here: Settings, who: Who, tmp_path: Path
) -> None:
    story = (await told(talk, "The vicar coughed.", who))[-1]
    home = tmp_path / "restored"
    home.mkdir()
    with (
        closing(sqlite3.connect(here.ledger_file)) as source,
        closing(sqlite3.connect(home / "ledger.sqlite3")) as backup,
    ):
        source.backup(backup)
    await forget(talk, who)
    shutil.copy(here.home / "tombstones.jsonl", home)
    restored = here.model_copy(update={"home": home})
    assert rows(restored, "jobs", f"id = '{story.job}'") == 1
    async with open_services(restored):
        pass
    assert rows(restored, "jobs", f"id = '{story.job}'") == 0
    assert rows(restored, "tombstones") >= 1


async def test_no_platform_id_lies_open_on_disk(talk: ChatService, here: Settings) -> None:
    who = Who(platform="telegram", asker="47110815", place="-1004711", server="4712", address="{x}")
    await told(talk, "/settings style agatha", replace(who, alone=True))
    final = (await told(talk, "Zyzzyva sat alone.", who))[-1]
    await talk.deliveries.delivered(final.job, ("-1004711:5",))
    await told(talk, "/report Zyzzyva", replace(who, reply_to=final.job))
    raw = every_byte(here)
    for secret in (b"47110815", b"-1004711", b"Zyzzyva", b"agatha christie"):
        assert secret not in raw


async def test_sealed_columns_are_all_that_hold_text(talk: ChatService) -> None:
    open_text = {
        (table.name, column.name)
        for table in Table.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, sa.Text)
        or (type(column.type) is sa.String and (column.type.length or 999) > 80)
    }
    assert {
        table for table, _ in open_text
    } <= RESEARCHERS | MACHINES  # no word of a person is in these
