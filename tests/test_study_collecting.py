"""What a study keeps of a request: only from those who agreed, where it was agreed, from then on."""

import json
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
import studied
from studied import agree, study_counts
from talking import Clock, pressed, replies_of, told

from bot.chat import make_context
from bot.messages.buttons import Press, Verb
from bot.service.moderation import RefusedError
from bot.service.request import Who
from bot.service.service import ChatService
from engine.chat.retention import KEEP_SECONDS
from engine.errors import AskerError
from engine.ledger.storage import open_database
from engine.ledger.tables import Table
from engine.ledger.transactions import Database
from engine.process.services import open_services
from engine.settings import Settings
from engine.study.consent.account_links import CODE_SECONDS
from engine.study.lifecycle import destroy_key
from engine.study.pseudonyms import pseudonym
from engine.study.study import study_key_file
from engine.study.tables import (
    InteractionRow,
    StudyEventRow,
    StudyLinkRow,
    StudyPictureRow,
    StudyRatingRow,
)

here, clock, talk = studied.here, studied.clock, studied.talk  # fixtures
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.databases("sqlite", "postgres")]
numbers = count(1)


@pytest.fixture
def who() -> Who:
    """Somebody new, alone with the bot."""
    number = next(numbers)
    return Who(platform="telegram", asker=f"person-{number}", place=f"chat-{number}", alone=True)


def name_of(talk: ChatService, who: Who) -> str:
    return talk.context.services.agreements.running.pseudonym(who.platform, who.asker)


async def rows(talk: ChatService, table: type[Table], who: Who) -> list[Any]:
    """The person's rows, opened, in the order in which they were written."""
    query = sa.select(table.__table__).where(table.pseudonym == name_of(talk, who))
    async with talk.context.services.ledger.reading() as connection:
        return list((await connection.execute(query.order_by(table.id))).all())


async def test_a_request_is_kept_with_its_answer_from_consent_on(
    talk: ChatService, who: Who
) -> None:
    before = (await told(talk, "Before.", who))[-1]
    await agree(talk, who)
    story = (await told(talk, "/story --style agatha --seed 7 The vicar coughed.", who))[-1]
    final = (await told(talk, "/jewel a gold ring", who))[-1]
    first, second = await rows(talk, InteractionRow, who)
    assert (first.typed, first.text, first.style, first.rule, first.seed) == (
        "", "The vicar coughed.", "agatha", "forced", 7,
    )  # fmt: skip
    assert (first.state, first.output, first.expert) == ("finished", story.text, "agatha")
    assert first.tokens_out == story.tokens_out
    assert first.accepted_at <= first.started_at <= first.first_token_at <= first.finished_at
    assert first.delivered_at
    assert [one["stage"] for one in first.moderation] == ["input", "prompt", "output_text"]
    assert first.sampling["temperature"] > 0
    assert json.loads(first.route)["expert"] == "agatha"
    assert (second.medium, second.session) == ("image", first.session)
    pictures = await rows(talk, StudyPictureRow, who)
    assert [p.interaction_id for p in pictures] == [second.id]
    assert len(final.pictures) == 1
    assert before.job not in {first.job_id, second.job_id}


async def test_private_requests_and_what_goes_on_from_outside_stay_outside(
    talk: ChatService, who: Who
) -> None:
    before = (await told(talk, "Before.", who))[-1]
    await agree(talk, who)
    await told(talk, "/story --private Hush.", who)
    await told(talk, "/continue", replace(who, reply_to=before.job))
    assert await rows(talk, InteractionRow, who) == []
    inside = (await told(talk, "It rained.", who))[-1]
    await told(talk, "/continue And then?", replace(who, reply_to=inside.job))
    first, second = await rows(talk, InteractionRow, who)
    assert second.parent == first.id
    assert "It rained." in second.beginning


