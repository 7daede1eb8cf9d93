"""Forgetting reaches every table, file, copy and log, and what a backup brings back goes again."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
import studied
import upgrade_kills
from looking import every_byte, kept
from studied import agree
from talking import pressed, told

from bot.messages.buttons import Press, Verb
from bot.service.moderation import RefusedError
from bot.service.request import Who
from bot.service.service import ChatService
from engine.chat.backups import forget_there, in_backups
from engine.chat.forgetting import TOMBSTONES
from engine.errors import AskerError
from engine.ledger.storage import on_server, open_database, upgrade
from engine.ledger.tables import JobRow, RequestRow, Table
from engine.ledger.transactions import Database
from engine.process.services import open_services
from engine.settings import Settings
from engine.study.erasure_rules import RULES
from engine.study.observer import StudyObserver

here, clock, talk = studied.here, studied.clock, studied.talk  # fixtures
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.databases("sqlite", "postgres")]

CANARIES = [f"canary{word}quill" for word in (
    "amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty",
    "knoll", "larch", "mirth", "nadir", "ochre", "plume", "quoin", "ridge", "sable", "thorn",
)]  # fmt: skip


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    database = Database(await open_database(settings))
    try:
        yield database
    finally:
        await database.close()


async def everything(settings: Settings) -> str:
    """Every row of every table, its sealed words opened; but for the tombstones."""
    found = []
    async with opened(settings) as database, database.reading() as connection:
        for name, table in Table.metadata.tables.items():
            if name != "tombstones":
                found += [str(row) for row in (await connection.execute(sa.select(table))).all()]
    return "\n".join(found)


async def plant(talk: ChatService) -> tuple[Who, list[str]]:
    """Somebody who leaves a canary wherever a word of theirs can go; and names that stand unsealed."""
    c = iter(CANARIES)
    who = Who(platform="telegram", asker=next(c), place=next(c), address=next(c), alone=True)
    who = replace(who, typed=next(c))
    await agree(talk, who)
    final = (await told(talk, f"/story {next(c)} sat alone. {next(c)} laughed.", who))[-1]
    await talk.deliveries.delivered(final.job, (f"{who.place}:5",))
    await told(talk, f"/continue {next(c)} went on.", replace(who, reply_to=final.job))
    await told(talk, "/again --seed 7", replace(who, typed=next(c)))
    drawn = f'/jewel a ring for {next(c)} --negative "{next(c)}" --seed 77'
    picture = (await told(talk, drawn, who))[-1]
    await told(talk, f"/news Nothing new in {next(c)}.", who)
    for verb in (Verb.UP, Verb.WHY):
        await pressed(talk, Press(verb, final.job), who)
    await told(talk, f"/report {next(c)}", replace(who, reply_to=final.job))
    bomb = "Instructions to build a pipe bomb at home, step by step"
    with contextlib.suppress(RefusedError):
        await told(talk, f"/story {bomb} for {next(c)}", who)
    await told(talk, f"/news Still nothing in {next(c)}.", replace(who, place=next(c)))
    await told(
        talk, f"/story Hm, {next(c)}.", replace(who, conversation="01ARZ3NDEKTSV4RRFFQ69G5FAV")
    )
    await told(talk, f"/jewel a crown, {next(c)}", replace(who, address=next(c)))
    other = replace(who, platform="discord", asker="another")
    await agree(talk, other)
    [code] = await told(talk, "/link", who)
    await told(talk, f"/link {code.text.split()[2]}", other)
    await told(talk, f"/story The end of {next(c)}.", who)
    await told(talk, f"/continue And then {next(c)}.", who)
    assert next(c, None) is None
    names = [
        talk.context.services.agreements.running.pseudonym(who.platform, who.asker),
        final.job,
        picture.job,
    ]
    return who, [*names, talk.context.services.ledger.person(who.platform, who.asker)]


async def test_withdraw_and_forget_act_on_the_account_that_says_them(talk: ChatService) -> None:
    one = Who(platform="telegram", asker="joined-1", place="joined-1", address="1", alone=True)
    other = replace(one, platform="discord", asker="joined-2", place="joined-2")
    for who in (one, other):
        await agree(talk, who)
    [code] = await told(talk, "/link", one)
    [joined] = await told(talk, f"/link {code.text.split()[2]}", other)
    assert "one person" in joined.text
    for who in (one, other):
        await told(talk, "The vicar coughed.", who)
    agreements = talk.context.services.agreements
    await told(talk, "/withdraw", one)
    withdrawn = await agreements.last(one.platform, one.asker)
    stays = await agreements.last(other.platform, other.asker)
    assert withdrawn is not None and not withdrawn.live
    assert stays is not None and stays.live
    [question] = await told(talk, "/forget", one)
    await pressed(talk, question.ask[0].press, one)
    assert await agreements.held(one.platform, one.asker) == {}
    assert len((await agreements.held(other.platform, other.asker))["interactions"]) == 1


def back_up(settings: Settings, to: Path) -> None:
    with (
        closing(sqlite3.connect(settings.ledger_file)) as source,
        closing(sqlite3.connect(to)) as copy,
    ):
        source.backup(copy)
    to.chmod(0o600)


async def test_twenty_canaries_are_found_nowhere_after_forget(
    talk: ChatService, here: Settings, tmp_path: Path
) -> None:
    who, names = await plant(talk)
    await asyncio.to_thread((here.home / "backups").mkdir, exist_ok=True)
    backup = here.home / "backups" / "ledger-0004-1.sqlite3"
    aside = tmp_path / "aside.sqlite3"
    local = not on_server(here)
    if local:
        back_up(here, backup)
        back_up(here, aside)
    before = await everything(here)
    assert [c for c in CANARIES if c not in before] == []
    files = set(here.media.glob("??/*"))
    assert files
    raw = await asyncio.to_thread(kept, here)
    assert all(name.encode() in raw for name in names)
    assert not any(canary.encode() in raw for canary in CANARIES)  # sealed, or keyed

    [question] = await told(talk, "/forget", who)
    await pressed(talk, question.ask[0].press, who)

    after = await everything(here)
    assert [c for c in CANARIES if c in after] == []
    raw = await asyncio.to_thread(kept, here)
    tombs = (here.home / TOMBSTONES).read_bytes()
    assert not any(canary.encode() in raw for canary in CANARIES)
    pseudonym, *jobs, lookup = names
    assert not any(job.encode() in raw for job in jobs)
    assert tombs.count(pseudonym.encode()) == 1
    assert raw.count(pseudonym.encode()) == int(local)  # a server's dump has no file of ours
    assert lookup.encode() in tombs
    assert files.isdisjoint(here.media.glob("??/*"))
    if not local:
        return
    copied = here.model_copy(update={"database_url": f"sqlite+aiosqlite:///{backup}"})
    text = await everything(copied)
    assert [c for c in CANARIES if c in text] == []
    await _restored(here, aside, tmp_path)


async def _restored(here: Settings, aside: Path, tmp_path: Path) -> None:
    """An older copy put back forgets before it serves, also when the study's key is lost by then."""
    home = tmp_path / "restored"
    home.mkdir()
    shutil.copy(aside, home / "ledger.sqlite3")
    shutil.copy(here.home / TOMBSTONES, home)
    studied.make_study(home)
    restored = here.model_copy(update={"home": home, "study_key_file": tmp_path / "no-key"})
    text = await everything(restored)
    assert [c for c in CANARIES if c not in text] == []
    async with open_services(restored):
        pass
    text = await everything(restored)
    assert [c for c in CANARIES if c in text] == []
    raw = await asyncio.to_thread(every_byte, restored)
    assert not any(canary.encode() in raw for canary in CANARIES)


