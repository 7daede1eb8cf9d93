"""A study is erased for good: rows, pictures, key, folder, in older copies and when one is put back."""

import asyncio
import shutil
from pathlib import Path

import ledgers
import pytest
import sqlalchemy as sa
from looking import kept
from program import pastiche
from sqlalchemy.ext.asyncio import AsyncConnection
from study_rows import Rows, fill_study, opened, write_study_file

from engine.chat.forgetting import TOMBSTONES
from engine.ledger.keys import key_file
from engine.ledger.sqlite import LedgerFile
from engine.ledger.storage import on_server
from engine.ledger.tables import Table
from engine.ledger.transactions import Database
from engine.lock import take_lock
from engine.process.services import open_services
from engine.settings import Settings
from engine.study import tables as t
from engine.study.erasure_rules import STUDY_RULES, stone_of
from engine.study.experiments import tables as e
from engine.study.lifecycle import erase_study, open_named
from engine.study.study import study_key_file

pytestmark = pytest.mark.databases("sqlite", "postgres")


@pytest.fixture
def erasing(settings: Settings) -> Settings:
    """With a key that is found from another data folder, too."""
    return settings.model_copy(update={"key_file": key_file(settings)})


async def left(database: Database, study: str) -> dict[str, int]:
    """How many rows there are, by table; those of /guess's shipped passages too."""
    tables = Table.metadata.tables
    found = {}
    for name in STUDY_RULES:
        if name != "studies":
            query = sa.select(sa.func.count()).where(tables[name].c.study == study)
            found[name] = await database.scalar(query)
    return {name: count for name, count in found.items() if count}


async def open_row(connection: AsyncConnection, study: str) -> None:
    row = {"id": study, "opened_at": 1.0, "key_check": "c", "closed_at": 2.0}
    await connection.execute(sa.insert(t.StudyRow).values(row))


async def fill(settings: Settings) -> Database:
    """A study with a row in every table that it has, its key and its files; and another study."""
    database = await opened(settings)
    await fill_study(database, settings, people=4)
    async with database.writing() as connection:
        rows = Rows(connection, seed=8)
        name, other = rows.person(0), {"study": "other"}
        for study in ("pilot", "other"):
            await open_row(connection, study)
        frozen = {"file": "", "version_sha256": "c" * 64, "state": "open", "enrolled": 1}
        await rows.add(e.ExperimentRow, id="one", frozen_at=rows.now, **frozen)
        unit = {"unit": name, "unit_kind": "person", "arm": "a", "position": 0, "at": rows.now}
        of = {"id": rows.id(), "experiment": "one", "version_sha256": "c" * 64}
        await rows.add(e.Enrolment, pseudonym=name, **of, **unit)
        said = {"experiment": "one", "instrument": "before", "question": "q", "shown": {}}
        await rows.add(e.QuestionnaireAnswer, id=rows.id(), pseudonym=name, at=rows.now, **said)
        await rows.add(e.PanelId, lookup="l" * 64, pseudonym=name, panel="P1", at=rows.now)
        await rows.add(t.LinkCodeRow, code_hash="h" * 64, pseudonym=name, expires_at=rows.now)
        await rows.add(t.StudyLinkRow, pseudonym=rows.person(1), root=name, at=rows.now)
        here = {"place": "p" * 32, "platform": "discord", "kind": "server", "action": "on"}
        await rows.add(t.StudyPlaceRow, at=rows.now, **here)
        made = {"at": rows.now, "rows": 1, "manifest_sha256": "m" * 64}
        await rows.add(t.ExportRow, id=rows.id(), **made)
        theirs = await rows.consent(rows.person(9), **other)
        first = await connection.scalar(sa.select(t.InteractionRow.id).limit(1))
        await rows.interaction(rows.person(9), theirs, parent=first, **other)
    key = study_key_file(settings, "pilot")
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    return database


async def erase(settings: Settings) -> None:
    async with open_services(settings) as services:
        await erase_study(settings, "pilot", services.forgetting)