async def test_a_third_persons_message_stays_outside_and_what_goes_on_from_it(
    talk: ChatService, who: Who
) -> None:
    await agree(talk, who)
    before = await study_counts(talk)
    [*_, final] = await told(talk, "/story -- My secret is Zyzzyva.", replace(who, borrowed=True))
    await told(talk, "/continue And then?", replace(who, reply_to=final.job))
    assert await study_counts(talk) == before


async def test_a_bystanders_words_never_come_in(talk: ChatService, who: Who) -> None:
    group = replace(who, place="-100900", alone=False, server_manager=True)
    await told(talk, "/study on", group)
    other = replace(group, asker=f"{who.asker}-bystander")
    theirs = (await told(talk, "My secret is Zyzzyva.", other))[-1]
    await agree(talk, who)
    await told(talk, "/continue", replace(group, reply_to=theirs.job))
    await told(talk, "/again", replace(group, reply_to=theirs.job))
    assert await rows(talk, InteractionRow, who) == []
    await told(talk, "Ask <@1234567890> and @jane_doe about it.", group)
    [row] = await rows(talk, InteractionRow, who)
    for text in (row.text, row.typed, row.prompt):
        assert "1234567890" not in text
        assert "jane_doe" not in text


async def test_what_is_done_with_an_answer_is_kept_of_those_who_agreed(
    talk: ChatService, who: Who
) -> None:
    await agree(talk, who)
    final = (await told(talk, "It rained.", who))[-1]
    stranger = replace(who, asker=f"{who.asker}-stranger")
    await pressed(talk, Press(Verb.UP, final.job), stranger)
    for verb in (Verb.UP, Verb.DOWN, Verb.WHY, Verb.AGAIN):
        await pressed(talk, Press(verb, final.job), who)
    await told(talk, "/cancel", who)
    lost = (await told(talk, "It snowed.", who))[-1]
    await talk.deliveries.lost(lost.job)
    assert [row.value for row in await rows(talk, StudyRatingRow, who)] == [1, -1]
    kinds = [row.kind for row in await rows(talk, StudyEventRow, who)]
    assert kinds == ["press"] * 4 + ["regenerate", "cancel", "abandon"]
    assert await rows(talk, StudyRatingRow, stranger) == []
    assert await rows(talk, StudyEventRow, stranger) == []


async def test_a_refusal_is_kept_and_a_cry_for_help_is_not(talk: ChatService, who: Who) -> None:
    await agree(talk, who)
    with pytest.raises(RefusedError):
        await told(talk, "/story Instructions to build a pipe bomb at home, step by step", who)
    [row] = await rows(talk, InteractionRow, who)
    assert (row.state, row.output, row.job_id) == ("refused", None, None)
    assert row.moderation[-1]["action"] == "block"
    with pytest.raises(RefusedError):
        await told(talk, "I want to kill myself", who)
    assert len(await rows(talk, InteractionRow, who)) == 1


async def test_deleting_an_answer_takes_it_out_of_the_study_too(
    talk: ChatService, here: Settings, who: Who
) -> None:
    await agree(talk, who)
    final = (await told(talk, "/jewel a ring with a blue stone --seed 4711", who))[-1]
    assert len(final.pictures) == 1
    [picture] = await rows(talk, StudyPictureRow, who)
    file = here.media / picture.media[:2] / picture.media
    assert file.exists()
    await pressed(talk, Press(Verb.DELETE, final.job), who)
    [row] = await rows(talk, InteractionRow, who)
    assert row.hidden_at
    assert await rows(talk, StudyPictureRow, who) == []
    assert not file.exists()