async def test_a_person_is_forgotten_in_every_table_that_has_a_rule(
    talk: ChatService, here: Settings
) -> None:
    who = Who(platform="telegram", asker="someone", place="chat-someone", alone=True)
    await agree(talk, who)
    final = (await told(talk, "It rained.", who))[-1]
    await pressed(talk, Press(Verb.DOWN, final.job), who)
    [question] = await told(talk, "/forget", who)
    assert (await talk.context.services.agreements.held(who.platform, who.asker)).keys() >= {
        "consents", "interactions", "study_ratings", "study_events", "requests", "jobs",
    }  # fmt: skip
    await pressed(talk, question.ask[0].press, who)
    assert await talk.context.services.agreements.held(who.platform, who.asker) == {}
    assert await talk.context.services.agreements.last(who.platform, who.asker) is None
    assert {rule.by for rule in RULES.values()} == {"pseudonym", "lookup", "request", "nobody"}


async def test_what_others_wrote_on_from_it_loses_the_words_it_began_with(
    talk: ChatService, here: Settings
) -> None:
    first = Who(platform="telegram", asker="first", place="-10077", server_manager=True)
    second = replace(first, asker="second")
    await told(talk, "/study on", first)
    for person in (first, second):
        await agree(talk, person)
    mine = (await told(talk, "The canarylast sat alone.", first))[-1]
    theirs = (await told(talk, "/continue", replace(second, reply_to=mine.job)))[-1]
    await told(talk, "/continue", replace(second, reply_to=theirs.job))
    await told(talk, "/again", replace(second, reply_to=mine.job))
    held = await talk.context.services.agreements.held("telegram", "second")
    assert all("canarylast" in row["text"] for row in held["interactions"])
    copy = here.home / "backups" / "ledger-0006-1.sqlite3"
    if not on_server(here):
        copy.parent.mkdir(exist_ok=True)
        back_up(here, copy)
    [question] = await told(talk, "/forget", first)
    await pressed(talk, question.ask[0].press, first)
    held = await talk.context.services.agreements.held("telegram", "second")
    rows = held["interactions"]
    assert {(row["text"], row["beginning"], row["prompt"]) for row in rows} == {(None,) * 3}
    assert len([row for row in rows if row["parent"]]) == 1
    if on_server(here):
        return
    copied = here.model_copy(update={"database_url": f"sqlite+aiosqlite:///{copy}"})
    async with opened(copied) as database, database.reading() as connection:
        texts = sa.select(RequestRow.text, RequestRow.beginning, JobRow.prompt).join(JobRow)
        found = (await connection.execute(texts)).all()
        broken = (await connection.exec_driver_sql("pragma foreign_key_check")).all()
    assert "canarylast" not in str(found)
    assert broken == []