async def test_nothing_of_a_study_is_left_and_all_of_another(erasing: Settings) -> None:
    database = await fill(erasing)
    assert len(await left(database, "pilot")) == len(STUDY_RULES) - 1
    before = await left(database, "other")
    assert list(erasing.media.glob("??/*"))
    await erase(erasing)
    assert await left(database, "pilot") == {}
    assert await left(database, "other") == before
    assert await database.scalars(sa.select(t.InteractionRow.parent)) == [None]
    assert not list(erasing.media.glob("??/*"))
    assert not study_key_file(erasing, "pilot").exists()
    assert not (erasing.home / "studies" / "pilot").exists()
    await database.close()
    raw = await asyncio.to_thread(kept, erasing)
    assert Rows(None).person(0).encode() not in raw  # type: ignore[arg-type]


@pytest.mark.databases("sqlite")
async def test_older_copies_lose_it_and_one_that_is_put_back_loses_it_before_it_serves(
    erasing: Settings, tmp_path: Path
) -> None:
    database = await fill(erasing)
    await database.close()
    aside = tmp_path / "aside.sqlite3"
    url = sa.URL.create("sqlite", database=str(erasing.ledger_file))
    LedgerFile(erasing.ledger_file, url).back_up(erasing.home / "backups", "0013")
    [copy] = (erasing.home / "backups").glob("*.sqlite3")
    shutil.copy(copy, aside)
    await erase(erasing)
    for path, there in ((copy, False), (aside, True)):
        assert (Rows(None).person(0).encode() in path.read_bytes()) is there  # type: ignore[arg-type]
    home = tmp_path / "restored"
    home.mkdir()
    shutil.copy(aside, home / "ledger.sqlite3")
    shutil.copy(erasing.home / TOMBSTONES, home)
    restored = erasing.model_copy(update={"home": home})
    async with open_services(restored) as services:
        assert await left(services.ledger, "pilot") == {}
        assert await left(services.ledger, "other")


async def test_that_there_was_one_stays_and_its_name_is_nobody_elses(erasing: Settings) -> None:
    database = await fill(erasing)
    await erase(erasing)
    [row] = await database.rows(sa.select(t.StudyRow.__table__).where(t.StudyRow.id == "pilot"))
    assert (row.opened_at, row.closed_at) == (1.0, 2.0) and row.key_destroyed_at > 2.0
    write_study_file(erasing)
    assert "was destroyed" in (await open_named(erasing, "pilot")).why
    await database.close()


async def test_what_a_crash_leaves_is_finished_by_the_next_start_or_by_doing_it_again(
    erasing: Settings, tmp_path: Path
) -> None:
    """Stopped after the tombstone; and, the rows gone, before the key and the folder went."""
    database = await fill(erasing)
    kept = [study_key_file(erasing, "pilot"), erasing.home / "studies" / "pilot" / "study.toml"]
    texts = [path.read_bytes() for path in kept]
    if not on_server(erasing):  # whose tombstone another folder's program writes here
        elsewhere = erasing.model_copy(update={"home": tmp_path / "elsewhere"})
        ledgers.ready(elsewhere)
        async with open_services(elsewhere) as services:
            await services.forgetting.let_go(stone_of("pilot"))
        shutil.copy(elsewhere.home / TOMBSTONES, erasing.home)
        async with open_services(erasing):
            assert await left(database, "pilot") == {}
    await erase(erasing)
    for path, text in zip(kept, texts, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    await erase(erasing)
    assert not any(path.exists() for path in kept)
    await database.close()


@pytest.mark.databases("sqlite")
async def test_by_command_it_is_told_what_goes_asked_for_and_refused_beside_a_bot(
    erasing: Settings,
) -> None:
    database = await fill(erasing)
    closed = sa.update(t.StudyRow).where(t.StudyRow.id == "pilot")
    await database.change(closed.values(closed_at=None))

    def run(*words: str, stdin: str = "", code: int = 0) -> str:
        places = {"PASTICHE_HOME": str(erasing.home), "PASTICHE_KEY_FILE": str(erasing.key_file)}
        ran = pastiche("study", "erase", "pilot", *words, stdin=stdin, **places)
        assert ran.returncode == code, ran
        return (ran.stdout + ran.stderr).decode()

    assert "pilot is not over" in run("--yes", code=1)
    await database.change(closed.values(closed_at=2.0))
    await database.close()
    told = run(stdin="n\n", code=1)
    assert "The study pilot: votes 24," in told and "interactions 36" in told
    assert str(study_key_file(erasing, "pilot")) in told and "Erase all of pilot?" in told
    with take_lock(erasing.home, erasing.socket):
        assert "Stop it first" in run("--yes", code=1)
    assert "pilot is erased" in run("--yes")