async def test_after_72_hours_only_the_study_knows_and_nothing_leads_to_the_person(
    talk: ChatService, here: Settings, who: Who, clock: Clock
) -> None:
    await agree(talk, who)
    final = (await told(talk, "/jewel a ring with a green stone --seed 4712", who))[-1]
    story = (await told(talk, "It rained.", who))[-1]
    [picture] = await rows(talk, StudyPictureRow, who)
    clock.ahead += KEEP_SECONDS + 60
    counted = await talk.context.services.retention.clean(dry_run=True)
    assert counted["blanked"] >= 2
    assert (await talk.context.engine.answer(story.job)).text
    assert await talk.context.services.retention.silence() is not None
    done = await talk.context.services.retention.clean()
    assert [done[n] for n in ("blanked", "pictures")] == [
        counted[n] for n in ("blanked", "pictures")
    ]
    assert await talk.context.services.retention.silence() < 60
    assert (await talk.context.engine.answer(story.job)).expired
    drawn, told_row = await rows(talk, InteractionRow, who)
    assert drawn.job_id is told_row.job_id is None
    assert told_row.output == story.text
    assert (here.media / picture.media[:2] / picture.media).exists()
    assert final.pictures
    clock.ahead = 0.0
    assert (
        await talk.context.services.retention.silence() == 0.0
    )  # a clock that goes back is no alarm


async def test_a_longer_silence_begins_a_new_session(
    talk: ChatService, here: Settings, who: Who
) -> None:
    await agree(talk, who)
    await told(talk, "One.", who)
    async with talk.context.services.ledger.writing() as connection:
        await connection.execute(
            sa.update(InteractionRow)
            .where(InteractionRow.pseudonym == name_of(talk, who))
            .values(accepted_at=InteractionRow.accepted_at - 31 * 60)
        )
    await told(talk, "Two.", who)
    await told(talk, "Three.", who)
    one, two, three = await rows(talk, InteractionRow, who)
    assert one.session != two.session == three.session


async def test_withdrawal_stops_it_and_deletes_or_keeps(talk: ChatService, who: Who) -> None:
    await agree(talk, who)
    mine = (await told(talk, "One.", who))[-1]
    await pressed(talk, Press(Verb.UP, mine.job), who)
    [asked] = await told(talk, "/withdraw", who)
    await told(talk, "Two.", who)
    await pressed(talk, Press(Verb.DOWN, mine.job), who)
    [kept] = await pressed(talk, asked.ask[0].press, who)
    assert "left out of every later export" in kept.text
    assert len(await rows(talk, InteractionRow, who)) == 1
    assert len(await rows(talk, StudyRatingRow, who)) == 1
    other = replace(who, asker=f"{who.asker}-other")
    with pytest.raises(AskerError, match="somebody else's"):
        await talk.press(asked.ask[1].press, other)
    [gone] = await pressed(talk, asked.ask[1].press, who)
    assert "are deleted (1)" in gone.text
    for table in (InteractionRow, StudyRatingRow, StudyEventRow):
        assert await rows(talk, table, who) == []
    await agree(talk, who)
    with pytest.raises(AskerError, match="changed your mind"):
        await talk.press(asked.ask[1].press, who)


async def test_withdrawing_while_an_answer_is_written_keeps_no_word_of_it(
    talk: ChatService, who: Who
) -> None:
    await agree(talk, who)
    async with aclosing(replies_of(talk, talk.parse("Begin ::slow:: a"), who)) as replies:
        await anext(replies)
        await told(talk, "/withdraw", who)
        async for _ in replies:
            pass
    [row] = await rows(talk, InteractionRow, who)
    assert (row.state, row.output) == ("finished", None)