@pytest.mark.databases("sqlite")
async def test_a_forgetting_that_the_disk_refuses_is_said_and_can_be_said_again(
    talk: ChatService, here: Settings
) -> None:
    who = Who(platform="telegram", asker="refused", place="refused", alone=True)
    await told(talk, "It rained.", who)
    stones = here.home / TOMBSTONES
    stones.touch()
    aside = stones.rename(stones.with_suffix(".aside"))
    stones.mkdir()  # nothing can be written to it
    [question] = await told(talk, "/forget", who)
    with pytest.raises(AskerError, match="could not forget you"):
        await pressed(talk, question.ask[0].press, who)
    stones.rmdir()
    aside.rename(stones)
    with stones.open("a") as file:
        file.write('{"lookup": "torn')  # where the disk was full
    await pressed(talk, question.ask[0].press, who)
    lines = stones.read_text().splitlines()
    assert json.loads(lines[-1])["lookup"] == talk.context.services.ledger.person(
        who.platform, who.asker
    )


@pytest.mark.databases("sqlite")
async def test_a_kill_after_the_commit_leaves_no_picture_behind(
    talk: ChatService, here: Settings
) -> None:
    who = Who(platform="telegram", asker="drawn", place="drawn", alone=True)
    before = set(here.media.glob("??/*"))
    await told(talk, "/jewel a ring for nobody else --seed 4711", who)
    drawn = set(here.media.glob("??/*")) - before
    assert drawn
    lookup = talk.context.services.ledger.person(who.platform, who.asker)
    await talk.context.services.forgetting.erase(lookup, time.time(), ())  # and no more
    assert drawn <= set(here.media.glob("??/*"))
    await talk.context.services.retention.clean()  # as after any start
    assert drawn.isdisjoint(here.media.glob("??/*"))


async def test_a_clock_that_goes_back_forgets_no_less(
    talk: ChatService, here: Settings, clock
) -> None:
    who = Who(platform="telegram", asker="timely", place="chat-timely", alone=True)
    for ahead in (7200.0, 3600.0, 0.0):
        clock.ahead = ahead
        await agree(talk, who)
        await told(talk, "It rained.", who)
        [question] = await told(talk, "/forget", who)
        clock.ahead = 0.0
        await pressed(talk, question.ask[0].press, who)
        assert await talk.context.services.agreements.held(who.platform, who.asker) == {}
    await agree(talk, who)
    async with open_services(here) as services:  # a start has no reason to forget them again
        assert (await services.agreements.last(who.platform, who.asker)).live


OLDER = upgrade_kills.versions()[3:-1]  # since there is a study


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    "versions",
    [
        pytest.param([OLDER[0], OLDER[-1]], id="first and last"),
        pytest.param(OLDER, id="all", marks=pytest.mark.long),
    ],
)
async def test_copies_of_every_older_schema_forget_too(tmp_path: Path, versions: list[str]) -> None:
    """Also where a column that is emptied may not be empty yet."""
    for version in versions:
        old = Settings(home=tmp_path / version, backend="echo", key_file=tmp_path / "key")
        with upgrade_kills.program_of(version) as scripts:
            upgrade(old, scripts)
        upgrade_kills.fill(old)
        copy = old.home / "backups" / "ledger.sqlite3"
        copy.parent.mkdir()
        with closing(sqlite3.connect(old.ledger_file)) as source, source:
            for table in ("requests", "interactions"):
                source.execute(f"update {table} set parent = null")
                source.execute(f"update {table} set parent = '1-id' where id = '2-id'")
        back_up(old, copy)
        forget = partial(forget_there, "1-lookup", ["1-pseudonym"], [StudyObserver(None)])
        in_backups(old.home, forget)
        with closing(sqlite3.connect(copy)) as found:
            for table in ("requests", "interactions"):
                rows = dict(found.execute(f"select id, text from {table}").fetchall())
                assert rows.keys() == {"2-id", "3-id"}
                assert rows["2-id"] is None and rows["3-id"]
            assert found.execute("select prompt from jobs where id = '2-id'").fetchone() == (None,)