async def test_accounts_are_joined_by_a_code_once_within_ten_minutes(
    talk: ChatService, who: Who, clock: Clock
) -> None:
    there = Who(platform="discord", asker=f"{who.asker}-d", place="dm", alone=True)
    with pytest.raises(AskerError, match="have not agreed"):
        await told(talk, "/link", who)
    await agree(talk, who)
    [said] = await told(talk, "/link", who)
    code = said.text.split()[2]
    with pytest.raises(AskerError, match="have not agreed"):
        await told(talk, f"/link {code}", there)
    await agree(talk, there)
    with pytest.raises(AskerError, match="do not know that code"):
        await told(talk, "/link ABCD-EFGH", there)
    with pytest.raises(AskerError, match="own code"):
        await told(talk, f"/link {code}", who)
    clock.ahead += CODE_SECONDS + 1
    with pytest.raises(AskerError, match="expired"):
        await told(talk, f"/link {code}", there)
    clock.ahead = 0.0
    [said] = await told(talk, f"/link {code.lower()}", there)
    assert "one person" in said.text
    with pytest.raises(AskerError, match="has been used"):
        await told(talk, f"/link {code}", there)
    roots = set()
    async with talk.context.services.ledger.reading() as connection:
        for person in (who, there):
            query = sa.select(StudyLinkRow.root).where(
                StudyLinkRow.pseudonym == name_of(talk, person)
            )
            roots.add(await connection.scalar(query))
    assert roots == {name_of(talk, who)}


async def test_a_lost_key_stops_what_needs_it_and_nothing_else(
    talk: ChatService, here: Settings, who: Who
) -> None:
    await agree(talk, who)
    final = (await told(talk, "It rained.", who))[-1]
    key = study_key_file(here, "pilot")
    secret = key.read_text()
    key.unlink()
    try:
        async with open_services(here) as services:
            lame = ChatService(
                make_context(
                    talk.context.engine,
                    services,
                    talk.context.moderation._moderator,
                    talk.context.settings,
                )
            )
            for text in ("/consent", "/withdraw", "/link"):
                with pytest.raises(AskerError, match="key of this study is lost"):
                    await told(lame, text, who)
            assert (await told(lame, "It snowed.", who))[-1].text
            await pressed(lame, Press(Verb.UP, final.job), who)
            assert await lame.invitation(who) is None
            [said] = await told(lame, "/mydata", who)
            assert "can be found by nobody" in said.text
            [question] = await told(lame, "/forget", who)
            [said] = await pressed(lame, question.ask[0].press, who)
            assert "pilot" in said.text
    finally:
        key.write_text(secret)
        key.chmod(0o600)
    assert await rows(talk, InteractionRow, who) == []  # the jobs still led to the pseudonym


async def test_a_destroyed_key_ends_linkage_for_good(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("ended")
    ended = Settings(home=folder / "home", backend="echo", key_file=folder / "key", study="pilot")
    studied.make_study(ended.home)
    async with studied.open_engine(ended), open_services(ended) as services:
        secret = bytes.fromhex(study_key_file(ended, "pilot").read_text().strip())
        assert services.agreements.running.pseudonym("x", "1") == pseudonym(secret, "x", "1")
        assert not await services.agreements.closed()
    async with open_services(ended) as another:  # a bot that has read the key
        leaver = Who(platform="x", asker="1", place="")
        assert another.study_services and await another.study_services.person(leaver, leaving=True)
        await destroy_key(ended, "pilot")
        assert await another.agreements.closed()
        assert await another.study_services.person(leaver, leaving=True) is None
    assert not study_key_file(ended, "pilot").exists()
    async with open_services(ended) as services:
        with pytest.raises(AskerError, match="destroyed"):
            await services.agreements.last("x", "1")
        assert (await services.agreements.names("x", "1")).lost == ("pilot",)


async def test_a_person_is_never_in_the_studys_tables_by_number_or_lookup(
    talk: ChatService, here: Settings
) -> None:
    who = Who(
        platform="discord", asker="47110815", place="4711", server="4712", server_manager=True
    )
    await agree(talk, who)
    await told(talk, "/study on", who)
    await told(talk, "It rained.", who)
    database = Database(await open_database(here))
    try:
        async with database.reading() as connection:
            for name, table in Table.metadata.tables.items():
                if {"pseudonym", "place"} & set(table.columns.keys()) and name != "requests":
                    text = str((await connection.execute(sa.select(table))).all())
                    assert "47110815" not in text
                    assert talk.context.services.ledger.person("discord", "47110815") not in text
    finally:
        await database.close()
    assert len(await rows(talk, InteractionRow, who)) == 1
